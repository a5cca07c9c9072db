"""The file with the keys of the secret (`--secret`): a key in each line. Blank lines and lines that begin with # are no
keys.

It is read when a process starts, and again when the secret is changed (SIGHUP). Keys never stand in arguments, in the
environment, in the log, or in messages to others: only their HMACs do (`ninep.auth`).
"""

from __future__ import annotations

import os
import stat

from xget_lib.errors import UsageError, printable
from xget_lib.ninep.auth import Credentials

SHORTEST = 16
"""Characters of a key. It is never sent, but who gets a client to connect to him can try keys at home."""
_MOST = 16
"""Keys: a server tries all of them for each stranger who asks."""
_LONGEST_FILE = 16 * 1024
"""Bytes. The keys must fit into a message between processes."""
_MAKE = "head -c 32 /dev/urandom | base64 makes one"
_READABLE = stat.S_IROTH | stat.S_IWOTH | stat.S_IXOTH
"""For others."""


def read_again(credentials: Credentials) -> bool:
    """The secret may have changed: read its file again. Returns whether there are other keys now. Raises UsageError,
    and leaves the keys as they are, if the file cannot be used."""
    if not credentials.source:
        return False
    former, credentials.keys = credentials.keys, read_keys(credentials.source)
    return credentials.keys != former


def read_keys(path: str) -> tuple[bytes, ...]:
    """The keys in a file, the first first. Raises UsageError, which says what is wrong and never what is in there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            _check(path, os.fstat(descriptor))
            text = file.read(_LONGEST_FILE + 1)
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from None
    if len(text) > _LONGEST_FILE:
        raise _refused(path, f"more than {_LONGEST_FILE} bytes")
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        key = line.strip()
        if key and not key.startswith(b"#"):
            if len(key) < SHORTEST:
                raise _refused(path, f"the key in line {number} has fewer than {SHORTEST} characters ({_MAKE})")
            keys.append(key)
    if not keys:
        raise _refused(path, f"contains no key ({_MAKE})")
    if len(keys) > _MOST:
        raise _refused(path, f"more than {_MOST} keys")
    return tuple(keys)


def _check(path: str, status: os.stat_result) -> None:
    """Raise UsageError unless this user and root alone decide what is in the file, and others cannot read it. Its group
    may: systemd gives its credentials to the user of a service so."""
    if not stat.S_ISREG(status.st_mode):
        raise _refused(path, "not a regular file")
    if status.st_uid not in (0, os.geteuid()):
        raise _refused(path, "belongs to another user")
    if status.st_mode & _READABLE or status.st_mode & stat.S_IWGRP:
        raise _refused(path, "others can read or change it (chmod 600)")


def _refused(path: str, why: str) -> UsageError:
    return UsageError(f"--secret {printable(path)}: {why}")
