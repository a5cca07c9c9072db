"""Noticing what changes in a directory and below: inotify(7), with a watch on each directory there.

What is said is where to look, never what has happened: events tell less than a look does, and in another order than
things are found. A file counts as changed when who wrote to it closes it, not at each write: a large file that is just
being copied here would otherwise be read again and again. So what is never closed, what is written through a mapping
or under a name elsewhere is not noticed. Whoever needs to know of these, too, looks now and then. On a network file
system nothing is noticed of what other machines do; such a one is not watched at all.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock

from inotify_simple import INotify, flags

from xget_lib.errors import CannotWatch, PathRefused
from xget_lib.fs.mounts import shared
from xget_lib.fs.rooted import Root
from xget_lib.manifest.entry import joined
from xget_lib.manifest.selection import STAGING

_NAMES = flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO
_GONE = flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT | flags.IGNORED
_MASK = _NAMES | flags.CLOSE_WRITE | flags.ATTRIB | flags.DELETE_SELF | flags.MOVE_SELF | flags.EXCL_UNLINK
_UNSEEN = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM)
"""Of a directory that is gone, or that the scan cannot list either: no failure."""
_WHY = {
    errno.ENOSPC: "too many directories (see sysctl fs.inotify.max_user_watches)",
    errno.EMFILE: "too many inotify instances (see sysctl fs.inotify.max_user_instances)",
}


@dataclass(frozen=True, slots=True)
class Changes:
    """Where to look. Paths are relative to the directory that is watched, which is b"" itself."""

    directories: frozenset[bytes] = frozenset()
    """What is directly in these may have changed, and so may they themselves."""
    trees: frozenset[bytes] = frozenset()
    """New here, or moved here: nothing is known of what is below either."""
    everything: bool = False
    """Nothing is known any more."""

    def __or__(self, other: Changes) -> Changes:
        return Changes(
            self.directories | other.directories, self.trees | other.trees, self.everything or other.everything
        )

    def __bool__(self) -> bool:
        return self.everything or bool(self.directories or self.trees)


EVERYTHING = Changes(everything=True)


class InotifyTree:
    """Watches what a master was given. It blocks; any thread may use it."""

    def __init__(self, path: bytes, *, one_file_system: bool) -> None:
        """`path` is absolute, a directory or a file. Everything from now on is noticed. Raises CannotWatch."""
        self._path = path
        self._one_file_system = one_file_system
        self._lock = Lock()
        self._directories: dict[int, bytes] = {}
        self._beside: dict[int, frozenset[bytes]] = {}
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
            self._beside[self._inotify.add_watch(directory, _MASK)] = frozenset(watched)
        status = os.stat(base)
        self._device = status.st_dev
        kind = shared(status.st_dev)
        if kind is not None:
            raise CannotWatch(f"it is on a file system that other machines may change ({kind})")
        if stat.S_ISDIR(status.st_mode):
            self._add(b"")

    def close(self) -> None:
        """Waits for who is just reading."""
        with self._lock:
            self._inotify.close()

    @property
    def count(self) -> int:
        """The directories that are watched."""
        return len(self._directories)

    def fileno(self) -> int:
        """Readable when there is something to `read`."""
        return int(self._inotify.fileno())

    def read(self) -> Changes:
        """What has happened since the last time; does not wait. Where everything may have changed, watch anew.

        Raises CannotWatch where there is something new that cannot be watched.
        """
        with self._lock:
            return self._read()

    def _read(self) -> Changes:
        directories: set[bytes] = set()
        trees: set[bytes] = set()
        left: set[bytes] = set()
        for event in self._inotify.read(timeout=0):
            name = os.fsencode(event.name)
            if event.mask & (flags.Q_OVERFLOW | flags.UNMOUNT) or self._is_other(event.wd, event.mask, name):
                return EVERYTHING
            directory = self._directories.get(event.wd)
            if directory is None or (directory == b"" and name == STAGING):
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
                if any(_is_within(path, old) or _is_within(old, path) for old in left):
                    self._forget(left)
                    left.clear()
                trees.add(path)
                self._add(path)
            elif event.mask & flags.MOVED_FROM:
                left.add(path)
            directories.add(directory)
        if left:
            self._forget(left)
        return Changes(frozenset(directories), frozenset(trees))

    def _is_other(self, watch: int, mask: int, name: bytes) -> bool:
        """Whether another directory or file may be what is to be served now."""
        if self._directories.get(watch) == b"":
            return bool(mask & _GONE)
        if name not in self._beside.get(watch, ()):
            return False
        return bool(mask & _NAMES) or not mask & flags.ISDIR

    def _is_being_written(self, path: bytes) -> bool:
        """Whether a name that was just made is that of a new file. It will be closed; other names are complete."""
        try:
            with Root(self._base) as root:
                status = root.lstat(path)
        except (OSError, PathRefused):
            return False
        return stat.S_ISREG(status.st_mode) and status.st_nlink == 1

    def _add(self, top: bytes) -> None:
        """Watch a directory and all below it, each before it is listed. What was moved gets its new path by that."""
        unvisited = [top]
        try:
            # A new one each time: it keeps directories open by path, and these may have been moved.
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
        """Watch a directory; the names of the directories in it."""
        descriptor = root.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if self._one_file_system and os.fstat(descriptor).st_dev != self._device:
                return []
            # By descriptor: a link can't come between, and the path may be longer than the kernel takes.
            watch = self._inotify.add_watch(b"/proc/self/fd/%d" % descriptor, _MASK | flags.ONLYDIR)
            self._directories[watch] = path
            with os.scandir(descriptor) as listing:
                names = [os.fsencode(found.name) for found in listing if found.is_dir(follow_symlinks=False)]
        finally:
            os.close(descriptor)
        return [name for name in names if path or name != STAGING]

    def _forget(self, left: set[bytes]) -> None:
        """Of the directories that were moved away, those that have not come to another place here."""
        for watch, path in list(self._directories.items()):
            if any(parent in left for parent in _with_parents(path)):
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
