"""Putting things under their final names. A name is there wholly old or wholly new, whenever the machine stops.

Directories are the exception that it takes: they are made first, writable for us, and look as they should only at
the end. Everything else is made in the workplace and renamed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

from xget_lib.download.delete import Remover
from xget_lib.download.metadata import Attributes
from xget_lib.download.staging import part_path
from xget_lib.errors import DestinationRefused, PathRefused
from xget_lib.fs import syscalls
from xget_lib.fs.inode import NamedInode, OpenInode
from xget_lib.fs.rooted import Root
from xget_lib.manifest.entry import BLOCK, CHARACTER, FIFO, LINK, Entry

SYNC_EACH = 32  # files or directories up to which each is synced; more are done at once with the whole file system

_NO_LINK = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)  # a file system without hard links, or a file with too many
_TYPES = {LINK: stat.S_IFLNK, FIFO: stat.S_IFIFO, CHARACTER: stat.S_IFCHR, BLOCK: stat.S_IFBLK}
_AWAY = "(move it away, or use --delete)"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def refusing(root: Root, landing: bytes) -> Iterator[None]:
    """What the operating system refuses here becomes DestinationRefused, with the path and why."""
    try:
        yield
    except PathRefused as error:
        raise DestinationRefused(os.path.join(root.path, landing), "leads outside the destination") from error
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in _FULL:
            why = f"disk full ({why}; what was fetched is kept for the next run)"
        elif error.errno == errno.EISDIR:
            why = f"a directory is where a file must be {_AWAY}"
        raise DestinationRefused(os.path.join(root.path, landing), why) from error


@contextmanager
def opening(dest: bytes) -> Iterator[None]:
    """As refusing, for what is refused before the destination is open."""
    try:
        yield
    except FileNotFoundError as error:
        raise DestinationRefused(dest, "its parent directory does not exist (make it first)") from error
    except OSError as error:
        raise DestinationRefused(dest, error.strerror or str(error)) from error


def no_directory() -> NotADirectoryError:
    """The error where something else has to be a directory."""
    return NotADirectoryError(errno.ENOTDIR, f"not a directory, where one must be {_AWAY}")


class Installer:
    """Puts files, links, devices and directories in place below `root`. Any thread may use it, each for things of its
    own.

    OSError is raised as it comes; see `refusing`.
    """

    def __init__(self, root: Root, attributes: Attributes, *, delete: bool = False) -> None:
        """`delete`: what is in the way is removed."""
        self._root = root
        self._attributes = attributes
        self.remover = Remover(root, self._touch) if delete else None
        self._lock = Lock()
        self._touched: set[bytes] = set()  # directories whose names changed and are not synced
        self._opened_up: dict[bytes, int] = {}  # directories that were given more permissions, and what they had
        self._sync_all = False
        self._filesystem = root.open(b"", os.O_RDONLY | os.O_DIRECTORY)

    def close(self) -> None:
        os.close(self._filesystem)

    def sync_filesystem(self) -> None:
        syscalls.sync_filesystem(self._filesystem)

    def look(self, landing: bytes) -> os.stat_result | None:
        """What is at a final name; None for nothing that stays. A directory raises IsADirectoryError where it is not
        to be removed."""
        try:
            status = self._root.lstat(landing)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(status.st_mode):
            if self.remover is not None:
                return None
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return status

    def rename(self, path: bytes, landing: bytes) -> None:
        """Gives what was made in the workplace its final name."""
        try:
            self._root.rename(path, landing)
        except IsADirectoryError:
            if self.remover is None:
                raise
            self.remover.make_way(landing)
            self._root.rename(path, landing)
        self._touch(landing)

    def settle(self, landing: bytes, entry: Entry) -> os.stat_result:
        """Corrects the attributes of a file whose content is right, and returns what it looks like then."""
        status = self._root.lstat(landing)
        if self._attributes.settled(entry, status, NamedInode(self._root, landing)):
            return status
        self._attributes.put(NamedInode(self._root, landing), status, entry, new=False)
        self.sync_all()
        return self._root.lstat(landing)

    def hard_link(self, first: bytes, landing: bytes, entry: Entry) -> None:
        """Makes `landing` another name of what is at `first`, which `entry` is; where that cannot be, a copy of it."""
        there = self.look(landing)
        status = self._root.lstat(first)
        if there is not None and os.path.samestat(there, status):
            return
        new = part_path(landing)
        try:
            self._make(new, lambda: self._root.link(first, new))
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            self._attributes.note("links", f"some hard links are copies here: {error.strerror}")
            if not stat.S_ISREG(status.st_mode):
                self.place(landing, entry)
                return
            if there is not None and (there.st_size, there.st_mtime_ns) == (entry.size, entry.mtime_ns):
                return
            self._copy(first, new, entry)
        self.rename(new, landing)

    def _copy(self, file: bytes, new: bytes, entry: Entry) -> None:
        source = self._root.open(file, os.O_RDONLY)
        try:
            target = self._root.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                while os.sendfile(target, source, None, 1 << 30):
                    pass
                self._attributes.put(OpenInode(target), os.fstat(target), entry, new=True)
                os.fsync(target)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def place(self, landing: bytes, entry: Entry) -> bool:
        """Puts a symbolic link, FIFO or device there. Returns whether it is: a device is not where we may not make one.

        What is there as it should be stays, and gets its attributes.
        """
        there = self.look(landing)
        if there is not None and is_like(self._root, landing, there, entry):
            place = NamedInode(self._root, landing)
            if not self._attributes.settled(entry, there, place):
                self._attributes.put(place, there, entry, new=False)
            return True
        new = part_path(landing)
        try:
            self._make(new, lambda: self._make_special(new, entry))
        except PermissionError as error:
            if entry.kind == LINK:
                raise
            self._attributes.note("devices", f"devices are not made here: {error.strerror} (only root can)")
            return False
        self._attributes.put(NamedInode(self._root, new), self._root.lstat(new), entry, new=True)
        self.rename(new, landing)
        return True

    def _make_special(self, path: bytes, entry: Entry) -> None:
        if entry.kind == LINK:
            self._root.symlink(entry.target, path)
        else:
            device = 0 if entry.kind == FIFO else os.makedev(*entry.device)
            self._root.mknod(path, _TYPES[entry.kind] | 0o600, device)

    def _make(self, path: bytes, make: Callable[[], None]) -> None:
        """Makes something new in the workplace, in place of what an earlier run may have left there."""
        try:
            make()
        except FileExistsError:
            self._root.unlink(path)
            make()

    def make_directory(self, landing: bytes, entry: Entry) -> None:
        """Makes a directory, or what is there writable for us. Raises NotADirectoryError where something else is that
        is not to be removed."""
        try:
            self._root.mkdir(landing, self._attributes.first_mode(entry))
            self._touch(landing)
        except FileExistsError:
            mode = self._root.lstat(landing).st_mode
            if stat.S_ISDIR(mode):
                self.open_up(landing, mode)
                return
            if self.remover is None:
                raise no_directory() from None
            self.remover.make_way(landing)
            self._root.mkdir(landing, self._attributes.first_mode(entry))

    def open_up(self, landing: bytes, mode: int) -> None:
        """Lets us write in a directory that its owner, who we are, may not write in."""
        if mode & 0o700 != 0o700 and os.geteuid() != 0:
            NamedInode(self._root, landing).chmod(stat.S_IMODE(mode) | 0o700)
            self._opened_up[landing] = stat.S_IMODE(mode)

    def settle_directories(self, directories: Sequence[tuple[bytes, Entry]]) -> None:
        """Gives directories in which nothing changes any more their attributes, each after all that are in it.

        `directories` are in manifest order. Returns when all names that were given below them are on disk. Raises
        DestinationRefused.
        """
        at_once = self._sync_all or len(self._touched) > SYNC_EACH
        for landing, entry in reversed(directories):
            with refusing(self._root, landing):
                self._settle_directory(landing, entry, sync=not at_once)
        if at_once:
            with refusing(self._root, b""):
                self.sync_filesystem()

    def _settle_directory(self, landing: bytes, entry: Entry, *, sync: bool) -> None:
        fd = self._root.open(landing, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if landing in self._opened_up:
                os.fchmod(fd, self._opened_up[landing])
            status = os.fstat(fd)
            settled = self._attributes.settled(entry, status, OpenInode(fd))
            if not settled:
                self._attributes.put(OpenInode(fd), status, entry, new=False)
            # Here, as its owner may not be able to open it any more.
            if sync and (not settled or landing in self._touched):
                sync_directory(fd)
        finally:
            os.close(fd)

    def settle_root(self, entry: Entry | None) -> None:
        """The last step, after the workplace is gone: the destination itself, with attributes if it was asked for."""
        fd = self._root.open(b"", os.O_RDONLY | os.O_DIRECTORY)
        try:
            if entry is not None:
                if b"" in self._opened_up:
                    os.fchmod(fd, self._opened_up[b""])
                self._attributes.put(OpenInode(fd), os.fstat(fd), entry, new=False)
            sync_directory(fd)
        finally:
            os.close(fd)

    def sync_all(self) -> None:
        """What needs syncing at the end is not only what is known here: it will be the whole file system."""
        self._sync_all = True

    def _touch(self, landing: bytes) -> None:
        self.touch(landing.rpartition(b"/")[0])

    def touch(self, directory: bytes) -> None:
        """Names in a directory changed."""
        with self._lock:
            self._touched.add(directory)


def is_like(root: Root, landing: bytes, there: os.stat_result, entry: Entry) -> bool:
    """Whether something is the symbolic link, FIFO or device that is wanted, whatever its attributes."""
    if stat.S_IFMT(there.st_mode) != _TYPES[entry.kind]:
        return False
    if entry.kind == LINK:
        return root.readlink(landing) == entry.target
    return entry.kind == FIFO or there.st_rdev == os.makedev(*entry.device)


def sync_directory(fd: int) -> None:
    """Returns when the names in an open directory are on disk, on a file system that can be asked for that."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
