"""A file with the pid of the running server, locked while it runs.

The lock, not the pid in it, says whether the process runs: a pid left over from a crash means nothing.
"""

from __future__ import annotations

import fcntl
import os
import stat

from xget_lib.errors import Failed


class Pidfile:
    """The pid file of this process, which holds its lock."""

    def __init__(self, path: str) -> None:
        """Lock the file and write the pid into it. Raises Failed if a live process has it, or on any error.

        Call it after daemonize(). Forked processes share the lock as long as they keep its descriptor.
        """
        self._path = os.path.abspath(path)
        try:
            self._fd = self._lock_file()
        except OSError as error:
            raise Failed(f"pid file {path}", error.strerror or str(error)) from error

    def _lock_file(self) -> int:
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
            try:
                self._check_owner(fd)
                self._lock(fd)
                if self._is_at_path(fd):
                    os.truncate(fd, 0)
                    os.write(fd, f"{os.getpid()}\n".encode())
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # its owner removed it after we opened it; there may be a new one

    def _lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.read(fd, 32).decode("ascii", "replace").strip()
            raise Failed(f"pid file {self._path}", f"in use by process {pid or 'unknown'}") from error

    def _check_owner(self, fd: int) -> None:
        """Another user could give the file to init scripts with any number in it, or keep it locked."""
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in (0, os.geteuid()) or status.st_nlink > 1:
            raise Failed(f"pid file {self._path}", "belongs to another user, or is not a regular file (remove it)")

    def _is_at_path(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self._path, follow_symlinks=False))
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """Remove the file, then unlock it: in this order, so that no new file of another process is removed.

        Who is not root any more may not remove it from a directory of root: then it is empty.
        """
        try:
            if self._is_at_path(self._fd):
                os.truncate(self._fd, 0)
                os.unlink(self._path)
        except PermissionError:
            pass
        except OSError as error:
            raise Failed(f"pid file {self._path}", error.strerror or str(error)) from error
        finally:
            os.close(self._fd)
