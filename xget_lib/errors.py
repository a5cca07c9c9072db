"""Every failure the program can name, with its exit status and its errno.

An error carries facts, not a formatted text: the code that raises it knows what happened, and only the edge (an
Rerror, a line on stderr, an exit status) turns it into words. `str(error)` is that line without the leading
`xget: `, in the form `WHAT: WHY (what to do)`.

    exit status   who reads it: shells, cron, init scripts (the table in the README)
    errno         who reads it: 9P clients, through Rerror (and Rlerror)
"""

from __future__ import annotations

import errno
import os
from enum import IntEnum


class Exit(IntEnum):
    """Exit statuses of the command; the contract with scripts."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_SERVED = 4
    UNVERIFIED = 5
    DESTINATION = 6
    NOT_ADMITTED = 7
    INTERRUPTED = 130
    TERMINATED = 143


def printable(name: bytes | str) -> str:
    """A file name as one line of text: undecodable bytes and control characters are escaped."""
    text = os.fsdecode(name).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class XGetError(Exception):
    """Base of all failures that have a name. Fails the run with status 1 unless a subclass says otherwise."""

    exit_status: Exit = Exit.FAILED
    errno: int = errno.EIO


class Failed(XGetError):
    """Something went wrong that has no class of its own: `WHAT: WHY`."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")


# The command line and the machine it runs on.


class UsageError(XGetError):
    """A bad option or argument."""

    exit_status = Exit.USAGE
    errno = errno.EINVAL


class Interrupted(XGetError):
    """A signal ended the run. Its exit status is that of the signal, as shells give it."""

    def __init__(self, number: int) -> None:
        super().__init__("interrupted (what was verified is kept for the next run)")
        self.exit_status = Exit(128 + number)


class PathRefused(XGetError):
    """A master was given a path that it cannot serve."""

    def __init__(self, path: bytes | str, why: str) -> None:
        super().__init__(f"{printable(path)}: {why}")
        self.path = path


class CannotWatch(XGetError):
    """Changes of a directory cannot be noticed as they happen."""

    def __init__(self, why: str) -> None:
        super().__init__(why)


class AddressRefused(XGetError):
    """The listening address is in use, not ours, or not allowed."""

    def __init__(self, address: str, port: int, why: str) -> None:
        hint = " (another server runs there? choose a port with -p)" if "in use" in why else ""
        super().__init__(f"cannot listen on {address or 'any address'} port {port}: {why}{hint}")
        self.port = port


class DestinationRefused(XGetError):
    """The destination cannot take the files: full, no permission, not a directory, or in use by another run."""

    exit_status = Exit.DESTINATION
    errno = errno.ENOSPC

    def __init__(self, path: bytes | str, why: str) -> None:
        super().__init__(f"{printable(path)}: {why}")
        self.path = path


# The other side.


class MasterUnreachable(XGetError):
    """No answer from the master within --timeout."""

    exit_status = Exit.UNREACHABLE
    errno = errno.EHOSTUNREACH

    def __init__(self, host: str, port: int, seconds: float, why: str) -> None:
        super().__init__(
            f"cannot reach the master at {host} port {port}: {why}, tried for {seconds:g} s"
            " (is it running? see -p and --timeout)"
        )


class LinkLost(XGetError):
    """A connection that was in use ended, or its peer broke the protocol."""

    errno = errno.ECONNRESET

    def __init__(self, peer: str, why: str) -> None:
        super().__init__(f"{peer}: {why}")
        self.peer = peer


class NotServed(XGetError):
    """A source on the command line does not exist at the master."""

    exit_status = Exit.NOT_SERVED
    errno = errno.ENOENT

    def __init__(self, source: bytes | str, why: str = "") -> None:
        reason = f", which cannot read it: {why}" if why else ""
        super().__init__(f"{printable(source)}: not served by the master{reason} (nothing was written)")
        self.source = source


class Incomplete(XGetError):
    """The master could not read all that was asked for. The rest is in place."""

    errno = errno.EACCES

    def __init__(self, path: bytes, why: str, others: int) -> None:
        more = f" (nor {others} others)" if others else ""
        super().__init__(f"{printable(path)}: the master cannot read it{more}: {why} (the rest is in place)")
        self.path = path


class NotAdmitted(XGetError):
    """Authentication failed."""

    exit_status = Exit.NOT_ADMITTED
    errno = errno.EACCES


# Content.


class PieceMismatch(XGetError):
    """A piece that was received or read does not have the digest that the manifest promises."""

    def __init__(self, path: bytes, offset: int, source: str) -> None:
        super().__init__(f"{printable(path)} at byte {offset}: wrong content from {source}")
        self.path = path
        self.offset = offset
        self.source = source


class NoGoodSource(XGetError):
    """Content failed verification and nobody is left who has it right."""

    exit_status = Exit.UNVERIFIED

    def __init__(self, path: bytes, source: str) -> None:
        super().__init__(
            f"{printable(path)}: content failed verification, last from {source}, and no good source is left"
        )
        self.path = path


class MalformedManifest(XGetError):
    """A manifest breaks its own rules; it is refused whole."""

    exit_status = Exit.UNVERIFIED
    errno = errno.EBADMSG

    def __init__(self, why: str) -> None:
        super().__init__(f"manifest refused: {why}")


class NotHeld(XGetError):
    """A range of the content that this server does not hold, or holds no more."""

    errno = errno.ENODATA

    def __init__(self, offset: int, length: int) -> None:
        super().__init__(f"not held: {length} bytes at {offset}")


class StaleGeneration(XGetError):
    """The files on disk are no longer those of the snapshot."""

    errno = errno.ESTALE

    def __init__(self, path: bytes) -> None:
        super().__init__(f"stale generation: {printable(path)} changed")
        self.path = path


# 9P.


class NinepError(XGetError):
    """A request that is answered with Rerror: `text` is the ename, `errno` what 9P2000.u and .L carry."""

    def __init__(self, errno: int, text: str | None = None) -> None:
        self.errno = errno
        super().__init__(text if text is not None else os.strerror(errno))


class ProtocolViolation(XGetError):
    """Bytes that are not 9P, or break a rule so that the connection cannot go on. The connection is closed."""

    errno = errno.EPROTO
