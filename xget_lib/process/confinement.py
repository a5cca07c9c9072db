"""Keeping only what serving needs: landlock(7), capabilities(7).

A child server whose download is verified only reads what it serves. It talks to strangers for hours or days, mostly as
root. So it gives up for good what it does not need:

- to write, make or remove files anywhere but in a few directories (log, pid file, sockets), to run programs, and to
  send signals to other processes. Landlock does that; for every user, from Linux 5.13 on, or 6.12 for signals.
- all powers of root but CAP_DAC_READ_SEARCH, to read what is served, whoever owns it.

It does not change its user. So without Landlock, root can still write what belongs to root.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress

from xget_lib.fs import syscalls
from xget_lib.process.privileges import DAC_READ_SEARCH

# linux/landlock.h
_EXECUTE, _WRITE_FILE, _REMOVE_DIR, _REMOVE_FILE = 1 << 0, 1 << 1, 1 << 4, 1 << 5
_MAKE_CHAR, _MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = (1 << bit for bit in range(6, 13))
_MAKE = _MAKE_CHAR | _MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _MAKE_FIFO | _MAKE_BLOCK | _MAKE_SYM
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_SINCE = {2: _REFER, 3: _TRUNCATE, 5: _IOCTL_DEV}
"""By version of Landlock: what it can deny beyond the version before."""
_SCOPE_SIGNAL, _SCOPES_SINCE = 1 << 1, 6

_WRITING = _WRITE_FILE | _TRUNCATE | _MAKE_REG | _REMOVE_FILE
"""What may still be done in the directories that are named."""


def keep_only_reading(writable: Collection[str]) -> str:
    """For the calling thread and all that it starts from now on. Files may be written, made and removed in the
    directories `writable` only, as far as they exist. Returns what has been given up, in words, for the log."""
    given_up = []
    with suppress(OSError):  # an old kernel, or a sandbox
        syscalls.forbid_new_privileges()
        _restrict_files(writable)
        given_up.append("writing")
    with suppress(OSError):
        if _keep_capability_to_read():
            given_up.append("the powers of root")
    return " and ".join(given_up) or "nothing (the kernel has no Landlock)"


def _restrict_files(writable: Collection[str]) -> None:
    """Raises OSError; then nothing is restricted."""
    version = syscalls.landlock_version()
    denied = _EXECUTE | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE
    for since, right in _SINCE.items():
        denied |= right if version >= since else 0
    ruleset = syscalls.landlock_ruleset(denied, _SCOPE_SIGNAL if version >= _SCOPES_SINCE else 0)
    try:
        for path in writable:
            with suppress(FileNotFoundError):
                directory = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    syscalls.landlock_allow(ruleset, _WRITING & denied, directory)
                finally:
                    os.close(directory)
        syscalls.landlock_restrict(ruleset)
    finally:
        os.close(ruleset)


def _keep_capability_to_read() -> bool:
    """Returns whether there was more than that. Raises OSError."""
    had = set(syscalls.permitted_capabilities())
    if not had - {DAC_READ_SEARCH}:
        return False
    for capability in syscalls.bounding_set():
        with suppress(PermissionError):  # CAP_SETPCAP is missing: without a program to run, it does not matter
            syscalls.drop_from_bounding_set(capability)
    kept = had & {DAC_READ_SEARCH}
    syscalls.set_capabilities(permitted=kept, effective=kept)
    return True
