"""Digests kept on disk from one run of a master to the next, so that it is ready without hashing everything again.

One file for each served directory, in the cache directory: `--cache`, or else $XDG_CACHE_HOME/xget, or /var/cache/xget
as root, or ~/.cache/xget. It is read and written by workers. That it cannot be written is said once and stops nothing.
"""

from __future__ import annotations

import os

import gevent
from blake3 import blake3
from gevent.event import Event

from xget_lib.errors import Failed, printable
from xget_lib.master.snapshotter import Snapshot
from xget_lib.master.workers import Pool
from xget_lib.report.log import LOGGER

_PAUSE = 60.0
"""Seconds between two writes. A master that ends meanwhile hashes again what had changed in so short a time."""


class DigestCacheSaver:
    """Saves the digests of the newest snapshot, now and then."""

    def __init__(self, pool: Pool, path: bytes) -> None:
        """`path` is where they are kept."""
        self._pool = pool
        self._path = path
        self._newest = -1
        self._wanted = Event()
        gevent.spawn(self._save_for_ever)

    def keep(self, snapshot: Snapshot) -> None:
        """Save the digests of a snapshot soon, unless those of a newer one come before."""
        if self._newest >= 0:
            os.close(self._newest)
        self._newest = os.dup(snapshot.kept)
        self._wanted.set()

    def _save_for_ever(self) -> None:
        complained = False
        while True:
            self._wanted.wait()
            self._wanted.clear()
            descriptor, self._newest = self._newest, -1
            try:
                done, _ = self._pool.work("save", [self._path], [descriptor])
                if done.error and not complained:
                    LOGGER.warning("digests are not kept in %s: %s", printable(self._path), done.error)
                    complained = True
            except Failed as error:
                LOGGER.warning("digests are not kept: %s", error)
            finally:
                os.close(descriptor)
            gevent.sleep(_PAUSE)


def place(directory: str | None, root: bytes) -> bytes:
    """The file for the digests of what `root` (absolute) names, in this cache directory or the usual one."""
    name = blake3(os.path.realpath(root)).hexdigest(length=16)
    return os.path.join(os.fsencode(directory or _usual_directory()), name.encode())


def _usual_directory() -> str:
    if given := os.environ.get("XDG_CACHE_HOME"):
        return os.path.join(given, "xget")
    return "/var/cache/xget" if os.geteuid() == 0 else os.path.expanduser("~/.cache/xget")
