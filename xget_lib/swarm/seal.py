"""Seals on the lines of news, so that nobody between a server and a node can change, exchange or repeat them.

A handshake (`ninep.auth`) proves who is at the other end, but without TLS it protects no byte that follows. What a node
takes is decided by the generation in the news: its digest names the manifest, and the digests in there the content. So
it is enough to protect the news. A seal is the HMAC-SHA256 of a line, under a key that only the two ends of this
connection have. Each line also has a number that rises: an earlier line cannot be repeated, and a line of another
connection, or of another day, is worth nothing here.

    {"generation":"…",…,"number":3,"seal":"64 hexadecimal digits"}

The seal covers everything that stands before it.
"""

from __future__ import annotations

import re

from xget_lib.errors import ProtocolViolation
from xget_lib.ninep.auth import digest, is_equal

_DOMAIN = b"xget news 1"
_SEALED = re.compile(rb'(\{.*,"number":([1-9][0-9]{0,17})),"seal":"([0-9a-f]{64})"\}\n', re.DOTALL)


def _key(session_key: bytes) -> bytes:
    return digest(session_key, _DOMAIN)


class Seal:
    """Seals the lines of one connection. Owned by the server's side."""

    def __init__(self, session_key: bytes) -> None:
        self._key = _key(session_key)
        self._number = 0

    def put_on(self, line: bytes) -> bytes:
        """A line of JSON, an object with fields, with its seal."""
        self._number += 1
        body = line.removesuffix(b"}\n") + b',"number":%d' % self._number
        return body + b',"seal":"%s"}\n' % digest(self._key, body).hex().encode()


class SealCheck:
    """Checks the lines of one connection. Owned by the client's side."""

    def __init__(self, session_key: bytes) -> None:
        self._key = _key(session_key)
        self._number = 0

    def check(self, line: bytes) -> None:
        """Raises ProtocolViolation unless the line is as the server sent it, and later than the one before."""
        sealed = _SEALED.fullmatch(line)
        if sealed is None:
            raise ProtocolViolation("a line of news without a seal")
        right = digest(self._key, sealed[1]).hex().encode()
        if not is_equal(right, sealed[3]):
            raise ProtocolViolation("a line of news with a wrong seal")
        number = int(sealed[2])
        if number <= self._number:
            raise ProtocolViolation("a line of news that was sent before")
        self._number = number
