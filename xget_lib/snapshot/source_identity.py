"""Recognises a directory that was scanned before: a file system may be missing, or another one in its place.

It is kept with the digests, so a master that starts before its file system is mounted knows what is missing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import msgpack

from xget_lib.dataclass import astuple, dataclass
from xget_lib.errors import printable
from xget_lib.fs.mounts import Mount, filesystem_of, mount_of, mounted
from xget_lib.manifest.entry import below, is_within
from xget_lib.manifest.selection import STAGING

_IN_EMPTY = {STAGING, b"lost+found"}
"""Names in a directory that counts as empty: a new file system has one of them."""


class MountBelow(NamedTuple):
    """A file system that is mounted below a scanned directory."""

    path: bytes
    """Relative to the directory."""
    identity: bytes
    """Its file system, and what of it is mounted; b"" if it is left out (`--one-file-system`)."""
    empty: bool
    """Whether nothing in it is served."""


@dataclass(frozen=True)
class SourceIdentity:
    """What a scanned directory, or the directory of a scanned file, is recognised by."""

    base: bytes = b""
    """Its absolute path without links."""
    empty: bool = True
    """Whether there is nothing in it."""
    inode: tuple[int, int] = (0, 0)
    """(st_dev, st_ino)."""
    filesystem: bytes = b""
    """The file system that it is on."""
    mounted: tuple[bytes, bytes] = (b"", b"")
    """What of this file system is mounted, and where; both b"" where there is no /proc."""
    mounts: tuple[MountBelow, ...] = ()

    @property
    def knows_mounts(self) -> bool:
        """Whether there was a /proc."""
        return self.mounted != (b"", b"")

    def encode(self) -> bytes:
        """For a process of the same version, or a file with a checksum."""
        encoded: bytes = msgpack.packb(astuple(self))
        return encoded

    @classmethod
    def decode(cls, data: bytes) -> SourceIdentity:
        """The inverse of encode."""
        fields = list(msgpack.unpackb(data, use_list=False))
        mounts = tuple(MountBelow(*each) for each in fields.pop())
        base, empty, inode, filesystem, where = fields
        return cls(base, empty, inode, filesystem, where, mounts)


UNKNOWN_SOURCE = SourceIdentity()


def suspicion(former: SourceIdentity, now: SourceIdentity) -> str:
    """Why a directory is probably not the one that was scanned a while ago by the same master; "" if it may be.

    A link that leads to another directory now was switched on purpose. If /proc was there only once, the file systems
    cannot be compared.
    """
    if now.empty and not former.empty:
        return "it is empty now"
    if now.base != former.base or now.knows_mounts != former.knows_mounts:
        return ""
    is_mounted_anew = now.mounted != former.mounted and now.inode != former.inode
    if now.filesystem != former.filesystem or is_mounted_anew:
        return "another file system is mounted there now"
    present = {mount.path: mount.identity for mount in now.mounts}
    for path, identity, _ in former.mounts:
        if path not in present and identity:
            return f"the file system at {printable(path)} is not mounted any more"
        if path in present and present[path] != identity:
            return f"another file system is mounted at {printable(path)} now"
    return ""


def suspicion_at_start(former: SourceIdentity, now: SourceIdentity) -> str:
    """The same for a directory that an earlier master scanned, perhaps before a boot: file systems may have other
    numbers now."""
    if now.empty and not former.empty:
        return "it is empty, and was not when it was served last"
    if now.knows_mounts != former.knows_mounts:
        return ""
    (_, point), (_, former_point) = now.mounted, former.mounted
    if point != former_point and is_within(former_point, point):
        return f"the file system at {printable(former_point)} is not mounted"
    present = {mount.path for mount in now.mounts}
    for path, identity, empty in former.mounts:
        if path not in present and identity and not empty:
            return f"the file system at {printable(path)} is not mounted"
    return ""


def may_hide(former: SourceIdentity, now: SourceIdentity) -> dict[bytes, str]:
    """Paths of file systems that are new, or empty, and why that is suspicious if something was served there before."""
    known = {mount.path for mount in former.mounts}
    hiding: dict[bytes, str] = {}
    for path, _, empty in now.mounts:
        if path not in known:
            hiding[path] = f"a file system was mounted over {printable(path)}, which was not empty"
        elif empty:
            hiding[path] = f"the file system at {printable(path)} is empty now"
    return hiding


class SourceNotes:
    """Notes in a scan what the SourceIdentity consists of. Paths are relative to the directory."""

    def __init__(self, base: bytes) -> None:
        self._base = base
        self._points: dict[bytes, Mount] = {}
        """What is mounted below the directory."""
        self._found: dict[bytes, bytes] = {}
        """Those that the scan has come to -> identity."""
        self._empty: set[bytes] = set()
        self._look()

    def _look(self) -> None:
        mounts = ((below(self._base, mount.point), mount) for mount in mounted())
        self._points = {path: mount for path, mount in mounts if path}

    def directory(self, path: bytes, *, crosses: bool, left_out: bool) -> None:
        """A directory was found. `crosses`: its device is another one than that of the directory that it is in."""
        if crosses and path not in self._points:
            self._look()  # it may be mounted just now: autofs(5). Subvolumes of btrfs are no mounts
        mount = self._points.get(path)
        if mount is not None:
            self._found[path] = b"" if left_out else filesystem_of(mount) + b" " + mount.root
            if left_out:
                self._empty.add(path)

    def names(self, path: bytes, names: Collection[bytes]) -> None:
        """What is in a directory."""
        if (not path or path in self._found) and not set(names) - _IN_EMPTY:
            self._empty.add(path)

    def source(self, inode: tuple[int, int]) -> SourceIdentity:
        """When the scan is done."""
        here = mount_of(self._base, mounted())
        return SourceIdentity(
            self._base,
            b"" in self._empty,
            inode,
            filesystem_of(here) if here is not None else b"%d" % inode[0],
            (here.root, here.point) if here is not None else (b"", b""),
            tuple(MountBelow(path, identity, path in self._empty) for path, identity in sorted(self._found.items())),
        )
