"""The dialects of 9P in one table: the messages of each, the class that carries out its requests, and its error reply.

A dialect is known by the version string of its Tversion:

    9P2000      intro(5) and the pages around it, as Plan 9 has them
    9P2000.u    the same with numbers beside names, and an errno beside each error text
    9P2000.L    Linux's own calls, and the messages of 9P2000 that mean the same there

`encode` and `decode` turn messages of a dialect into whole frames and back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from types import ModuleType

from xget_lib.dataclass import dataclass
from xget_lib.errors import ProtocolViolation
from xget_lib.ninep import linux, messages
from xget_lib.ninep.fids import Fids
from xget_lib.ninep.linux_fids import LinuxFids
from xget_lib.ninep.messages import IOHDRSZ, Message, RMessage
from xget_lib.ninep.plain_fids import PlainFids, UnixFids
from xget_lib.ninep.wire import HEADER, Buffer, Layout

NINEP2000 = "9P2000"
NINEP2000_U = "9P2000.u"
NINEP2000_L = "9P2000.L"
UNKNOWN = "unknown"  # the version with which a server answers one that it does not understand

_C_CLIENT_MSIZE = 32 * 1024 + IOHDRSZ  # what the C xget of XCPU 1.2 offers

Kinds = tuple[type[Message], ...]


@dataclass(frozen=True)
class Dialect:
    """One row of the table."""

    kinds: Kinds
    """Its messages."""
    fids: type[Fids]
    """Carries out its requests."""
    error: Callable[[str, int], RMessage]
    """Makes the reply that refuses a request, from a text and an errno."""
    unix: bool = True
    """Whether messages have the fields that plain 9P2000 lacks."""
    linux: bool = False
    """Whether strings are Linux file names: any bytes but NUL, not just UTF-8."""

    @cached_property
    def layouts(self) -> Mapping[type[Message], Layout]:
        return {kind: Layout.of(kind, unix=self.unix, linux=self.linux) for kind in self.kinds}

    @cached_property
    def by_number(self) -> Mapping[int, tuple[str, Callable[..., Message], Layout]]:
        """By message type: its name, what makes the message, and the layout of the values to make it from."""
        found: dict[int, tuple[str, Callable[..., Message], Layout]] = {}
        for kind, layout in self.layouts.items():
            if kind is linux.Refused:
                for number, (name, _) in linux.REFUSED.items():
                    found[number] = name, partial(kind, number), layout
            else:
                found[kind.number] = kind.__name__, kind, layout
        return found


def _stated_in(module: ModuleType) -> Kinds:
    """The messages that a module defines, without the base classes."""
    return tuple(
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Message) and value.__module__ == module.__name__
        if value not in (Message, messages.TMessage, RMessage)
    )


_PLAIN = _stated_in(messages)
_NOT_IN_LINUX = {
    *(messages.Rerror, messages.Topen, messages.Ropen, messages.Tcreate, messages.Rcreate),
    *(messages.Tstat, messages.Rstat, messages.Twstat, messages.Rwstat),
}
_LINUX = (*(kind for kind in _PLAIN if kind not in _NOT_IN_LINUX), *_stated_in(linux))

DIALECTS: Mapping[str, Dialect] = {
    NINEP2000: Dialect(_PLAIN, PlainFids, messages.Rerror, unix=False),
    NINEP2000_U: Dialect(_PLAIN, UnixFids, messages.Rerror),
    NINEP2000_L: Dialect(_LINUX, LinuxFids, lambda _, errno: linux.Rlerror(errno), linux=True),
}


def decode(frame: Buffer, dialect: str) -> tuple[int, Message]:
    """The tag and the message of one whole frame. Raises ProtocolViolation, which says what is wrong with it."""
    if len(frame) < HEADER.size:
        raise ProtocolViolation(f"a message of {len(frame)} bytes is too short")
    size, number, tag = HEADER.unpack_from(frame)
    if size != len(frame):
        raise ProtocolViolation(f"a message of {size} bytes in a frame of {len(frame)}")
    try:
        name, make, layout = DIALECTS[dialect].by_number[number]
    except KeyError:
        raise ProtocolViolation(f"message type {number} does not exist in {dialect}") from None
    try:
        return tag, make(*layout.unpack(frame, HEADER.size))
    except ProtocolViolation as violation:
        raise ProtocolViolation(f"malformed {name}: {violation}") from None


def tag_of(frame: Buffer) -> int:
    """The tag of a frame that has a whole header, also if the rest of it is malformed."""
    _, _, tag = HEADER.unpack_from(frame)
    return int(tag)


def encode(tag: int, message: Message, dialect: str) -> bytes:
    """The whole frame. Raises NinepError for what the dialect cannot carry, such as a string that is not UTF-8."""
    parts = DIALECTS[dialect].layouts[type(message)].pack(message)
    return b"".join([HEADER.pack(HEADER.size + sum(map(len, parts)), message.number, tag), *parts])


def negotiate(version: str, msize: int) -> str | None:
    """The dialect with which to answer `version`, None if it is none that we could ever agree on: version(5).

    What follows a period names a variant, and a server may answer with the plain protocol, or an earlier one. C clients
    have always been answered so, though they offer 9P2000.u: their `msize` identifies them.
    """
    if (version, msize) == (NINEP2000_U, _C_CLIENT_MSIZE):
        return NINEP2000
    if version in DIALECTS:
        return version
    number = re.fullmatch(r"9P([0-9]{4,9})", version.partition(".")[0], re.ASCII)
    return NINEP2000 if number and int(number[1]) >= 2000 else None
