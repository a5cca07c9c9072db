"""Each 9P message as one line of the log: `-> Tread tag 7 fid 3 offset 0 count 65536`.

`->` was sent and `<-` was received by the process that logs. Data is never shown, only its size in bytes; strings of
the peer are escaped. `Session` and `Requests` have an attribute `trace`, which their connection sets if the log wants
this level (config.TRACE), and which is called with each line.
"""

from __future__ import annotations

from collections.abc import Iterator

from xget_lib.errors import ProtocolViolation, printable
from xget_lib.ninep.dialect import DIALECTS, decode
from xget_lib.ninep.linux import REFUSED, Refused
from xget_lib.ninep.messages import RREAD_HEADER_SIZE, Message, Rread
from xget_lib.ninep.wire import HEADER, NOFID, NOTAG, Buffer, Qid

SENT = "->"
RECEIVED = "<-"
_FIDS = ("fid", "afid", "newfid")


def frame_line(arrow: str, frame: Buffer, dialect: str) -> str:
    """The line for a whole frame, or for the header of an Rread whose data is sent by itself."""
    _, number, tag = HEADER.unpack_from(frame)
    if number == Rread.number and len(frame) >= RREAD_HEADER_SIZE:
        return rread_line(arrow, tag, int.from_bytes(frame[HEADER.size : RREAD_HEADER_SIZE], "little"))
    try:
        return message_line(arrow, *decode(frame, dialect), dialect)
    except ProtocolViolation as violation:
        return f"{arrow} type {number} tag {_tag(tag)}: {violation}"


def rread_line(arrow: str, tag: int, count: int) -> str:
    return f"{arrow} Rread tag {_tag(tag)} count {count}"


def message_line(arrow: str, tag: int, message: Message, dialect: str) -> str:
    """The line for a message of a dialect."""
    name = REFUSED[message.number][0] if isinstance(message, Refused) else type(message).__name__
    return " ".join([arrow, name, "tag", _tag(tag), *_fields(message, dialect)])


def _fields(message: Message, dialect: str) -> Iterator[str]:
    for name in DIALECTS[dialect].layouts[type(message)].names:
        value = getattr(message, name)
        if isinstance(value, bytes):
            yield f"count {len(value)}" if name == "data" else f"{name} {len(value)} bytes"
        elif name in _FIDS and value == NOFID:
            yield f"{name} NOFID"
        else:
            yield f"{name} {_shown(value)}"


def _shown(value: object) -> str:
    match value:
        case str():
            return f"'{printable(value)}'"
        case Qid():
            return f"{value.path}.{value.version}.{value.type:02x}"
        case tuple():
            return f"[{' '.join(_shown(each) for each in value)}]"
    return str(value)


def _tag(tag: int) -> str:
    return "NOTAG" if tag == NOTAG else str(tag)
