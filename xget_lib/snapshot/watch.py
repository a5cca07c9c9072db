"""Watches a directory and everything below it for changes: inotify(7), with a watch on each directory.

It reports that something changed, not what: a scan finds that. A change counts as complete when the process that wrote
to a file closes it: a scan after each write would read a large file again and again while it is copied. Until then the
file is being written: somebody who needs the newest state scans now, and others wait.

A process that writes all the time causes one event in two seconds for each directory: after the first one, further
writes in that directory are not watched for so long, and count as unknown. So neither this process nor the queue of
events is flooded.

Directories are known by the path at which they were seen last. After a rename, what is at the old and at the new path
now is watched anew, so that it does not matter what was renamed how often.

Not reported are writes through a mapping, or under a name outside. What a loop device writes is not reported either, so
a file of one counts as being written. On a network file system inotify does not report what other machines do; a
directory with one in it is not watched at all.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Collection, Iterator
from enum import IntEnum
from threading import Lock

from inotify_simple import INotify, flags

from xget_lib.errors import CannotWatch, PathRefused, printable
from xget_lib.fs.links import on_the_way
from xget_lib.fs.loop_devices import written_files
from xget_lib.fs.mount_table import MountTable
from xget_lib.fs.mounts import shared_type
from xget_lib.fs.rooted import Root
from xget_lib.fs.thread_cwd import inside
from xget_lib.manifest.entry import is_within, joined
from xget_lib.manifest.selection import STAGING
from xget_lib.snapshot.write_pauses import WritePauses

_NAMES = flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO
_GONE = flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT | flags.IGNORED
_ABOVE = _NAMES | flags.MOVE_SELF | flags.DELETE_SELF
"""Of a directory above: only whether a name leads somewhere else."""
_SETTLED = _NAMES | flags.CLOSE_WRITE | flags.ATTRIB | flags.DELETE_SELF | flags.MOVE_SELF
"""Not EXCL_UNLINK: a file may have another name than the one under which it is open, or had none when it was opened."""
_MASK = _SETTLED | flags.MODIFY
_MOUNTED_FILE = flags.MODIFY | flags.CLOSE_WRITE | flags.ATTRIB
_MOUNTS_EVERY = 2.0
"""Seconds between two looks for mounts, which cause no events."""
_UNSEEN = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM)
"""Errors of a directory that is gone, or that the scan cannot list either: it is not watched."""
_CLOSED = (errno.EACCES, errno.EPERM)
"""Those that end when somebody changes permissions."""
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
        self._mounted_files: set[int] = set()
        """Watches on files that are mounted over files: what is written there is reported where they come from."""
        self._closed: set[bytes] = set()
        """Directories that this process may not list."""
        self._pauses = WritePauses()
        self._loops = False
        """Whether a loop device had a file below the directory when it was last looked at."""
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
        for directory, name in on_the_way(self._path):
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
        self._watch_mounts()

    def _watch_mounts(self) -> None:
        """Watch files that are mounted over files. Raises CannotWatch for a file system of other machines."""
        for mount in self._mounts.below(self._base):
            try:
                status = os.lstat(mount.point)
                if stat.S_ISREG(status.st_mode):
                    self._mounted_files.add(self._inotify.add_watch(mount.point, _MOUNTED_FILE))
            except OSError as error:
                if error.errno not in _UNSEEN:
                    raise
            if mount.shared_type is not None and not self._one_file_system:
                where = printable(mount.point)
                raise CannotWatch(f"other machines may change the file system at {where} ({mount.shared_type})")

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
            seen = max(self._read(), self._watch_writes_again(time.monotonic()), self._look_at_loops())
            # Where writes are not watched, there may be some.
            return max(seen, Seen.WRITING) if self._pauses.any else seen

    def wait(self) -> float:
        """Seconds until `read` is due even if there are no events."""
        with self._lock:
            due = self._pauses.due
        return min(max(0.0, due - time.monotonic()), _MOUNTS_EVERY)

    def _read(self) -> Seen:
        seen = Seen.NOTHING
        renamed: set[bytes] = set()
        new: set[bytes] = set()
        for event in self._inotify.read(timeout=0):
            name = os.fsencode(event.name)
            if event.mask & (flags.Q_OVERFLOW | flags.UNMOUNT) or self._is_replaced(event.wd, event.mask, name):
                self.outdated = True
                return Seen.CHANGED
            if event.mask & flags.MODIFY and name in self._parents.get(event.wd, ()):
                seen = max(seen, self._wrote(event.wd))
                continue
            if event.wd in self._mounted_files:
                seen = max(seen, self._mounted_file_changed(event.wd, event.mask))
                continue
            directory = self._directories.get(event.wd)
            if directory is None or name == STAGING:
                continue
            if event.mask & _GONE:
                if event.mask & flags.IGNORED:
                    self._drop(event.wd)
                continue
            path = joined(directory, name) if name else directory
            if event.mask & flags.MODIFY:
                seen = max(seen, self._wrote(event.wd))
                continue
            if event.mask & flags.ISDIR:
                renamed |= {path} if event.mask & flags.MOVED_FROM else set()
                new |= {path} if self._may_be_unwatched(path, event.mask) else set()
            elif event.mask & flags.CREATE and self._is_being_written(path):
                # Nobody closes what was made by mknod(2), or got its first name by linkat(2).
                self._pauses.await_quiet(event.wd, time.monotonic())
                seen = max(seen, Seen.WRITING)
                continue
            seen = Seen.CHANGED
        self._watch_anew(renamed, new)
        return seen

    def _may_be_unwatched(self, path: bytes, mask: int) -> bool:
        """Whether there may be a directory now that was not there, or could not be listed."""
        if mask & (flags.CREATE | flags.MOVED_TO):
            return True
        return bool(mask & flags.ATTRIB) and any(not path or is_within(closed, path) for closed in self._closed)

    def _watch_anew(self, renamed: Collection[bytes], new: Collection[bytes]) -> None:
        """Watch what is at these paths now. What was at a `renamed` one may be elsewhere, or outside."""
        if renamed:
            self._forget(renamed)
        done: set[bytes] = set()
        for path in sorted({*renamed, *new}):  # each directory before those below it
            if not any(parent in done for parent in _with_parents(path)):
                self._add(path)
                done.add(path)

    def _mounted_file_changed(self, watch: int, mask: int) -> Seen:
        if mask & (flags.CLOSE_WRITE | flags.ATTRIB):
            return Seen.CHANGED
        if mask & flags.MODIFY:
            self._pauses.await_quiet(watch, time.monotonic())
            return Seen.WRITING
        self._mounted_files.discard(watch)
        return Seen.CHANGED

    def _look_at_loops(self) -> Seen:
        """Whether a loop device may write to a file below the directory, or might have until now."""
        before, self._loops = self._loops, any(is_within(path, self._base) for path in written_files())
        if self._loops:
            return Seen.WRITING
        return Seen.CHANGED if before else Seen.NOTHING

    def _wrote(self, watch: int) -> Seen:
        """A write was seen in a directory: do not watch further ones there for a while."""
        if self._pauses.begin(watch, time.monotonic()):
            self._watch(watch, _SETTLED)
        return Seen.WRITING

    def _watch_writes_again(self, now: float) -> Seen:
        """Watch writes where they were not watched for long enough. There may have been some meanwhile."""
        seen = Seen.CHANGED if self._pauses.over(now) else Seen.NOTHING
        for watch in self._pauses.end(now):
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
        self._pauses.drop(watch)

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
        self._closed = {path for path in self._closed if not is_within(path, top)} if top else set()
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
                        if error.errno in _CLOSED:
                            self._closed.add(path)
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

    def _forget(self, moved_away: Collection[bytes]) -> None:
        """Removes the watches of directories that are known by these paths, and of those below them."""
        for watch, path in list(self._directories.items()):
            if any(parent in moved_away for parent in _with_parents(path)):
                self._drop(watch)
                try:
                    self._inotify.rm_watch(watch)
                except OSError as error:
                    if error.errno != errno.EINVAL:  # it is gone already
                        raise _cannot(error) from error


def _with_parents(path: bytes) -> Iterator[bytes]:
    while path:
        yield path
        path = path.rpartition(b"/")[0]


def _cannot(error: OSError) -> CannotWatch:
    return CannotWatch(_WHY.get(error.errno or 0) or error.strerror or str(error))
