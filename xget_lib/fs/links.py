"""What a path leads through: the directories and links in whose place others may be put."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

_LINKS_LIMIT = 40
"""Symbolic links in a path, as in path_resolution(7)."""


def on_the_way(path: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each directory, without links, and the name in it that leads on to what is at an absolute path.

    Raises OSError where there are too many links.
    """
    rest = path.split(b"/")[::-1]
    current = b"/"
    links = 0
    while rest:
        name = rest.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            current = os.path.dirname(current)
            continue
        yield current, name
        found = os.path.join(current, name)
        try:
            target = os.readlink(found)
        except OSError:  # not a link
            current = found
            continue
        links += 1
        if links > _LINKS_LIMIT:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        rest += target.split(b"/")[::-1]
        if target.startswith(b"/"):
            current = b"/"
