"""Watches a directory and everything below it for changes: inotify(7), with a watch on each directory.

It reports that something changed, not what: a scan finds that. A change counts as complete when the process that wrote
to a file closes it: a scan after each write would read a large file again and again while it is copied. Until then the
file is being written: somebody who needs the newest state scans now, and others wait.

A process that writes all the time causes one event in two seconds for each directory: after the first one, further
writes in that directory are not watched for so long, and count as unknown. So neither this process nor the queue of
events is flooded.

Not reported are writes through a mapping, or under a name outside. On a network file system inotify does not report
what other machines do; such a directory is not watched at all.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from enum import IntEnum
from math import inf
from threading import Lock

from inotify_simple import INotify, flags

from xget_lib.errors import CannotWatch, PathRefused
from xget_lib.fs.mount_table import MountTable
from xget_lib.fs.mounts import shared_type
from xget_lib.fs.rooted import Root
from xget_lib.fs.thread_cwd import inside
from xget_lib.manifest.entry import is_within, joined
from xget_lib.manifest.selection import STAGING

_NAMES = flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO
_GONE = flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT | flags.IGNORED
_ABOVE = _NAMES | flags.MOVE_SELF | flags.DELETE_SELF
"""Of a directory above: only whether a name leads somewhere else."""
_SETTLED = _NAMES | flags.CLOSE_WRITE | flags.ATTRIB | flags.DELETE_SELF | flags.MOVE_SELF | flags.EXCL_UNLINK
_MASK = _SETTLED | flags.MODIFY
_WRITING = 2.0
"""Seconds for which writes are not watched after one was seen, and after which no further one means that it is over."""
_MOUNTS_EVERY = 2.0
"""Seconds between two looks for mounts, which cause no events."""
_LINKS_LIMIT = 40
"""Symbolic links in a path, as in path_resolution(7)."""
_UNSEEN = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM)
"""Errors of a directory that is gone, or that the scan cannot list either: it is not watched."""
_WHY = {
    errno.ENOSPC: "too many directories (see sysctl fs.inotify.max_user_watches)",
    errno.EMFILE: "too many inotify instances (see sysctl fs.inotify.max_user_instances)",
}


class Seen(IntEnum):
    """What has happened."""

    NOTHING = 0
    WRITING = 1
    """Some file is being written, or may be."""
    CHANGED = 2
    """Something else is there now, and no process is known to be at it."""


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
        self._written: dict[int, float] = {}
        """By watch on a directory in which writes are not watched: when they are again, in monotonic seconds."""
        self._quiet: dict[int, float] = {}
        """By watch on a directory in which they are again: when a file that was being written counts as complete."""
        try:
            self._inotify = INotify(nonblocking=True)
        except OSError as error:
            raise _cannot(error) from error
        self._mounts = MountTable(path)
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
        # Each directory or link on the way may be replaced, by a rename or by switching a link.
        names: dict[bytes, set[bytes]] = {}
        for directory, name in _on_the_way(self._path):
            names.setdefault(directory, set()).add(name)
        status = os.stat(base)
        is_directory = stat.S_ISDIR(status.st_mode)
        for directory, watched in names.items():
            mask = _ABOVE if is_directory or directory != os.path.dirname(base) else _MASK
            self._parents[self._inotify.add_watch(directory, mask)] = frozenset(watched)
        self._device = status.st_dev
        kind = shared_type(status.st_dev)
        if kind is not None:
            raise CannotWatch(f"other machines may change this file system ({kind})")
        if is_directory:
            self._add(b"")

    def close(self) -> None:
        """Waits until no thread is in `read`."""
        with self._lock:
            self._inotify.close()
            self._mounts.close()

    @property
    def count(self) -> int:
        """How many directories are watched."""
        return len(self._directories)

    def fileno(self) -> int:
        """Readable when there is something to `read`."""
        return int(self._inotify.fileno())

    def read(self) -> Seen:
        """What happened since the last call; does not wait. Check `outdated` afterwards.

        Raises CannotWatch if something new cannot be watched.
        """
        with self._lock:
            if self._mounts.changed():
                self.outdated = True
                return Seen.CHANGED
            seen = max(self._read(), self._watch_writes_again(time.monotonic()))
            # Where writes are not watched, there may be some.
            return max(seen, Seen.WRITING) if self._written else seen

    def wait(self) -> float:
        """Seconds until `read` is due even if there are no events."""
        with self._lock:
            due = min((*self._written.values(), *self._quiet.values()), default=inf)
        return min(max(0.0, due - time.monotonic()), _MOUNTS_EVERY)

    def _read(self) -> Seen:
        seen = Seen.NOTHING
        moved_away: set[bytes] = set()
        for event in self._inotify.read(timeout=0):
            name = os.fsencode(event.name)
            if event.mask & (flags.Q_OVERFLOW | flags.UNMOUNT) or self._is_replaced(event.wd, event.mask, name):
                self.outdated = True
                return Seen.CHANGED
            if event.mask & flags.MODIFY and name in self._parents.get(event.wd, ()):
                seen = max(seen, Seen.WRITING)
                self._ignore_writes(event.wd)
                continue
            directory = self._directories.get(event.wd)
            if directory is None or name == STAGING:
                continue
            if event.mask & _GONE:
                if event.mask & flags.IGNORED:
                    self._drop(event.wd)
                continue
            path = joined(directory, name)
            if event.mask & flags.MODIFY:
                seen = max(seen, Seen.WRITING)
                self._ignore_writes(event.wd)
                continue
            if not event.mask & flags.ISDIR:
                if event.mask & flags.CREATE and self._is_being_written(path):
                    seen = max(seen, Seen.WRITING)
                    continue
            elif event.mask & (flags.CREATE | flags.MOVED_TO):
                if any(is_within(path, old) or is_within(old, path) for old in moved_away):
                    self._forget(moved_away)
                    moved_away.clear()
                self._add(path)
            elif event.mask & flags.MOVED_FROM:
                moved_away.add(path)
            seen = Seen.CHANGED
        if moved_away:
            self._forget(moved_away)
        return seen

    def _ignore_writes(self, watch: int) -> None:
        """Do not watch writes in a directory for a while: one was seen."""
        self._quiet.pop(watch, None)
        if watch not in self._written:
            self._written[watch] = time.monotonic() + _WRITING
            self._watch(watch, _SETTLED)

    def _watch_writes_again(self, now: float) -> Seen:
        """Watch writes where they were not watched for long enough. There may have been some meanwhile."""
        seen = Seen.NOTHING
        for watch in [watch for watch, due in self._quiet.items() if due <= now]:
            del self._quiet[watch]
            seen = Seen.CHANGED
        for watch in [watch for watch, due in self._written.items() if due <= now]:
            del self._written[watch]
            self._quiet[watch] = now + _WRITING
            self._watch(watch, _MASK)
            seen = max(seen, Seen.WRITING)
        return seen

    def _watch(self, watch: int, mask: int) -> None:
        """Change what a directory is watched for. A directory that is gone, or was moved, reports that by itself."""
        base, path = self._base, self._directories.get(watch, b"")
        if watch in self._parents and not self._directories:  # of a single file
            base = os.path.dirname(base)
        try:
            with Root(base) as root, root.opened(path, os.O_RDONLY | os.O_DIRECTORY) as found:
                self._add_watch(found, mask)
        except PathRefused:
            return
        except OSError as error:
            if error.errno not in _UNSEEN:
                raise _cannot(error) from error

    def _add_watch(self, directory: int, mask: int) -> int:
        """Watch an open directory. Returns the watch."""
        # By descriptor: no link can come between, and the path may be longer than the kernel takes.
        with inside(directory) as path_of:
            return int(self._inotify.add_watch(path_of(b"."), mask | flags.ONLYDIR))

    def _drop(self, watch: int) -> None:
        self._directories.pop(watch, None)
        self._written.pop(watch, None)
        self._quiet.pop(watch, None)

    def _is_replaced(self, watch: int, mask: int, name: bytes) -> bool:
        """Whether another directory or file may be at the watched path now."""
        if self._directories.get(watch) == b"":
            return bool(mask & _GONE)
        if name not in self._parents.get(watch, ()):
            return watch in self._parents and bool(mask & _GONE)
        return bool(mask & _NAMES) or not mask & (flags.ISDIR | flags.MODIFY)

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
            self._directories[self._add_watch(descriptor, _MASK)] = path
            with os.scandir(descriptor) as listing:
                names = [os.fsencode(found.name) for found in listing if found.is_dir(follow_symlinks=False)]
        finally:
            os.close(descriptor)
        return [name for name in names if name != STAGING]

    def _forget(self, moved_away: set[bytes]) -> None:
        """Removes the watches of directories that were moved out of the watched tree."""
        for watch, path in list(self._directories.items()):
            if any(parent in moved_away for parent in _with_parents(path)):
                self._drop(watch)
                try:
                    self._inotify.rm_watch(watch)
                except OSError as error:
                    if error.errno != errno.EINVAL:  # it is gone already
                        raise _cannot(error) from error


def _on_the_way(path: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each directory, without links, and the name in it that leads on to what is at an absolute path.

    Raises OSError where there are too many links.
    """
    rest = path.split(b"/")[::-1]
    current = b"/"
    links = 0
    while rest:
        name = rest.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            current = os.path.dirname(current)
            continue
        yield current, name
        found = os.path.join(current, name)
        try:
            target = os.readlink(found)
        except OSError:  # not a link
            current = found
            continue
        links += 1
        if links > _LINKS_LIMIT:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        rest += target.split(b"/")[::-1]
        if target.startswith(b"/"):
            current = b"/"


def _with_parents(path: bytes) -> Iterator[bytes]:
    while path:
        yield path
        path = path.rpartition(b"/")[0]


def _cannot(error: OSError) -> CannotWatch:
    return CannotWatch(_WHY.get(error.errno or 0) or error.strerror or str(error))
