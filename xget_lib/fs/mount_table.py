"""Tells when a file system was mounted or unmounted on the way to a directory, or below it: inotify(7) does not."""

from __future__ import annotations

import os
from select import POLLERR, POLLPRI, poll

from xget_lib.fs import mounts
from xget_lib.fs.mounts import Mount
from xget_lib.manifest.entry import is_within


class MountTable:
    """The mounts that matter for one path. Where there is no /proc, nothing is noticed."""

    def __init__(self, path: bytes) -> None:
        """`path` is absolute. Raises no OSError."""
        self._paths = {path, os.path.realpath(path)}
        try:
            self._descriptor = os.open(mounts.MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._descriptor = -1
        self._relevant = self._find()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def below(self, base: bytes) -> list[Mount]:
        """The mounts at a path or below it, as they were when last looked at: `base` is the path without links."""
        return [mount for mount in self._relevant if is_within(mount.point, base)]

    def changed(self) -> bool:
        """Whether there was a change since the last call. Takes microseconds if nothing at all was mounted."""
        if self._descriptor < 0:
            return False
        poller = poll()
        poller.register(self._descriptor, POLLERR | POLLPRI)  # see proc(5), /proc/pid/mounts
        if not poller.poll(0):
            return False
        former, self._relevant = self._relevant, self._find()
        return former != self._relevant

    def _find(self) -> list[Mount]:
        """The mounts on the way to the path, and below it."""
        return [mount for mount in mounts.mounted() if self._matters(mount.point)]

    def _matters(self, mount_point: bytes) -> bool:
        return any(is_within(mount_point, path) or is_within(path, mount_point) for path in self._paths)
