"""A file with the pid of the running server, locked while it runs.

The lock, not the pid in it, says whether the process runs: a pid left over from a crash means nothing. So nobody else
may lock it: who can open a file for reading can lock it. It is for its owner alone, as pidfile(3) of FreeBSD advises.
"""

from __future__ import annotations

import os
import stat

from xget_lib.errors import Failed
from xget_lib.fs.lock_file import is_at, lock_now

_MODE = 0o600
_OF_OTHERS = 0o066


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
        others = False

        def check(fd: int) -> None:
            nonlocal others
            self._check_owner(fd)
            others = bool(os.fstat(fd).st_mode & _OF_OTHERS)

        fd = lock_now(self._path, _MODE, check=check)
        if fd is None:
            hint = ", or by another user, who could read it (remove it if that process is not XGet)" if others else ""
            raise Failed(f"pid file {self._path}", f"in use by process {self._owner()}{hint}")
        os.fchmod(fd, _MODE)
        os.truncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        return fd

    def _owner(self) -> str:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return "unknown"  # it has just ended
        try:
            return os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
        finally:
            os.close(fd)

    def _check_owner(self, fd: int) -> None:
        """Another user could give the file to init scripts with any number in it, or keep it locked."""
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in (0, os.geteuid()) or status.st_nlink > 1:
            raise Failed(f"pid file {self._path}", "belongs to another user, or is not a regular file (remove it)")

    def remove(self) -> None:
        """Remove the file, then unlock it: in this order, so that no new file of another process is removed.

        Who is not root any more may not remove it from a directory of root: then it is empty.
        """
        try:
            if is_at(self._fd, self._path):
                os.truncate(self._fd, 0)
                os.unlink(self._path)
        except PermissionError:
            pass
        except OSError as error:
            raise Failed(f"pid file {self._path}", error.strerror or str(error)) from error
        finally:
            os.close(self._fd)
