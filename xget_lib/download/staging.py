"""The staging directory `.xget` in a destination, where files are put together while a download lasts.

    lock        flock'ed by the run that writes here; there is only one
    parts/      a part for each file that is not complete: as long as the file, with holes where pieces are missing.
                Those for other file systems below the destination are there (`workplaces`)

The name of a part depends on the final path of its file and not on the generation: when the content changes, the right
pieces of a half-fetched file stay useful. The next run does not trust the parts: it hashes them.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import AbstractContextManager, suppress

from xget_lib.download.destination import Destination
from xget_lib.download.workplaces import PARTS, is_ours, take_over
from xget_lib.errors import DestinationRefused
from xget_lib.fs.fd_cache import FdCache
from xget_lib.fs.rooted import Root
from xget_lib.manifest.selection import STAGING

LOCK = b"lock"
DESCRIPTORS_KEPT = 128


class Staging:
    """`.xget` below `root`, locked by this run from `open` until `remove` or `close`. Its methods raise OSError."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._lock = -1
        self.path = os.path.join(root.path, STAGING)
        self.resumed = False  # whether an earlier run left it
        self.worth_keeping = False  # whether it stays for the next run even if it has no parts
        self.read_only = False  # whether the file system is: then there is none, but all may be in place already
        self.leftovers: frozenset[bytes] = frozenset()  # the names of the parts that an earlier run left

    def open(self) -> None:
        """Makes it, locks it, finds the parts of an earlier run. Raises DestinationRefused for one that is not ours."""
        if self._root.statvfs().f_flag & os.ST_RDONLY:
            self.read_only = True
            return
        while self._lock < 0:
            try:
                self._root.mkdir(STAGING, 0o700)
            except FileExistsError:
                self.resumed = self.worth_keeping = True
            with suppress(FileNotFoundError):  # another run has just removed it: make it again
                self._lock = self._locked()
        with suppress(FileExistsError):
            self._root.mkdir(PARTS, 0o700)
        self.leftovers = take_over(self._root, PARTS)

    def _locked(self) -> int:
        """Takes the lock and returns its descriptor. Raises FileNotFoundError if it was removed meanwhile."""
        try:
            with self._root.opened(STAGING, os.O_RDONLY | os.O_DIRECTORY) as staging:
                if not is_ours(staging):
                    # Its owner could have put links in it that lead our writes elsewhere.
                    raise DestinationRefused(self.path, "belongs to another user (remove it)")
                with suppress(PermissionError):  # where all files belong to one user, and have the same permissions
                    os.fchmod(staging, 0o700)
                lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=staging)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if os.stat(LOCK, dir_fd=staging).st_ino != os.fstat(lock).st_ino:
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

    def remove(self) -> None:
        """Removes the parts and the directory, and unlocks it. What is not XGet's own stays."""
        if self.read_only:
            return
        for name in self._root.names(PARTS):
            self._root.unlink(PARTS + b"/" + name)
        with suppress(OSError):  # not empty: NFS keeps the name of a file that is open somewhere
            self._root.rmdir(PARTS)
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
                    self._root.unlink(STAGING + b"/" + LOCK)
                    self._root.rmdir(STAGING)
            os.close(self._lock)
            self._lock = -1


class Parts:
    """The parts, by file number. The ones used last stay open. Any thread may use it."""

    def __init__(self, dest: Destination) -> None:
        self._root = dest.root
        self._workplaces = dest.workplaces
        self._selection = dest.selection
        self._sizes = dest.manifest.entries.sizes
        self._open_parts: FdCache[int] = FdCache(DESCRIPTORS_KEPT)

    def opened(self, file: int) -> AbstractContextManager[int]:
        """A descriptor of the part, for reading and writing, valid inside the `with`. It is made if missing.

        The part has the length that the file will have. Raises OSError.
        """
        return self._open_parts.opened(file, lambda: self._open(file))

    def _open(self, file: int) -> int:
        part = self._workplaces.part_path(self._selection.file_dest_path(file))
        self._workplaces.make_for(self._root, part)
        fd = self._root.open(part, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(fd).st_size != self._sizes[file]:
                os.ftruncate(fd, self._sizes[file])
        except OSError:
            os.close(fd)
            raise
        return fd

    def close(self, file: int) -> None:
        """Closes the descriptor of a part that nobody uses any more."""
        self._open_parts.forget((file,))

    def close_all(self) -> None:
        self._open_parts.forget(self._open_parts.keys())
