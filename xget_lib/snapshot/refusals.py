"""What scanning and hashing have in common when something cannot be read."""

from __future__ import annotations

import errno

from xget_lib.errors import PathRefused

LEASE_WAIT = 5.0
"""Seconds that one scan, or one run of pieces that is hashed, waits for other programs to give up leases."""
_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors that say nothing of what is read. All others cost one name, whichever they are."""


def raise_if_ours(path: bytes, error: OSError) -> None:
    """Raises PathRefused where this process could read nothing else either."""
    if error.errno in _OURS:
        hint = " (raise ulimit -n)" if error.errno == errno.EMFILE else ""
        raise PathRefused(path, f"{error.strerror}{hint}") from error
