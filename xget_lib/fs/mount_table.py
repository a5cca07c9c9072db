"""Tells when a file system was mounted or unmounted on the way to a directory, or below it: inotify(7) does not."""

from __future__ import annotations

import os
from select import POLLERR, POLLPRI, poll

_MOUNTS = "/proc/self/mountinfo"
_ESCAPES = ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\"))


class MountTable:
    """The mounts that matter for one path. Where there is no /proc, nothing is noticed."""

    def __init__(self, path: bytes) -> None:
        """`path` is absolute. Raises no OSError."""
        self._paths = {path, os.path.realpath(path)}
        self._descriptor = -1
        self._relevant: list[bytes] = []
        try:
            self._descriptor = os.open(_MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
            self._relevant = self._read()
        except OSError:
            self.close()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def changed(self) -> bool:
        """Whether there was a change since the last call. Takes microseconds if nothing at all was mounted."""
        if self._descriptor < 0:
            return False
        poller = poll()
        poller.register(self._descriptor, POLLERR | POLLPRI)  # see proc(5), /proc/pid/mounts
        if not poller.poll(0):
            return False
        former, self._relevant = self._relevant, self._read()
        return former != self._relevant

    def _read(self) -> list[bytes]:
        """The lines of the mounts on the way to the path, and below it."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        text = b""
        while part := os.read(self._descriptor, 1 << 20):
            text += part
        return [line for line in text.splitlines() if self._matters(_unescaped(line.split(b" ")[4]))]

    def _matters(self, mount_point: bytes) -> bool:
        return any(_is_within(mount_point, path) or _is_within(path, mount_point) for path in self._paths)


def _unescaped(name: bytes) -> bytes:
    for escape, character in _ESCAPES:
        name = name.replace(escape, character)
    return name


def _is_within(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")
