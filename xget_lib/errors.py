"""Every failure that the program can name, with its exit status and its errno.

An error carries facts: the path, the peer, the cause. `str(error)` makes one line of them, `WHAT: WHY (what to do)`.
Only the edge of the program turns an error into an Rerror, a line on stderr with `xget: ` in front, or an exit status.

    exit status   read by shells, cron and init scripts; the table is in docs/operations.md
    errno         read by 9P clients, in Rerror and Rlerror
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from enum import IntEnum

LINES = 10
"""Lines of one error about many things; then their number follows."""


class Exit(IntEnum):
    """Exit statuses of the command. Scripts depend on them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_SERVED = 4
    UNVERIFIED = 5
    DESTINATION = 6
    NOT_ADMITTED = 7
    UNSAFE = 8
    INTERRUPTED = 130
    TERMINATED = 143


def printable(name: bytes | str) -> str:
    """A file name as one line of text: bytes that are not UTF-8 and control characters are escaped."""
    text = os.fsdecode(name).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def program() -> str:
    """The name of this command as it was called, for what a text tells to do: `xget`, or `xget.py` in a checkout."""
    name = os.path.basename(sys.argv[0])
    return name if name.startswith("xget") else "xget"


TEXT_LIMIT = 1024
"""Characters of a text from another machine that are shown, at most."""


def one_line(text: str, limit: int = TEXT_LIMIT) -> str:
    """A text from another machine as one line: printable, and at most `limit` characters long.

    It is called where the text is decoded, so that everything that the program holds can be shown.
    """
    shown = printable(text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


class XGetError(Exception):
    """Base class of all errors here. The exit status is 1 and the errno EIO unless a subclass sets another."""

    exit_status: Exit = Exit.FAILED
    errno: int = errno.EIO

    @property
    def lines(self) -> list[str]:
        """What to tell a user, one line each."""
        return [str(self)]


class Failed(XGetError):
    """A failure that has no class of its own."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why


# The command line and the local machine.


class UsageError(XGetError):
    """A bad option or argument. The text names it."""

    exit_status = Exit.USAGE
    errno = errno.EINVAL


class Interrupted(XGetError):
    """A signal ended the run. The exit status is 128 plus the signal number, as in shells."""

    def __init__(self, number: int) -> None:
        super().__init__("interrupted (verified data is kept for the next run)")
        self.exit_status = Exit(128 + number)


class PathRefused(XGetError):
    """A path cannot be served or opened: it does not exist, has the wrong type, or leads out of its directory."""

    def __init__(self, path: bytes | str, why: str) -> None:
        super().__init__(f"{printable(path)}: {why}")
        self.path = path
        self.why = why


class CannotStart(XGetError):
    """The kernel starts no further process or thread: a limit of this user, or of this service, is reached."""

    def __init__(self, what: str) -> None:
        """`what`: a process, or a thread."""
        self.why = "too many processes and threads (ulimit -u, or TasksMax)"
        super().__init__(f"cannot start a {what}: {self.why}")


class CannotWatch(XGetError):
    """The kernel cannot report changes of a directory (inotify)."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class AddressRefused(XGetError):
    """A server cannot listen on its address: in use, not an address of this machine, or not allowed."""

    def __init__(self, address: str, port: int | None, why: str, option: str = "-p, or `port` in the file") -> None:
        """`port` is None for a Unix socket, whose path is the address. `option` says which address it is."""
        hint = f" (another server has it: stop that one, or choose another port with {option})"
        hint = hint if "in use" in why else ""
        where = printable(address) if port is None else f"{address or 'any address'} port {port}"
        super().__init__(f"cannot listen on {where}: {why}{hint}")
        self.address = address
        self.port = port
        self.why = why


class NoFreePort(XGetError):
    """All ports on which a client may serve are in use."""

    errno = errno.EADDRINUSE

    def __init__(self, address: str, first: int, last: int) -> None:
        where = f"on {address}" if address else "on any address"
        super().__init__(f"cannot listen {where}: no port from {first} to {last} is free (give more with --ports)")
        self.first = first
        self.last = last


class DestinationRefused(XGetError):
    """The destination cannot take the files: full, no permission, not a directory, or in use by another run."""

    exit_status = Exit.DESTINATION
    errno = errno.ENOSPC

    def __init__(self, path: bytes | str, why: str) -> None:
        super().__init__(f"{printable(path)}: {why}")
        self.path = path
        self.why = why


class PartlyRefused(DestinationRefused):
    """The destination refused some paths. Everything else is in place."""

    def __init__(self, refused: Sequence[tuple[bytes, str]]) -> None:
        """`refused`: each path, with the reason."""
        super().__init__(*refused[0])
        self.refused = refused

    @property
    def lines(self) -> list[str]:
        named = [f"{printable(path)}: {why}" for path, why in self.refused[:LINES]]
        more = len(self.refused) - len(named)
        return [*named, f"{more} more path{'s were' if more > 1 else ' was'} refused"] if more else named


class TooManyRemovals(XGetError):
    """`--delete` would remove more than `--max-delete` allows. Nothing was removed; everything else is in place."""

    exit_status = Exit.UNSAFE
    errno = errno.EPERM

    def __init__(self, dest: bytes, names: int, there: int, limit: str) -> None:
        """`names` of the names that are there would be removed."""
        super().__init__(
            f"{printable(dest)}: {names} of {there} names would be removed, but --max-delete is {limit}: nothing was"
            " removed (check the master's directory; raise --max-delete if this is right)"
        )
        self.dest = dest
        self.names = names
        self.there = there


# The other side of a connection.


class MasterUnreachable(XGetError):
    """The master did not answer within --timeout."""

    exit_status = Exit.UNREACHABLE
    errno = errno.EHOSTUNREACH

    def __init__(self, host: str, port: int, seconds: float, why: str) -> None:
        """`seconds`: for how long it really was tried."""
        tried = f"tried for {seconds:.{0 if seconds >= 10 else 1}f} s" if seconds >= 0.05 else "tried once"
        super().__init__(
            f"cannot reach the master at {host} port {port}: {why}, {tried} (is it running? see -p and --timeout)"
        )
        self.host = host
        self.port = port
        self.seconds = seconds
        self.why = why


class Stalled(XGetError):
    """A download made no progress for --stall-timeout, although the master answers."""

    exit_status = Exit.UNREACHABLE
    errno = errno.ETIMEDOUT

    def __init__(self, seconds: float, missing: str, asked: str) -> None:
        """`missing`: what did not arrive. `asked`: the servers that were asked for it."""
        super().__init__(
            f"no progress for {seconds:.0f} s: {missing} did not arrive; asked: {asked}"
            " (verified data is kept for the next run; see --stall-timeout)"
        )
        self.seconds = seconds
        self.missing = missing
        self.asked = asked


class KeepsChanging(XGetError):
    """The master named new generations faster than any of them could be downloaded."""

    errno = errno.ESTALE

    def __init__(self, count: int, seconds: float) -> None:
        super().__init__(
            f"the master's directory keeps changing: {count} generations in {seconds:.0f} s, and none of them could be"
            " downloaded as a whole (serve a copy or a file system snapshot; verified data is kept for the next run)"
        )
        self.count = count
        self.seconds = seconds


class LinkLost(XGetError):
    """A connection ended while it was in use, or the server at its other end broke the protocol."""

    errno = errno.ECONNRESET

    def __init__(self, peer: str, why: str) -> None:
        super().__init__(f"{peer}: {why}")
        self.peer = peer
        self.why = why


class NotAdmitted(LinkLost):
    """One side of a new connection does not prove to the other that it belongs. Trying again does not help."""

    exit_status = Exit.NOT_ADMITTED
    errno = errno.EACCES


class MungeRefused(XGetError):
    """munged does not accept a credential."""

    errno = errno.EACCES


class MungeUnavailable(XGetError):
    """munged does not answer: it is not running, or too busy. It may answer later."""

    errno = errno.EAGAIN


class NotServed(XGetError):
    """The master does not serve a source that the command line names."""

    exit_status = Exit.NOT_SERVED
    errno = errno.ENOENT

    def __init__(self, source: bytes | str, why: str = "not served by the master", hint: str = "") -> None:
        """`hint`: what to do."""
        super().__init__(f"{printable(source)}: {why} ({f'{hint}; ' if hint else ''}nothing was written)")
        self.source = source
        self.why = why


class SourceSuspect(XGetError):
    """What the master serves seems to be another directory now. It keeps serving the former generation, or nothing."""

    exit_status = Exit.UNSAFE
    errno = errno.ESTALE

    def __init__(self, path: bytes, why: str, *, at_start: bool = False) -> None:
        served = "nothing is served" if at_start else "still serving the former generation"
        super().__init__(f"{printable(path)}: {why}; {served} ({program()} reload --force serves it as it is)")
        self.path = path
        self.why = why


class StillChanging(XGetError):
    """The only file that a master serves changes each time the master reads it."""

    errno = errno.EAGAIN

    def __init__(self, path: bytes) -> None:
        super().__init__(f"{printable(path)}: still changing; not served until it is quiet")
        self.path = path


class CommandFailed(XGetError):
    """A server could not do what a command asked for, and says why and with which exit status."""

    def __init__(self, command: str, why: str, status: int) -> None:
        super().__init__(f"{command}: {printable(why)}")
        self.exit_status = Exit(status) if status in set(Exit) else Exit.FAILED


class NothingRuns(XGetError):
    """No process of this machine is meant by a command."""

    exit_status = Exit.UNREACHABLE
    errno = errno.ENOENT

    def __init__(self, words: Sequence[str] = ()) -> None:
        """`words`: which processes were meant; empty: any."""
        self.words = tuple(words)
        what = f"{' '.join(map(printable, words))}: no such xget" if words else "no xget of this user"
        super().__init__(f"{what} runs on this machine ({program()} status -n HOST asks another one)")


class Outdated(XGetError):
    """The master does not serve what is in its directory now. What it served before is in place."""

    errno = errno.ESTALE

    def __init__(self, why: str) -> None:
        super().__init__(f"the master serves an older state of its directory: {why}")
        self.why = why


class Incomplete(XGetError):
    """The master could not read a part of what was asked for. Everything else is in place."""

    errno = errno.EACCES

    def __init__(self, path: bytes, why: str, others: int) -> None:
        """`others`: how many more paths the master cannot read."""
        more = f" and {others} other{'s' * (others > 1)}" if others else ""
        super().__init__(f"{printable(path)}{more}: not readable at the master: {why} (everything else is in place)")
        self.path = path
        self.why = why
        self.others = others


# Content.


class PieceMismatch(XGetError):
    """The digest of a piece that was received or read is not the one in the manifest."""

    def __init__(self, path: bytes, offset: int, source: str) -> None:
        """`offset`: bytes from the start of the file. `source`: the server, or where the piece was read."""
        super().__init__(f"{printable(path)} at byte {offset}: wrong content from {source} (digest mismatch)")
        self.path = path
        self.offset = offset
        self.source = source


class NoGoodSource(XGetError):
    """The content of files failed verification too often, and no other server has it. Everything else is in place."""

    exit_status = Exit.UNVERIFIED

    def __init__(self, path: bytes, source: str, others: Sequence[bytes] = ()) -> None:
        """`others`: the paths of more such files. `source`: the server that sent it last."""
        super().__init__(self._line(path, source))
        self.path = path
        self.source = source
        self.others = others

    @property
    def lines(self) -> list[str]:
        named = [self._line(path, self.source) for path in (self.path, *self.others)[:LINES]]
        more = 1 + len(self.others) - len(named)
        return [*named, f"{more} more file{'s' * (more > 1)} failed verification"] if more else named

    @staticmethod
    def _line(path: bytes, source: str) -> str:
        return (
            f"{printable(path)}: content from {source} failed verification, and no other server has it"
            " (check the file at the master)"
        )


class MalformedManifest(XGetError):
    """A manifest breaks a rule of the format. It is refused as a whole."""

    exit_status = Exit.UNVERIFIED
    errno = errno.EBADMSG

    def __init__(self, why: str) -> None:
        super().__init__(f"invalid manifest: {why}")
        self.why = why


class NotTrusted(XGetError):
    """A generation is not signed as it must be (`--trust`, `--signed-only`). Nothing of it is taken, or served."""

    exit_status = Exit.UNVERIFIED
    errno = errno.EKEYREJECTED

    def __init__(self, generation: bytes, why: str) -> None:
        super().__init__(f"generation {generation.hex()[:16]}: {why}")
        self.generation = generation
        self.why = why


class NotHeld(XGetError):
    """This server does not hold (or no longer holds) a range of the content stream."""

    errno = errno.ENODATA

    def __init__(self, offset: int, length: int) -> None:
        super().__init__(f"not held: {length} bytes at {offset}")
        self.offset = offset
        self.length = length


class StaleGeneration(XGetError):
    """A file on disk has changed since the snapshot."""

    errno = errno.ESTALE

    def __init__(self, path: bytes) -> None:
        super().__init__(f"stale generation: {printable(path)} changed")
        self.path = path


class RetiredGeneration(XGetError):
    """A client reads a file of a generation that is older than those that are kept."""

    errno = errno.ESTALE

    def __init__(self) -> None:
        super().__init__("this generation is not served any more")


# 9P.


class NinepError(XGetError):
    """A request is answered with Rerror. `text` is its ename, `errno` the number that 9P2000.u and 9P2000.L carry."""

    def __init__(self, errno: int, text: str | None = None) -> None:
        self.errno = errno
        super().__init__(text if text is not None else os.strerror(errno))


class ProtocolViolation(XGetError):
    """Bytes that are not valid 9P, or a broken rule after which the connection must be closed."""

    errno = errno.EPROTO
