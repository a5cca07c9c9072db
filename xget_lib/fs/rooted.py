"""Files below one directory, reached without following a link.

A path in a manifest, or a link that somebody puts into the directory, must not lead the program outside it. A call that
takes a whole path would follow a symbolic link that stands where a directory was expected. So a path is walked one
component at a time, each opened relative to the one before with O_NOFOLLOW. As a side effect, paths may be longer than
PATH_MAX.

Walking costs one open per component, so the directories used last stay open (`fs.fd_cache`).

Who owns a directory may put another one in the place of any in it, at any moment. A directory on whose owner something
depends is therefore held (`hold`): checked once, and never looked up again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from xget_lib.errors import PathRefused
from xget_lib.fs.fd_cache import FdCache, SharedFd
from xget_lib.fs.syscalls import Statx, check_access, statx
from xget_lib.fs.thread_cwd import inside

DIRECTORIES_KEPT = 64

# O_PATH: search permission is enough to go through a directory.
_WALK = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO that stands where a file was must not block. It has no effect on regular files.
_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


class Root:
    """A directory, and operations on what is below it. Any thread may use it.

    Paths are bytes relative to it; b"" is the directory itself. A path that is absolute, or has a component that is
    empty, "." or "..", raises PathRefused. Everything else raises OSError as the system call does: a link where a
    directory should be is ENOTDIR, a link where a file should be is ELOOP.
    """

    def __init__(self, path: bytes | str, descriptor: int | None = None) -> None:
        """Opens a directory. Links in `path` itself are followed: the caller chose it.

        `descriptor`: the directory is open already, wherever it is by now. It stays the caller's.
        """
        self.path = os.fsencode(path)
        self._directories: FdCache[bytes] = FdCache(DIRECTORIES_KEPT)
        self._held: dict[bytes, SharedFd] = {}
        self._root = SharedFd(os.open(path, _WALK & ~os.O_NOFOLLOW) if descriptor is None else os.dup(descriptor))

    def again(self) -> Root:
        """The same directory once more, also if it was renamed or replaced at its path meanwhile."""
        with self.directory(b"") as descriptor:
            return Root(self.path, descriptor)

    def is_same(self, other: Root) -> bool:
        """Whether both are the same directory. Raises OSError."""
        return os.path.samestat(self.lstat(b""), other.lstat(b""))

    @property
    def is_at_path(self) -> bool:
        """Whether its path still leads to this directory."""
        try:
            return os.path.samestat(os.stat(self.path), self.lstat(b""))
        except OSError:
            return False

    def hold(self, path: bytes) -> int:
        """Keeps a directory open until `let_go`, `rmdir` or `close`. Returns an O_PATH descriptor of it.

        Until then its path leads to this directory, whatever is at its name by then.
        """
        with self.parent(path) as (parent, name):
            descriptor = os.open(name, _WALK, dir_fd=parent)
        self.let_go(path)
        self._held[path] = SharedFd(descriptor)
        return descriptor

    def let_go(self, path: bytes) -> None:
        """Ends `hold`, if there was one."""
        self.forget(path)
        held = self._held.pop(path, None)
        if held is not None:
            self._directories.release(held)

    def close(self) -> None:
        """Closes every descriptor, those in use after their last user. Later operations raise ValueError."""
        if self._directories.close():
            for each in (self._root, *self._held.values()):
                self._directories.release(each)

    def __del__(self) -> None:
        """An old generation is served until its last reader is gone; then nobody is left to close its Root."""
        if hasattr(self, "_root"):
            self.close()

    def __enter__(self) -> Root:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def forget(self, path: bytes = b"") -> None:
        """Drops the open directories at and below `path`: something may have moved them."""
        below = path + b"/"
        keys = self._directories.keys()
        self._directories.forget([key for key in keys if not path or key == path or key.startswith(below)])

    # Reading.

    def open(self, path: bytes, flags: int, mode: int = 0o600) -> int:
        """A new descriptor of a file, or of a directory with O_DIRECTORY, close-on-exec. The caller closes it.

        Does not wait for the other end of a FIFO: the caller checks with fstat what it opened.
        """
        with self.parent(path) as (parent, name):
            return os.open(name, flags | _OPEN, mode, dir_fd=parent)

    @contextmanager
    def opened(self, path: bytes, flags: int) -> Iterator[int]:
        """As open; closes the descriptor at the end of the `with`."""
        descriptor = self.open(path, flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def lstat(self, path: bytes) -> os.stat_result:
        with self.parent(path) as (parent, name):
            return os.stat(name, dir_fd=parent, follow_symlinks=False)

    def statx(self, path: bytes) -> Statx:
        """What is mounted at a path, and whether it can be replaced at all. Does not follow a link."""
        with self.parent(path) as (parent, name):
            return statx(parent, name)

    def readlink(self, path: bytes) -> bytes:
        with self.parent(path) as (parent, name):
            return os.readlink(name, dir_fd=parent)

    def names(self, path: bytes) -> list[bytes]:
        """The names in a directory, in no order."""
        with self.opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
            return [os.fsencode(name) for name in os.listdir(descriptor)]

    def xattr(self, path: bytes, name: bytes) -> bytes:
        """The value of an extended attribute; for the name b"", the names of all, each followed by a NUL.

        Does not follow a symbolic link at `path`.
        """
        with self.parent(path) as (parent, file), inside(parent) as path_of:
            there = path_of(file)
            if name:
                return os.getxattr(there, name, follow_symlinks=False)
            return b"".join(os.fsencode(one) + b"\0" for one in os.listxattr(there, follow_symlinks=False))

    def statvfs(self, path: bytes = b"") -> os.statvfs_result:
        """The file system that a directory is on."""
        with self.directory(path) as descriptor:
            return os.statvfs(descriptor)

    def is_writable(self, path: bytes) -> bool:
        """Whether this process may change the names in a directory: by its permissions, or by a capability."""
        with self.parent(path) as (parent, name):
            return os.access(name, os.R_OK | os.W_OK | os.X_OK, dir_fd=parent, effective_ids=True)

    def check_access(self, path: bytes) -> None:
        """Raises OSError, with the reason, where this process may not change the names in a directory."""
        with self.directory(path) as descriptor:
            check_access(descriptor, b".", os.W_OK | os.X_OK)

    # Changing.

    def mkdir(self, path: bytes, mode: int = 0o777) -> None:
        with self.parent(path) as (parent, name):
            os.mkdir(name, mode, dir_fd=parent)

    def mknod(self, path: bytes, mode: int, device: int = 0) -> None:
        """Makes a FIFO or device. `mode` includes its type (S_IFIFO, ...)."""
        with self.parent(path) as (parent, name):
            os.mknod(name, mode, device, dir_fd=parent)

    def symlink(self, target: bytes, path: bytes) -> None:
        with self.parent(path) as (parent, name):
            os.symlink(target, name, dir_fd=parent)

    def link(self, existing: bytes, path: bytes) -> None:
        """Adds a name (a hard link) to a file, or to a symbolic link itself."""
        with self.parent(existing) as (old_parent, old_name), self.parent(path) as (parent, name):
            os.link(old_name, name, src_dir_fd=old_parent, dst_dir_fd=parent, follow_symlinks=False)

    def rename(self, old: bytes, new: bytes) -> None:
        """Replaces `new` by `old` in one step."""
        with self.parent(old) as (old_parent, old_name), self.parent(new) as (parent, name):
            os.rename(old_name, name, src_dir_fd=old_parent, dst_dir_fd=parent)
            moved = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(moved.st_mode):
            self.forget(old)
            self.forget(new)

    def unlink(self, path: bytes) -> None:
        with self.parent(path) as (parent, name):
            os.unlink(name, dir_fd=parent)

    def rmdir(self, path: bytes) -> None:
        with self.parent(path) as (parent, name):
            os.rmdir(name, dir_fd=parent)
        self.let_go(path)

    # Walking.

    @contextmanager
    def parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """An O_PATH descriptor of the directory that a path is in, valid inside the `with`, and the last component."""
        if not path:
            with self.directory(b"") as descriptor:
                yield descriptor, b"."
            return
        parent, _, name = path.rpartition(b"/")
        _check_name(path, name)
        if path.startswith(b"/"):
            raise PathRefused(path, "leads out of the directory")
        with self.directory(parent) as descriptor:
            yield descriptor, name

    @contextmanager
    def directory(self, path: bytes) -> Iterator[int]:
        """An O_PATH descriptor of a directory, for calls with `dir_fd`; valid inside the `with`."""
        directory = self._walk(path)
        try:
            yield directory.fd
        finally:
            self._directories.release(directory)

    def _walk(self, path: bytes) -> SharedFd:
        """Opens the directory at a path, from the nearest open directory above it. The caller releases it."""
        ends: list[int] = []  # where the path of each directory to open ends. A deep path has tens of thousands
        at = path
        while (directory := self._get(at)) is None:
            ends.append(len(at))
            at, _, name = at.rpartition(b"/")
            _check_name(path, name)
        for end in reversed(ends):
            at = path[:end]
            try:
                descriptor = os.open(at.rpartition(b"/")[2], _WALK, dir_fd=directory.fd)
            finally:
                self._directories.release(directory)
            directory = self._directories.add(at, descriptor)
        return directory

    def _get(self, path: bytes) -> SharedFd | None:
        held = self._held.get(path) if path else self._root
        return self._directories.get(path) if held is None else self._directories.use(held)


def _check_name(path: bytes, name: bytes) -> None:
    if name in (b"", b".", b".."):
        raise PathRefused(path, "leads out of the directory")
