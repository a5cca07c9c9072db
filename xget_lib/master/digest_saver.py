"""The digest cache on disk, so that the next run of a master is ready without hashing everything again.

There is one file for each served directory, in the cache directory: `--cache`, or else $XDG_CACHE_HOME/xget, or
/var/cache/xget as root, or ~/.cache/xget. Workers read and write it. A failure to write it is logged once.
"""

from __future__ import annotations

import os

import gevent
from blake3 import blake3
from gevent.event import Event

from xget_lib.errors import Failed, printable
from xget_lib.fs.cache_directory import usual_cache_directory
from xget_lib.ipc.jobs import Saved, SaveDigestCache
from xget_lib.master.workers import WorkerPool
from xget_lib.report.log import LOGGER

_PAUSE = 60.0
"""Seconds between two writes. If the master ends meanwhile, the next run hashes again what has changed since."""


class DigestCacheSaver:
    """Saves the newest digest cache, at most once in `_PAUSE` seconds. Owned by the master."""

    def __init__(self, pool: WorkerPool, path: bytes) -> None:
        self._pool = pool
        self._path = path
        self._newest = -1
        """Descriptor of the cache to save, owned; -1 if there is none."""
        self._wanted = Event()
        gevent.spawn(self._run)

    def save(self, digest_cache: int) -> None:
        """Save the digest cache in this memfd soon, unless a newer one comes first. The caller keeps the memfd."""
        if self._newest >= 0:
            os.close(self._newest)
        self._newest = os.dup(digest_cache)
        self._wanted.set()

    def _run(self) -> None:
        warned = False
        while True:
            self._wanted.wait()
            self._wanted.clear()
            descriptor, self._newest = self._newest, -1
            try:
                self._pool.work(printable(self._path), SaveDigestCache(self._path), Saved, [descriptor])
            except Failed as error:
                if not warned:
                    LOGGER.warning("cannot save digests: %s", error)
                warned = True
            finally:
                os.close(descriptor)
            gevent.sleep(_PAUSE)


def cache_path(directory: str | None, root: bytes) -> bytes:
    """The file for the digests of what `root` (absolute) names, in this cache directory or the usual one."""
    name = blake3(os.path.realpath(root)).hexdigest(length=16)
    return os.path.join(os.fsencode(directory or usual_cache_directory()), name.encode())
