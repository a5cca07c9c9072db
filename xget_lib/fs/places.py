"""Marks of directories: two processes that exchange marks find out whether one's directory is in the other's.

Paths do not tell it: the processes may be on different machines, and one directory has several paths (symbolic links,
bind mounts, other mount namespaces). A mark is a digest of the machine's boot ID, the number of a file system, and the
path in that file system. So one directory of one machine has one mark, and a mark tells a stranger nothing.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress

from blake3 import blake3

from xget_lib.fs.mounts import Mount, mount_of, mounted
from xget_lib.manifest.entry import below, is_within

MARK_SIZE = 16  # bytes
MARKS_LIMIT = 4096
"""Of one directory. A machine with more mounts below it cannot be told everything."""
_BOOT_ID = "/proc/sys/kernel/random/boot_id"  # random(4)


def marks_of(path: bytes, left_out: Collection[bytes] = ()) -> list[bytes]:
    """Marks of a directory and of everything that is mounted below it. Empty where there is no /proc.

    `left_out`: paths below it; what is mounted at or below these does not count.
    """
    boot, mounts = _boot_id(), mounted()
    path = os.path.realpath(path)
    here = mount_of(path, mounts)
    if not boot or here is None:
        return []
    marks = [_mark(boot, here.device, _inside(here, path))]
    for mount in mounts:
        inside = below(path, mount.point)
        if inside and not any(is_within(inside, each) for each in left_out):
            marks.append(_mark(boot, mount.device, mount.root))
    return marks[:MARKS_LIMIT]


def is_marked(path: bytes, marks: Collection[bytes]) -> bool:
    """Whether a directory, or one above it, has one of these marks. It need not exist yet."""
    boot = _boot_id()
    path = os.path.realpath(path)
    here = mount_of(path, mounted())
    if not boot or here is None:
        return False
    return any(_mark(boot, here.device, above) in marks for above in _with_parents(_inside(here, path)))


def _boot_id() -> bytes:
    with suppress(OSError), open(_BOOT_ID, "rb") as file:
        return file.read().strip()
    return b""


def _mark(boot: bytes, device: bytes, path: bytes) -> bytes:
    return blake3(b"\0".join((boot, device, path))).digest(length=MARK_SIZE)


def _inside(mount: Mount, path: bytes) -> bytes:
    """The path in the file system of a path on a mount."""
    return os.path.join(mount.root, below(mount.point, path) or b"").rstrip(b"/") or b"/"


def _with_parents(path: bytes) -> Iterator[bytes]:
    while path != b"/":
        yield path
        path = path.rpartition(b"/")[0] or b"/"
    yield path
