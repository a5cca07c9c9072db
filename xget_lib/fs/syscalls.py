"""Linux system calls that Python does not offer, through the C library. All ctypes calls but
those of MUNGE (`process.libmunge`) are here.

A C library may lack some of them (old versions, musl). Each function says what it does then.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

_libc = ctypes.CDLL(None, use_errno=True)


def _function(name: str, result: Any, *arguments: Any) -> Callable[..., int] | None:
    """A function of the C library, or None if it has none with this name."""
    function: Any = getattr(_libc, name, None)
    if function is not None:
        function.restype, function.argtypes = result, arguments
    return function  # type: ignore[no-any-return]  # a ctypes function pointer


_faccessat = _function("faccessat", ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_int)
_fallocate = _function("fallocate64", ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_getdents64 = _function("getdents64", ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
_capget = _function("capget", ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_capset = _function("capset", ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p)
_prctl = _function("prctl", ctypes.c_int, ctypes.c_int, *[ctypes.c_ulong] * 4)
_statx = _function("statx", ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)
_sync_file_range = _function(
    "sync_file_range", ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint
)
_syncfs = _function("syncfs", ctypes.c_int, ctypes.c_int)
_syscall = _function("syscall", ctypes.c_long, ctypes.c_long, *[ctypes.c_void_p] * 4)
_unshare = _function("unshare", ctypes.c_int, ctypes.c_int)

_CLONE_FS = 0x200  # linux/sched.h
_PR_SET_PDEATHSIG, _PR_GET_PDEATHSIG, _PR_SET_KEEPCAPS = 1, 2, 8  # linux/prctl.h
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 23, 24, 38
_CAPABILITY_VERSION = 0x20080522  # linux/capability.h: three sets of 64 bits
_CAPABILITIES = 64
_LANDLOCK_CREATE, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT = 444, 445, 446
"""asm-generic/unistd.h: numbers of system calls that have been the same on all processors since Linux 5.13."""
_LANDLOCK_VERSION, _LANDLOCK_BENEATH = 1, 1  # linux/landlock.h
_PUNCH_HOLE_KEEP_SIZE = 0x02 | 0x01  # linux/falloc.h
_STATX = struct.Struct("<I4xQ12xH2xQ40xqI44xIIQ104x")
"""linux/stat.h: mask, attributes, mode, inode, time of birth (s and ns), device (two numbers), mount ID."""
_STATX_MODE, _STATX_BIRTH, _STATX_MOUNT_ID = 0x3, 0x800, 0x1000
_ATTRIBUTE_IMMUTABLE = 0x10
_ATTRIBUTES_FIXED = _ATTRIBUTE_IMMUTABLE | 0x20  # immutable, append-only
_ATTRIBUTE_MOUNT_ROOT = 0x2000
_AT_SYMLINK_NOFOLLOW, _AT_EACCESS, _AT_NO_AUTOMOUNT = 0x100, 0x200, 0x800
_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h: start writing, do not wait

_CANNOT_PUNCH = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def _call(function: Callable[..., int] | None, *arguments: Any) -> int:
    """The result of a call. Raises OSError with the errno of the call, or ENOSYS if the function is missing."""
    result = -1 if function is None else function(*arguments)
    if result < 0:
        number = errno.ENOSYS if function is None else ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def getdents64(fd: int, size: int) -> bytes:
    """The next records (struct linux_dirent64) of an open directory, at most `size` bytes; b"" at its end.

    Raises OSError: ENOSYS if the C library lacks it (glibc before 2.30).
    """
    buffer = ctypes.create_string_buffer(size)
    count = _call(_getdents64, fd, buffer, size)
    return buffer.raw[:count]


class Statx(NamedTuple):
    """What statx(2) says of a name beyond stat(2)."""

    mode: int
    """With the file type."""
    device: int
    mount: int
    """The number of its mount; a bind mount has its own. 0 where the kernel does not say (before Linux 5.8)."""
    is_mount_root: bool
    """Whether something is mounted there."""
    is_fixed: bool
    """Whether it is immutable or append-only (chattr(1)): it can be neither removed nor replaced."""
    is_immutable: bool
    """Whether it is immutable: in such a directory no name can be added."""
    inode: int
    birth: int
    """When it was made, in ns; 0 where the file system does not say. Nobody can change it."""


def statx(directory: int, name: bytes) -> Statx:
    """Of a name in an open directory; a symbolic link is not followed. Raises OSError.

    Where the C library or the kernel lacks statx, or a sandbox forbids it, it says what stat(2) says.
    """
    buffer = ctypes.create_string_buffer(_STATX.size)
    flags = _AT_SYMLINK_NOFOLLOW | _AT_NO_AUTOMOUNT
    try:
        _call(_statx, directory, name, flags, _STATX_MODE | _STATX_BIRTH | _STATX_MOUNT_ID, buffer)
    except OSError as error:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
        return Statx(status.st_mode, status.st_dev, 0, False, False, False, status.st_ino, 0)
    mask, attributes, mode, inode, seconds, nanoseconds, major, minor, mount = _STATX.unpack(buffer.raw)
    return Statx(
        mode,
        os.makedev(major, minor),
        mount if mask & _STATX_MOUNT_ID else 0,
        bool(attributes & _ATTRIBUTE_MOUNT_ROOT),
        bool(attributes & _ATTRIBUTES_FIXED),
        bool(attributes & _ATTRIBUTE_IMMUTABLE),
        inode,
        seconds * 1_000_000_000 + nanoseconds if mask & _STATX_BIRTH else 0,
    )


def check_access(directory: int, name: bytes, mode: int) -> None:
    """Raises OSError where this process may not do what `mode` says (os.R_OK, ...) with a name in an open directory.

    Unlike os.access it says why: permissions (EACCES), a read-only file system or subvolume (EROFS), an immutable
    inode (EPERM). A symbolic link is followed.
    """
    _call(_faccessat, directory, name, mode, _AT_EACCESS)


def punch_hole(fd: int, offset: int, length: int) -> bool:
    """Makes a range of a file that is open for writing a hole; the size of the file stays. Raises OSError.

    Returns False if the C library or the file system cannot do that.
    """
    try:
        _call(_fallocate, fd, _PUNCH_HOLE_KEEP_SIZE, offset, length)
    except OSError as error:
        if error.errno in _CANNOT_PUNCH:
            return False
        raise
    return True


def start_writeback(fd: int, offset: int, length: int) -> None:
    """Asks the kernel to begin writing these bytes of a file to disk, so that a later fsync has less to do.

    Does not wait and reports nothing: the next fsync or syncfs reports an error in the writing. Does nothing if
    the C library lacks sync_file_range(2).
    """
    if _sync_file_range is not None:
        _sync_file_range(fd, offset, length, _SYNC_FILE_RANGE_WRITE)


def sync_filesystem(fd: int) -> None:
    """Returns when everything that was written to the file system of `fd` is on disk. Raises OSError on failure.

    From Linux 5.8 on, syncfs(2) reports a failed write of any file that came after `fd` was opened. If the C library
    lacks it, sync(2) is called instead, which does more than is needed.
    """
    if _syncfs is None:
        os.sync()
    else:
        _call(_syncfs, fd)


def unshare_cwd() -> bool:
    """Gives the calling thread a current directory of its own: unshare(2) with CLONE_FS. Returns whether it has one.

    Containers may forbid it. Never call it in the first thread of a process.
    """
    return _unshare is not None and _unshare(_CLONE_FS) == 0


def set_parent_death_signal(number: int) -> None:
    """The kernel sends this process a signal when its parent ends; 0: it sends none. See prctl(2). Raises OSError."""
    _call(_prctl, _PR_SET_PDEATHSIG, number, 0, 0, 0)


def parent_death_signal() -> int:
    """What `set_parent_death_signal` has set; 0: nothing. Raises OSError."""
    number = ctypes.c_int()
    _call(_prctl, _PR_GET_PDEATHSIG, ctypes.addressof(number), 0, 0, 0)
    return number.value


def keep_capabilities(keep: bool) -> None:
    """Whether the calling thread keeps its permitted capabilities when it stops to be root. Raises OSError."""
    _call(_prctl, _PR_SET_KEEPCAPS, int(keep), 0, 0, 0)


def bounding_set() -> list[int]:
    """The capabilities that this thread, or a program that it executes, could have. Raises OSError."""
    found = []
    for capability in range(_CAPABILITIES):
        try:
            if _call(_prctl, _PR_CAPBSET_READ, capability, 0, 0, 0):
                found.append(capability)
        except OSError as error:
            if error.errno != errno.EINVAL:  # the kernel knows no capability of this number
                raise
    return found


def drop_from_bounding_set(capability: int) -> None:
    """For the calling thread, for good. Raises OSError."""
    _call(_prctl, _PR_CAPBSET_DROP, capability, 0, 0, 0)


def forbid_new_privileges() -> None:
    """No program that this thread executes gets more powers by that, for good. Raises OSError."""
    _call(_prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def set_capabilities(permitted: Iterable[int], effective: Iterable[int]) -> None:
    """Those of the calling thread, by their numbers in linux/capability.h; none can be inherited. Raises OSError."""
    may, has = (sum(1 << capability for capability in each) for each in (permitted, effective))
    low, high = ((has & 0xFFFFFFFF, may & 0xFFFFFFFF, 0), (has >> 32, may >> 32, 0))
    _call(_capset, struct.pack("=Ii", _CAPABILITY_VERSION, 0), struct.pack("=6I", *low, *high))


def permitted_capabilities() -> list[int]:
    """Those that the calling thread may have, by their numbers in linux/capability.h. Raises OSError."""
    sets = ctypes.create_string_buffer(24)
    _call(_capget, struct.pack("=Ii", _CAPABILITY_VERSION, 0), sets)
    _, low, _, _, high, _ = struct.unpack("=6I", sets.raw)
    return [capability for capability in range(_CAPABILITIES) if (high << 32 | low) >> capability & 1]


def landlock_version() -> int:
    """The version of Landlock that the kernel has, landlock(7). Raises OSError where there is none."""
    return _call(_syscall, _LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION, None)


def landlock_ruleset(denied: int, scoped: int) -> int:
    """A set of rules that denies actions on files but where a rule allows them, and leaves no scope. The bits of both
    are in linux/landlock.h; `scoped` must be 0 before version 6. Returns a descriptor. Raises OSError."""
    attributes = struct.pack("=3Q", denied, 0, scoped) if scoped else struct.pack("=Q", denied)
    return _call(_syscall, _LANDLOCK_CREATE, attributes, len(attributes), 0, None)


def landlock_allow(ruleset: int, rights: int, directory: int) -> None:
    """A rule that allows actions on what is in an open directory and below. Raises OSError."""
    rule = struct.pack("=Qi", rights, directory)
    _call(_syscall, _LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_BENEATH, rule, None)


def landlock_restrict(ruleset: int) -> None:
    """The rules hold for the calling thread and all that it starts, for good. Raises OSError."""
    _call(_syscall, _LANDLOCK_RESTRICT, ruleset, 0, None, None)
