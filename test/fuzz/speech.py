"""What strangers say: messages of any dialect, made by its own table, and bytes that are nearly such messages.

A `Speaker` knows which fids live and which are open, as far as the replies told, so that most of what it says makes
sense to the server and gets far; the rest is what nobody should say. What a field may hold is decided by its name (a
fid is one that lives, a name is one that is there) or else by its type: so a message that is new in a table is said,
too, without anything being added here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from test.fuzz.choices import Choices
from test.fuzz.recordings import recordings
from xget_lib.ninep import messages
from xget_lib.ninep.dialect import DIALECTS
from xget_lib.ninep.linux import REFUSED, Refused
from xget_lib.ninep.messages import IOHDRSZ, MIN_MSIZE, Message, RMessage, TMessage
from xget_lib.ninep.stat import DONT_TOUCH, PLAIN_STAT
from xget_lib.ninep.wire import HEADER, MAXWELEM, NOFID, NOTAG, Field, Integer, Qid, QidField, Repeated, String

WEIGHTS = {
    "Twalk": 36,
    "Topen": 24,
    "Tlopen": 24,
    "Tread": 40,
    "Treaddir": 20,
    "Twrite": 15,
    "Tclunk": 15,
    "Tgetattr": 9,
    "Txattrwalk": 9,
    "Tstat": 9,
    "Tflush": 9,
    "Tattach": 5,
    "Treadlink": 5,
    "Tversion": 1,
}
"""How often a message is said besides others; 3 where nothing is said here."""
OPENING = ("Topen", "Tlopen")
USING = ("Tread", "Twrite", "Treaddir")
FREEING = ("Tclunk", "Tremove")
FIDS = range(1, 13)
"""Few, so that they meet."""

TEXTS = ("", ".", "..", "/", "a/b", "x" * 255, "x" * 300, "\x01", "é", "\U0001f600", "root", "user.test", "...", "-1")
VERSIONS = ("9P2000.u", "9P2000.L", "9P2000.x", "9P2001", "9P1999", "9P", "unknown", "", "8P2000", "9P2000" * 50)
MSIZES = (4096, 8192, 8192, 65536, 65536, 2**20 + 24, 2**32 - 1, 4095, 0)
OFFSETS = (0, 0, 0, 1, 40, 4096, 33_000, 2**31, 2**32, 5 * 2**30 - 10, 2**63 - 1, 2**63, 2**64 - 1)
COUNTS = (0, 1, 10, 100, 4000, 8192, 40_000, 2**20, 2**31, 2**32 - 1)
MODES = (0, 0, 0, 0, 2, 2, 1, 3, 0x10, 0x11, 0x40, 0xFF)
FLAGS = (0, 0, 0, 0o100000, 0o200000, 0o2000000, 2, 1, 0o100, 0o1000, 0o100000 | 0o4000, 2**32 - 1)


@dataclass(frozen=True)
class Surroundings:
    """What there is to talk about in one namespace."""

    aname: str
    paths: Sequence[tuple[str, ...]]
    """Ways from the root to something."""
    written: Sequence[bytes]
    """What may be written there."""


SHAPES = {
    name: {kind: tuple(layout.fields.items()) for kind, layout in dialect.layouts.items()}
    for name, dialect in DIALECTS.items()
}
"""The fields of each message in a dialect, and how they travel."""


@cache
def requests_of(dialect: str) -> tuple[type[Message], ...]:
    """The requests of a dialect, each as often as it is to be said."""
    kinds = [kind for kind in DIALECTS[dialect].kinds if issubclass(kind, TMessage)]
    return tuple(kind for kind in kinds for _ in range(WEIGHTS.get(kind.__name__, 3)))


class Speaker:
    """Says requests. `heard` tells it what became of them."""

    def __init__(self, choices: Choices, dialect: str, surroundings: Surroundings, anames: Sequence[str]) -> None:
        self.dialect = dialect
        self.msize = MIN_MSIZE
        self._choices = choices
        self._surroundings = surroundings
        self._anames = [surroundings.aname, surroundings.aname, *anames]
        self._names = tuple({name for path in surroundings.paths for name in path})
        self._live: dict[int, bool] = {0: False}  # fid -> whether it is open
        self._ends: dict[int, int] = {}  # fid -> where the last read of it ended
        self._planned: deque[Message] = deque()
        self._tags: Iterable[int] = ()

    @property
    def aname(self) -> str:
        """The namespace that it speaks of."""
        return self._surroundings.aname

    def message(self, tags: Iterable[int]) -> Message:
        """What is said next, while these tags are in use."""
        self._tags = tags
        if not self._planned:
            self._plan()
        while self._planned:
            message = self._planned.popleft()
            if type(message) in DIALECTS[self.dialect].kinds:
                return self._altered(message) if self._choices.chance(0.05) else message
        return self.of(self._choices.pick(requests_of(self.dialect)))

    def of(self, kind: type[Message]) -> Message:
        """Some message of a kind."""
        values = {name: self._value(kind, name, field) for name, field in SHAPES[self.dialect][kind]}
        if kind is Refused:
            values["number"] = self._choices.pick(tuple(REFUSED))
        return kind(**values)

    def heard_data(self, request: Message, length: int) -> None:
        """A read was answered with so many bytes."""
        if isinstance(request, messages.Tread):
            self._ends[request.fid] = request.offset + length

    def heard(self, request: Message, reply: Message) -> None:
        """What the reply to a request means for fids."""
        name = type(request).__name__
        if reply.is_error and self._choices.chance(0.7):
            self._planned.clear()  # what was to follow makes no sense now
        if name in FREEING:
            self._forget(request.fid)  # type: ignore[attr-defined]
        if isinstance(reply, messages.Rread):
            self.heard_data(request, len(reply.data))
        if type(reply).__name__ != "R" + name[1:]:
            return
        if isinstance(request, messages.Tversion):
            self._live.clear()
            self._ends.clear()
            self.msize = min(request.msize, 2**20)
        elif isinstance(request, messages.Tattach):
            self._live[request.fid] = False
        elif isinstance(request, messages.Twalk):
            assert isinstance(reply, messages.Rwalk)
            if len(reply.wqid) == len(request.wname):
                self._forget(request.newfid)
                self._live[request.newfid] = False
        elif hasattr(request, "newfid"):
            self._live[request.newfid] = True
        elif name in OPENING:
            self._live[request.fid] = True  # type: ignore[attr-defined]

    # Plans.

    def _plan(self) -> None:
        """Sometimes several messages belong together: a visit to a file, or something that was said once."""
        which = self._choices.below(120)
        if which < 90 and self._live.get(0) is not False:
            if 0 in self._live:
                self._planned.append(messages.Tclunk(0))
            self._planned.append(messages.Tattach(0, NOFID, "root", self._surroundings.aname))
        elif which == 0:
            self._planned.extend(self._recording())
        elif which < 60:
            self._visit()

    def _recording(self) -> list[Message]:
        """A conversation that was held once; mostly without its beginning, which would end all that goes on here."""
        said = self._choices.pick(recordings())
        if self._choices.chance(0.1):
            return list(said)
        return [message for message in said if not isinstance(message, messages.Tversion | messages.Tattach)]

    def _visit(self) -> None:
        """A fid goes somewhere, is opened, and used."""
        choices = self._choices
        fid = choices.pick(tuple(fid for fid in FIDS if fid not in self._live) or FIDS)
        self._planned.append(messages.Twalk(0, fid, choices.pick(self._surroundings.paths)))
        opening = [kind for kind in DIALECTS[self.dialect].kinds if kind.__name__ in OPENING]
        using = [kind for kind in DIALECTS[self.dialect].kinds if kind.__name__ in USING]
        for kind in [choices.pick(opening), *(choices.pick(using) for _ in range(1 + choices.below(4)))]:
            self._planned.append(_with(self.of(kind), fid=fid))
        if choices.chance(0.7):
            self._planned.append(messages.Tclunk(fid))

    def _altered(self, message: Message) -> Message:
        """The same with another value somewhere."""
        known = SHAPES[self.dialect][type(message)]
        if not known:
            return message
        name, field = self._choices.pick(known)
        return _with(message, **{name: self._value(type(message), name, field)})

    def _forget(self, fid: int) -> None:
        self._live.pop(fid, None)
        self._ends.pop(fid, None)

    # Fields.

    def _value(self, kind: type[Message], name: str, field: Field) -> Any:
        special = _BY_NAME.get(name)
        if special is not None and issubclass(kind, TMessage) and not self._choices.chance(0.02):
            return special(self, kind)
        match field:
            case Integer():
                return self._whole(8 * field.size)
            case String():
                return self._text()
            case QidField():
                return self._qid()
            case Repeated():
                return self._texts() if isinstance(field.each, String) else self._qids()
        return self._octets()

    def _whole(self, bits: int) -> int:
        choices = self._choices
        if choices.chance(0.3):
            return int.from_bytes(choices.octets(bits // 8), "little")
        near = 1 << choices.below(bits + 1)
        return (near + choices.below(3) - 1) & (1 << bits) - 1

    def _fid(self, kind: type[Message]) -> int:
        name = kind.__name__
        if name == "Tattach":
            return self._new_fid(kind)
        wanted = name in USING
        if self._choices.chance(0.9):
            fitting = [fid for fid, is_open in self._live.items() if is_open == wanted]
            if fitting and name not in FREEING:
                return self._choices.pick(fitting)
        return self._choices.pick(tuple(self._live) or (0,)) if self._choices.chance(0.9) else self._whole(32)

    def _new_fid(self, kind: type[Message]) -> int:
        return self._choices.pick(FIDS) if self._choices.chance(0.95) else self._whole(32)

    def _afid(self, kind: type[Message]) -> int:
        return NOFID if self._choices.chance(0.9) else self._whole(32)

    def _oldtag(self, kind: type[Message]) -> int:
        used = tuple(self._tags)
        return self._choices.pick(used) if used and self._choices.chance(0.9) else self._whole(16)

    def _offset(self, kind: type[Message]) -> int:
        if self._ends and self._choices.chance(0.5):
            return self._choices.pick(tuple(self._ends.values())) & 2**64 - 1
        return self._choices.pick(OFFSETS)

    def _name(self, kind: type[Message]) -> str:
        return self._choices.pick(self._names) if self._choices.chance(0.8) else self._text()

    def _walked(self, kind: type[Message]) -> tuple[str, ...]:
        if self._choices.chance(0.6):
            return self._choices.pick(self._surroundings.paths)
        return tuple(self._name(kind) for _ in range(self._choices.pick((0, 0, 1, 1, 1, 2, 3, MAXWELEM))))

    def _written(self, kind: type[Message]) -> bytes:
        written = self._choices.pick(self._surroundings.written)
        if not self._choices.chance(0.02):
            written = written[: self.msize - IOHDRSZ]
        if written and self._choices.chance(0.3):
            return spoilt(written, self._choices)
        return written

    def _stat(self, kind: type[Message]) -> bytes:
        known = DONT_TOUCH.pack(PLAIN_STAT)
        return known if self._choices.chance(0.5) else spoilt(known, self._choices)

    def _text(self) -> str:
        return self._choices.pick(TEXTS)

    def _octets(self) -> bytes:
        return self._choices.octets(self._choices.below(200))

    def _qid(self) -> Qid:
        return Qid(self._whole(8), self._whole(32), self._whole(64))

    def _texts(self) -> tuple[str, ...]:
        return tuple(self._text() for _ in range(self._choices.below(MAXWELEM + 1)))

    def _qids(self) -> tuple[Qid, ...]:
        return tuple(self._qid() for _ in range(self._choices.below(MAXWELEM + 1)))

    def _version(self, kind: type[Message]) -> str:
        return self._choices.pick((*DIALECTS, *DIALECTS, *VERSIONS))


_BY_NAME: dict[str, Callable[[Speaker, type[Message]], Any]] = {
    "fid": Speaker._fid,
    "dfid": Speaker._fid,
    "newfid": Speaker._new_fid,
    "afid": Speaker._afid,
    "oldtag": Speaker._oldtag,
    "offset": Speaker._offset,
    "name": Speaker._name,
    "wname": Speaker._walked,
    "data": Speaker._written,
    "stat": Speaker._stat,
    "version": Speaker._version,
    "aname": lambda speaker, kind: speaker._choices.pick(speaker._anames),
    "msize": lambda speaker, kind: speaker._choices.pick(MSIZES),
    "count": lambda speaker, kind: speaker._choices.pick(COUNTS),
    "mode": lambda speaker, kind: speaker._choices.pick(MODES),
    "flags": lambda speaker, kind: speaker._choices.pick(FLAGS),
}


def _with(message: Message, **changed: Any) -> Message:
    """The same message with some other values."""
    return type(message)(**vars(message) | changed)


def reply_kinds(dialect: str, request: Message) -> list[type[Message]]:
    """What may answer a request: its own reply, and errors."""
    return [
        kind
        for kind in DIALECTS[dialect].kinds
        if issubclass(kind, RMessage) and (kind.number == request.number + 1 or kind.is_error)
    ]


# Bytes.


def spoilt(data: bytes, choices: Choices) -> bytes:
    """Nearly the same bytes."""
    changed = bytearray(data)
    at = choices.below(len(changed) + 1)
    match choices.below(5):
        case 0:
            changed[at : at + 1] = choices.octets(1)
        case 1:
            changed[at : at + 1] = bytes([(changed[at] if at < len(changed) else 0) ^ 1 << choices.below(8)])
        case 2:
            del changed[at : at + 1 + choices.below(8)]
        case 3:
            changed[at:at] = choices.octets(1 + choices.below(8))
        case 4:
            length = choices.pick((1, 2, 4, 8))
            changed[at : at + length] = choices.pick((b"\0", b"\xff", b"\x7f", b"\x01")) * length
    return bytes(changed)


def reframed(frame: bytes, choices: Choices) -> bytes:
    """A frame of another content, whose size is right: whoever reads it stays in step with what comes behind it."""
    body = spoilt(frame[4:], choices)[: 2**20]
    body = body.ljust(HEADER.size - 4, b"\0")
    return (4 + len(body)).to_bytes(4, "little") + body


def pieces(data: bytes, choices: Choices) -> Iterable[bytes]:
    """The same bytes as the network may bring them."""
    if choices.chance(0.6):
        return (data,)
    if len(data) < 40 and choices.chance(0.2):
        return (data[at : at + 1] for at in range(len(data)))
    cuts = sorted({0, len(data), *(choices.below(len(data) + 1) for _ in range(1 + choices.below(4)))})
    return (data[start:end] for start, end in pairwise(cuts))


def free_tag(choices: Choices, used: Iterable[int]) -> int:
    """A tag to say something with: one that is not in use, but for once in a while."""
    tag = choices.below(64) if choices.chance(0.98) else choices.pick((0, 0x7FFF, 0xFFFE))
    while tag in used and not choices.chance(0.001):
        tag = (tag + 1) % NOTAG
    return tag
