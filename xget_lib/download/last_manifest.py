"""The manifest that a client had last for a destination, in the cache directory beside the record (`record`).

The next run for the destination reads only what differs. It believes nothing of the file: it compares each part with
the digest that it needs, so that the file need not be synced, and a damaged one costs no more than none.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from xget_lib.download.record import record_path
from xget_lib.fs.rooted import Root
from xget_lib.manifest.index import MANIFEST_LIMIT

_PREFIX, _NEW = b"manifest-", b".new"


def load_manifest(dest: bytes) -> bytes | None:
    """The encoded manifest, perhaps a damaged one; None where there is none. `dest` need not exist. Raises nothing."""
    with suppress(OSError), Root(dest) as root:
        descriptor = os.open(_path(root), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            is_own = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
            return file.read() if is_own and status.st_size <= MANIFEST_LIMIT else None
    return None


def save_manifest(root: Root, data: bytes | memoryview) -> None:
    """Replaces the manifest of a destination, and those of directories that were at the same path before. Raises
    nothing: what cannot be saved is read again."""
    with suppress(OSError):
        path = _path(root)
        directory, name = os.path.split(path)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        descriptor = os.open(path + _NEW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
            os.rename(path + _NEW, path)
        except OSError:
            os.unlink(path + _NEW)
            raise
        former = name.rpartition(b"-")[0] + b"-"
        for other in os.listdir(directory):
            if other.startswith(former) and other != name:
                os.unlink(os.path.join(directory, other))


def _path(root: Root) -> bytes:
    directory, name = os.path.split(record_path(root))
    return os.path.join(directory, _PREFIX + name.partition(b"-")[2])
