"""A directory in which a destination is tried out, and which leaves no trace: where a download would make its parts.

It is `<dest>/.xget/doctor-PID`; beside a destination that does not exist yet, `.xget-doctor-PID`. If a command is
killed, the next one that examines the same destination removes what it left.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import time
from contextlib import suppress

from xget_lib.manifest.selection import STAGING

_PREFIX = b"doctor-"
_TRIES = 5
"""A thread that still works in it may make something meanwhile, and a download that ends may remove `.xget`."""
_OLD = 600.0
"""Seconds; no command takes so long."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class ProbeDirectory:
    """Of one destination. `make` and `remove` are called in threads; `remove` also while `make`, or who works in the
    directory, has not returned."""

    def __init__(self, place: bytes, *, exists: bool) -> None:
        """`place`: the destination, or the directory in which it is to be made, if it does not exist (`exists`)."""
        self._place = place
        self._around = os.path.join(place, STAGING) if exists else place
        self._prefix = _PREFIX if exists else STAGING + b"-" + _PREFIX
        self.path = os.path.join(self._around, b"%s%d" % (self._prefix, os.getpid()))
        self._made_around = False
        self._before: os.stat_result | None = None
        """Of the place, until it has been changed back."""
        self._after: os.stat_result | None = None
        """The same when the directory was there."""
        self._lock = -1
        self._is_over = False

    def make(self) -> None:
        """Raises OSError."""
        self._before = os.stat(self._place)
        for left in reversed(range(_TRIES)):
            self._make_around()
            try:
                os.mkdir(self.path, 0o700)
                break
            except FileNotFoundError:  # a download that ends has removed the directory around
                if not left:
                    raise
        self._remove_leftovers()
        self._lock = os.open(self.path, _DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._after = os.stat(self._place)
        if self._is_over:
            raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))

    def remove(self) -> None:
        """Removes it with all that is in it, if it was made. Raises nothing."""
        self._is_over = True
        if self._before is None:
            return
        with suppress(OSError):
            unchanged = self._after is not None and os.stat(self._place).st_mtime_ns == self._after.st_mtime_ns
            for _ in range(_TRIES):
                shutil.rmtree(self.path, ignore_errors=True)
                if not os.path.lexists(self.path):
                    break
            if self._made_around:
                with suppress(OSError):  # a download has begun meanwhile
                    os.rmdir(self._around)
            if unchanged:  # otherwise somebody else has changed it too
                os.utime(self._place, ns=(self._before.st_atime_ns, self._before.st_mtime_ns))
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _make_around(self) -> None:
        if self._around == self._place:
            return
        with suppress(FileExistsError):
            os.mkdir(self._around, 0o700)
            self._made_around = True
            return
        with suppress(FileNotFoundError):
            # Another command like this one has made it: the last one removes it.
            names = os.listdir(self._around)
            self._made_around = bool(names) and all(name.startswith(self._prefix) for name in names)

    def _remove_leftovers(self) -> None:
        """What commands that were killed have left."""
        for name in os.listdir(self._around):
            path = os.path.join(self._around, name)
            if not name.startswith(self._prefix) or not _is_old(path):
                continue
            with suppress(OSError):
                descriptor = os.open(path, _DIRECTORY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
                finally:
                    os.close(descriptor)


def _is_old(path: bytes) -> bool:
    """Whether it is a directory of ours that nobody has used for long. A new one may not be locked yet."""
    with suppress(OSError):
        status = os.lstat(path)
        is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
        return is_ours and time.time() - status.st_mtime > _OLD
    return False
