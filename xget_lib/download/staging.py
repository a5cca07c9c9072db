"""The directory `.xget` in a destination, where files are put together while a download lasts.

    lock        flock'ed by the run that writes here; there is only one
    parts/      one file for each that is not whole, as long as the whole, with holes where pieces are missing

A part is named for where its file will land and not for a generation: so when the content changes, what is right
of a half-fetched file stays useful. Nothing in here is believed: the next run hashes what it finds.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from blake3 import blake3

from xget_lib.errors import DestinationRefused
from xget_lib.fs.fd_cache import FdCache
from xget_lib.fs.inode import NamedInode
from xget_lib.fs.rooted import Root
from xget_lib.manifest import acl
from xget_lib.manifest.selection import STAGING

PARTS = STAGING + b"/parts"
LOCK = b"lock"
DESCRIPTORS_KEPT = 128


class Staging:
    """`.xget` below `root`, ours from `open` until `remove` or `close`."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._lock = -1
        self.path = os.path.join(root.path, STAGING)
        self.resumed = False  # whether an earlier run left it
        self.worth_keeping = False  # whether another run should see that there was one, also if it has no parts
        self.leftovers: frozenset[bytes] = frozenset()  # the parts that it left

    def open(self) -> None:
        """Makes it, locks it and looks at what is there. Raises DestinationRefused where that cannot be."""
        while self._lock < 0:
            try:
                self._root.mkdir(STAGING, 0o700)
            except FileExistsError:
                self.resumed = self.worth_keeping = True
            with suppress(FileNotFoundError):  # the run that had it removed it while we looked: make it anew
                self._lock = self._locked()
        with suppress(FileExistsError):
            self._root.mkdir(PARTS, 0o700)
        for path in (STAGING, PARTS):
            with suppress(OSError):  # it has none, as a rule; what is made in there would inherit from it
                NamedInode(self._root, path).removexattr(acl.DEFAULT)
        self.leftovers = frozenset(name for name in self._root.names(PARTS) if self._usable(PARTS + b"/" + name))

    def _locked(self) -> int:
        """A descriptor of the lock, held. Raises FileNotFoundError where it is no longer that of this directory."""
        try:
            here = self._root.open(STAGING, os.O_RDONLY | os.O_DIRECTORY)
        except NotADirectoryError as error:
            raise DestinationRefused(self.path, "not a directory (XGet needs this name)") from error
        try:
            if os.fstat(here).st_uid != os.geteuid():
                # Who owns it could have put links in it that lead our writes elsewhere.
                raise DestinationRefused(self.path, "belongs to another user (remove it)")
            os.fchmod(here, 0o700)
            lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=here)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.stat(LOCK, dir_fd=here).st_ino != os.fstat(lock).st_ino:
                    raise FileNotFoundError
            except BlockingIOError as error:
                os.close(lock)
                raise DestinationRefused(self._root.path, "another xget is writing here") from error
            except BaseException:
                os.close(lock)
                raise
            return lock
        finally:
            os.close(here)

    def _usable(self, path: bytes) -> bool:
        """Whether a part that was left can be written on; removes it otherwise."""
        status = self._root.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            self._root.unlink(path)
            return False
        if status.st_mode & 0o600 != 0o600:  # it had been given its final permissions
            NamedInode(self._root, path).chmod(0o600)
        return True

    def remove(self) -> None:
        """Removes the parts and the directory, and lets another run in. What is not XGet's own stays."""
        for name in self._root.names(PARTS):
            self._root.unlink(PARTS + b"/" + name)
        with suppress(OSError):  # not empty: NFS keeps the name of a file that is open somewhere
            self._root.rmdir(PARTS)
        self._root.unlink(STAGING + b"/" + LOCK)
        with suppress(OSError):  # not empty: another run made its lock already, or someone keeps things here
            self._root.rmdir(STAGING)
        self.worth_keeping = True  # nothing is left to remove
        self.close()

    def close(self) -> None:
        """Lets another run in. The parts stay for it; where there is nothing for it, neither does the directory."""
        if self._lock >= 0:
            if not self.worth_keeping:
                with suppress(OSError):  # it has parts, or cannot be removed: it stays
                    self._root.rmdir(PARTS)
                    self._root.unlink(STAGING + b"/" + LOCK)
                    self._root.rmdir(STAGING)
            os.close(self._lock)
            self._lock = -1


def part_path(landing: bytes) -> bytes:
    """Where, relative to the destination, the part of the file that will land at `landing` is."""
    return PARTS + b"/" + part_name(landing)


def part_name(landing: bytes) -> bytes:
    """Its name among the parts."""
    return blake3(landing).hexdigest(length=16).encode()


class Parts:
    """The parts, by file number. The ones used last stay open. Any thread may use it."""

    def __init__(self, root: Root, path: Callable[[int], bytes], size: Callable[[int], int]) -> None:
        """`path` and `size` (bytes) say where the part of a file is and how long it will be."""
        self._root = root
        self._path = path
        self._size = size
        self._open_parts: FdCache[int] = FdCache(DESCRIPTORS_KEPT)

    def opened(self, file: int) -> AbstractContextManager[int]:
        """A descriptor of the part, for reading and writing, good inside the `with`. It is made where missing.

        The part has the length that the file will have. Raises OSError.
        """
        return self._open_parts.opened(file, lambda: self._open(file))

    def _open(self, file: int) -> int:
        fd = self._root.open(self._path(file), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            size = self._size(file)
            if os.fstat(fd).st_size != size:
                os.ftruncate(fd, size)
        except OSError:
            os.close(fd)
            raise
        return fd

    def close(self, file: int) -> None:
        """Closes the descriptor of a part that nobody uses any more."""
        self._open_parts.forget((file,))

    def close_all(self) -> None:
        self._open_parts.forget(self._open_parts.keys())
