"""Watches a directory and everything below it for changes: inotify(7), with a watch on each directory.

It reports that something changed, not what: a scan finds that. A file counts as changed when the process that wrote to
it closes it, not at each write: else a large file would be read again and again while it is copied. So some changes are
not reported: in a file that is never closed, through a mapping, or under a name outside. On a network file system
inotify does not report what other machines do; such a directory is not watched at all.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from threading import Lock

from inotify_simple import INotify, flags

from xget_lib.errors import CannotWatch, PathRefused
from xget_lib.fs.mounts import shared
from xget_lib.fs.rooted import Root
from xget_lib.fs.thread_cwd import inside
from xget_lib.manifest.entry import joined
from xget_lib.manifest.selection import STAGING

_NAMES = flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO
_GONE = flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT | flags.IGNORED
_MASK = _NAMES | flags.CLOSE_WRITE | flags.ATTRIB | flags.DELETE_SELF | flags.MOVE_SELF | flags.EXCL_UNLINK
_UNSEEN = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM)
"""Errors of a directory that is gone, or that the scan cannot list either: it is not watched."""
_WHY = {
    errno.ENOSPC: "too many directories (see sysctl fs.inotify.max_user_watches)",
    errno.EMFILE: "too many inotify instances (see sysctl fs.inotify.max_user_instances)",
}


class InotifyTree:
    """The watches of one directory or file, owned by a worker's DirectoryWatcher. It blocks; any thread may use it."""

    def __init__(self, path: bytes, *, one_file_system: bool) -> None:
        """`path` is absolute, a directory or a file. Watches from now on. Raises CannotWatch."""
        self._path = path
        self._one_file_system = one_file_system
        self.outdated = False
        """Whether what is at `path` is another directory or file now, or events were lost: make a new InotifyTree."""
        self._lock = Lock()
        self._directories: dict[int, bytes] = {}
        """By watch: the path of the directory, relative to the one that is watched, which is b"" itself."""
        self._parents: dict[int, frozenset[bytes]] = {}
        """By watch on a directory above: the names in it that lead to what is watched."""
        try:
            self._inotify = INotify(nonblocking=True)
        except OSError as error:
            raise _cannot(error) from error
        try:
            self._begin()
        except OSError as error:
            self.close()
            raise _cannot(error) from error
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        base = os.path.realpath(self._path)
        self._base = base
        # The directory or file itself may be replaced by another, and so may the link that leads to it.
        names: dict[bytes, set[bytes]] = {}
        for path in (self._path, base):
            directory, name = os.path.split(path)
            if name:  # not the top of all
                names.setdefault(directory, set()).add(name)
        for directory, watched in names.items():
            self._parents[self._inotify.add_watch(directory, _MASK)] = frozenset(watched)
        status = os.stat(base)
        self._device = status.st_dev
        kind = shared(status.st_dev)
        if kind is not None:
            raise CannotWatch(f"other machines may change this file system ({kind})")
        if stat.S_ISDIR(status.st_mode):
            self._add(b"")

    def close(self) -> None:
        """Waits until no thread is in `read`."""
        with self._lock:
            self._inotify.close()

    @property
    def count(self) -> int:
        """How many directories are watched."""
        return len(self._directories)

    def fileno(self) -> int:
        """Readable when there is something to `read`."""
        return int(self._inotify.fileno())

    def read(self) -> bool:
        """Whether something changed since the last call; does not wait. Check `outdated` afterwards.

        Raises CannotWatch if something new cannot be watched.
        """
        with self._lock:
            return self._read()

    def _read(self) -> bool:
        changed = False
        moved_away: set[bytes] = set()
        for event in self._inotify.read(timeout=0):
            name = os.fsencode(event.name)
            if event.mask & (flags.Q_OVERFLOW | flags.UNMOUNT) or self._is_replaced(event.wd, event.mask, name):
                self.outdated = True
                return True
            directory = self._directories.get(event.wd)
            if directory is None or name == STAGING:
                continue
            if event.mask & _GONE:
                if event.mask & flags.IGNORED:
                    del self._directories[event.wd]
                continue
            path = joined(directory, name)
            if not event.mask & flags.ISDIR:
                if event.mask & flags.CREATE and self._is_being_written(path):
                    continue
            elif event.mask & (flags.CREATE | flags.MOVED_TO):
                if any(_is_within(path, old) or _is_within(old, path) for old in moved_away):
                    self._forget(moved_away)
                    moved_away.clear()
                self._add(path)
            elif event.mask & flags.MOVED_FROM:
                moved_away.add(path)
            changed = True
        if moved_away:
            self._forget(moved_away)
        return changed

    def _is_replaced(self, watch: int, mask: int, name: bytes) -> bool:
        """Whether another directory or file may be at the watched path now."""
        if self._directories.get(watch) == b"":
            return bool(mask & _GONE)
        if name not in self._parents.get(watch, ()):
            return False
        return bool(mask & _NAMES) or not mask & flags.ISDIR

    def _is_being_written(self, path: bytes) -> bool:
        """Whether a new name is that of a new file, which will be closed. Other kinds are complete at once."""
        try:
            with Root(self._base) as root:
                status = root.lstat(path)
        except (OSError, PathRefused):
            return False
        return stat.S_ISREG(status.st_mode) and status.st_nlink == 1

    def _add(self, top: bytes) -> None:
        """Watches a directory and all below it, each before it is listed. Moved directories get their new paths."""
        unvisited = [top]
        try:
            # A new Root each time: it keeps directories open by path, and these may have been moved.
            with Root(self._base) as root:
                while unvisited:
                    path = unvisited.pop()
                    try:
                        below = self._add_one(root, path)
                    except PathRefused:
                        continue
                    except OSError as error:
                        if error.errno not in _UNSEEN or not path:
                            raise
                        continue
                    unvisited.extend(joined(path, name) for name in below)
        except OSError as error:
            raise _cannot(error) from error

    def _add_one(self, root: Root, path: bytes) -> list[bytes]:
        """Watches a directory. Returns the names of the directories in it."""
        descriptor = root.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if self._one_file_system and os.fstat(descriptor).st_dev != self._device:
                return []
            # By descriptor: no link can come between, and the path may be longer than the kernel takes.
            with inside(descriptor) as path_of:
                watch = self._inotify.add_watch(path_of(b"."), _MASK | flags.ONLYDIR)
            self._directories[watch] = path
            with os.scandir(descriptor) as listing:
                names = [os.fsencode(found.name) for found in listing if found.is_dir(follow_symlinks=False)]
        finally:
            os.close(descriptor)
        return [name for name in names if name != STAGING]

    def _forget(self, moved_away: set[bytes]) -> None:
        """Removes the watches of directories that were moved out of the watched tree."""
        for watch, path in list(self._directories.items()):
            if any(parent in moved_away for parent in _with_parents(path)):
                del self._directories[watch]
                try:
                    self._inotify.rm_watch(watch)
                except OSError as error:
                    if error.errno != errno.EINVAL:  # it is gone already
                        raise _cannot(error) from error


def _with_parents(path: bytes) -> Iterator[bytes]:
    while path:
        yield path
        path = path.rpartition(b"/")[0]


def _is_within(path: bytes, other: bytes) -> bool:
    return path == other or path.startswith(other + b"/")


def _cannot(error: OSError) -> CannotWatch:
    return CannotWatch(_WHY.get(error.errno or 0) or error.strerror or str(error))
