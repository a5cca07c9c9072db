"""The staging directory `.xget` in a destination, where files are put together while a download lasts.

    serial      of the signed generation that was taken last (`serial`). It stays when the download is complete
    lock        flock'ed by the run that writes here; there is only one
    replaced    the paths at which the run puts other content in place, while nobody knows how far it came (`last_run`)
    parts/      a part for each file that is not complete: as long as the file, with holes where pieces are missing.
                Those for other file systems below the destination are there (`workplaces`)

The name of a part depends on the final path of its file and not on the generation: when the content changes, the right
pieces of a half-fetched file stay useful. The next run does not trust the parts: it hashes them.

Who owns the destination may rename `.xget`, and put a directory of his own in its place. So both directories are held
from the moment when their owner was checked. Nobody else may look into them, and a new part is never a file that was
there before: what is written into a part, and verified, is what gets the final name.
"""

from __future__ import annotations

import fcntl
import os
from array import array
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from io import FileIO
from threading import Lock

from xget_lib.download.destination import Destination
from xget_lib.download.workplaces import PARTS, hold, is_ours, make_private, new_part, sync_directory, take_over
from xget_lib.errors import DestinationRefused
from xget_lib.fs.fd_cache import FdCache
from xget_lib.fs.rooted import Root
from xget_lib.manifest.selection import STAGING

LOCK = b"lock"
REPLACED = STAGING + b"/replaced"
_KEY = 4  # bytes of a key in it
DESCRIPTORS_KEPT = 128
_LOCKS = 16
"""For all parts. Two parts with the same lock wait for each other, which is rare with few threads."""


class Staging:
    """`.xget` below `root`, locked by this run from `open` until `remove` or `close`. Its methods raise OSError."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._lock = -1
        self.path = os.path.join(root.path, STAGING)
        self.resumed = False  # whether an earlier run did not come to its end
        self.worth_keeping = False  # whether it stays for the next run even if it has no parts
        self.read_only = False  # whether the file system is: then there is none, but all may be in place already
        self.leftovers: frozenset[bytes] = frozenset()  # the names of the parts that an earlier run left
        self.replaced: frozenset[int] = frozenset()  # what it noted with `note_replaced`
        self._noting = Lock()

    def open(self) -> None:
        """Makes it, locks it, finds the parts of an earlier run. Raises DestinationRefused for one that is not ours."""
        if self._root.statvfs().f_flag & os.ST_RDONLY:
            self.read_only = True
            return
        while self._lock < 0:
            with suppress(FileExistsError):
                self._root.mkdir(STAGING, 0o700)
            with suppress(FileNotFoundError):  # another run has just removed it: make it again
                self._lock = self._locked()
        with suppress(FileExistsError):
            self._root.mkdir(PARTS, 0o700)
        hold(self._root, PARTS)
        self.leftovers = take_over(self._root, PARTS)
        self.replaced = replaced_paths(self._root)
        self.resumed = self.worth_keeping = self.resumed or bool(self.replaced)

    def _locked(self) -> int:
        """Takes the lock and returns its descriptor. Raises FileNotFoundError if it was removed meanwhile."""
        try:
            held = self._root.hold(STAGING)
            if not is_ours(held):
                # Its owner could have put links in it that lead our writes elsewhere.
                raise DestinationRefused(self.path, "belongs to another user (remove it)")
            make_private(held)
            self.resumed = _exists(LOCK, held)  # a run that ends removes it
            lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=held)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.stat(LOCK, dir_fd=held).st_ino != os.fstat(lock).st_ino:
                    raise FileNotFoundError
            except BaseException:
                os.close(lock)
                raise
            return lock
        except NotADirectoryError as error:
            raise DestinationRefused(
                self.path, "not a directory (remove it: XGet stores temporary data there)"
            ) from error
        except BlockingIOError as error:
            raise DestinationRefused(self._root.path, "in use by another xget (wait for it to end)") from error

    def note_replaced(self, keys: array[int]) -> None:
        """Notes the paths at which this run puts other content in place, by their keys. They are on disk then."""
        with self._root.opened(REPLACED, os.O_RDWR | os.O_CREAT | os.O_APPEND) as fd, self._noting:
            os.ftruncate(fd, os.fstat(fd).st_size // _KEY * _KEY)  # a run may have ended in the middle
            data = memoryview(keys).cast("B")
            while data:
                data = data[os.write(fd, data) :]
            os.fsync(fd)
            with self._root.opened(STAGING, os.O_RDONLY | os.O_DIRECTORY) as directory:
                sync_directory(directory)

    def remove(self, *, is_known: bool = True) -> None:
        """Removes the parts and the directory, and unlocks it. What is not XGet's own stays.

        `is_known`: the record says what is in place. Otherwise the note of what this run replaced stays too.
        """
        if self.read_only:
            return
        for name in self._root.names(PARTS):
            self._root.unlink(PARTS + b"/" + name)
        with suppress(OSError):  # not empty: NFS keeps the name of a file that is open somewhere
            self._root.rmdir(PARTS)
        if is_known:
            self._forget_replaced()
        self._root.unlink(STAGING + b"/" + LOCK)
        with suppress(OSError):  # not empty: it has the lock of another run, or files of somebody else
            self._root.rmdir(STAGING)
        self.worth_keeping = True  # nothing is left to remove
        self.close()
        with suppress(OSError):  # FUSE and NFS keep a name for the lock until it is closed
            self._root.rmdir(STAGING)

    def close(self) -> None:
        """Unlocks it. The parts stay for the next run; if there is nothing for it, the directory is removed."""
        if self._lock >= 0:
            if not self.worth_keeping:
                with suppress(OSError):  # it has parts, or cannot be removed: it stays
                    self._root.rmdir(PARTS)
                    self._forget_replaced()
                    self._root.unlink(STAGING + b"/" + LOCK)
                    self._root.rmdir(STAGING)
            os.close(self._lock)
            self._lock = -1

    def _forget_replaced(self) -> None:
        with suppress(FileNotFoundError):
            self._root.unlink(REPLACED)


def _exists(name: bytes, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def replaced_paths(root: Root) -> frozenset[int]:
    """The keys of the paths at which an earlier run that did not end may have put other content. Raises OSError."""
    keys = array("I")
    with suppress(FileNotFoundError), FileIO(root.open(REPLACED, os.O_RDONLY)) as file:
        noted = file.readall() or b""
        keys.frombytes(noted[: len(noted) // _KEY * _KEY])
    return frozenset(keys)


class Parts:
    """The parts, by file number. The ones used last stay open. Any thread may use it.

    It knows of each part when this run changed it last (`changing`), so that a change by somebody else is noticed.
    """

    def __init__(self, dest: Destination) -> None:
        self._root = dest.root
        self._workplaces = dest.workplaces
        self._selection = dest.selection
        self._sizes = dest.manifest.entries.sizes
        self._open_parts: FdCache[int] = FdCache(DESCRIPTORS_KEPT)
        self._as_left: dict[int, _State] = {}
        self._changed: set[int] = set()  # files whose part somebody else changed
        self._locks = [Lock() for _ in range(_LOCKS)]

    def opened(self, file: int) -> AbstractContextManager[int]:
        """A descriptor of the part, for reading, valid inside the `with`. It is made if missing.

        The part has the length that the file will have. Raises OSError.
        """
        return self._open_parts.opened(file, lambda: self._open(file))

    @contextmanager
    def changing(self, file: int) -> Iterator[int]:
        """As `opened`, to change the part. One thread at a time does it."""
        with self.opened(file) as fd, self._locks[file % _LOCKS]:
            self._compare(file, fd)
            try:
                yield fd
            finally:
                self._as_left[file] = _state(os.fstat(fd))

    def is_as_written(self, file: int, status: os.stat_result) -> bool:
        """Whether a part with this status was changed by this run only, since it opened the part first.

        False also where nothing is known of the part, and on file systems that change times later (NFS, FUSE).
        """
        return file not in self._changed and self._as_left.get(file) == _state(status)

    def _compare(self, file: int, fd: int) -> None:
        if not self.is_as_written(file, os.fstat(fd)):
            self._changed.add(file)

    def _open(self, file: int) -> int:
        part = self._workplaces.part_path(self._selection.file_dest_path(file))
        self._workplaces.make_for(self._root, part)
        fd = new_part(self._root, part, keep=True)
        try:
            if os.fstat(fd).st_size != self._sizes[file]:
                os.ftruncate(fd, self._sizes[file])
            self._as_left.setdefault(file, _state(os.fstat(fd)))
        except OSError:
            os.close(fd)
            raise
        return fd

    def close(self, file: int) -> None:
        """Closes the descriptor of a part that nobody uses any more."""
        self._open_parts.forget((file,))

    def forget(self, file: int) -> None:
        """The part is no more: it has its final name."""
        self._as_left.pop(file, None)

    def close_all(self) -> None:
        self._open_parts.forget(self._open_parts.keys())


_State = tuple[int, int, int, int]


def _state(status: os.stat_result) -> _State:
    """What changes when somebody writes on a file: inode, size, and times in ns."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
