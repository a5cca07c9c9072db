"""Target: a client's requests, and a server that answers as it likes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from test.fuzz.choices import Choices
from test.fuzz.grounds import WAYS, WRITTEN
from test.fuzz.speech import Speaker, Surroundings, free_tag, pieces, reply_kinds, spoilt
from xget_lib.errors import NinepError, ProtocolViolation, XGetError
from xget_lib.ninep.dialect import DIALECTS, encode, tag_of
from xget_lib.ninep.messages import (
    IOHDRSZ,
    Message,
    Rflush,
    Rread,
    Rversion,
    Rwalk,
    Rwrite,
    Tflush,
    TMessage,
    Tread,
    Tversion,
    Twalk,
    Twrite,
)
from xget_lib.ninep.requests import Answer, ReadInto, Requests
from xget_lib.ninep.wire import NOTAG

MESSAGES_LIMIT = 300
PLACE = 4096  # bytes that a read may put its data into
FENCE = b"\xa5" * 8  # what lies behind them


class Client:
    """The target. `run` is one case: requests, and answers of all kinds."""

    name = "client"

    def __init__(self) -> None:
        self._surroundings = Surroundings("files", [tuple(way.split("/")) for way in WAYS], WRITTEN)

    def run(self, choices: Choices, log: list[str] | None = None) -> int:
        case = _Case(choices, self._surroundings, log if log is not None else [])
        limit = 1 + choices.below(MESSAGES_LIMIT)
        try:
            case.begin()
            while case.messages < limit and not choices.exhausted:
                case.ask()
                case.answer()
        except ProtocolViolation as violation:
            case.log.append(f"broken off: {violation}")
        return case.messages

    def rest(self) -> None:
        pass


class _Case:
    def __init__(self, choices: Choices, surroundings: Surroundings, log: list[str]) -> None:
        self.messages = 0
        self.log = log
        self._choices = choices
        self._requests = Requests()
        self._speaker = Speaker(choices, choices.pick(tuple(DIALECTS)), surroundings, [""])
        self._asked: dict[int, Message] = {}
        self._places: dict[int, bytearray] = {}
        self._gone: set[int] = set()
        """Tags of requests that have been flushed."""

    def begin(self) -> None:
        """Agree on a version, mostly."""
        if self._choices.chance(0.9):
            dialect = self._speaker.dialect
            tag, _ = self._requests.submit(Tversion(self._requests.msize, dialect))
            self._asked[tag] = Tversion(self._requests.msize, dialect)
            self._bring(encode(tag, Rversion(self._choices.pick((4096, 8192, 65536)), dialect), dialect))
        self._speaker.dialect = self._requests.dialect

    def ask(self) -> None:
        """Send some requests, and flush some."""
        for _ in range(1 + self._choices.below(4)):
            message = self._speaker.message(self._asked)
            if not isinstance(message, TMessage) or isinstance(message, Tversion):
                continue
            self._submit(message)
        if self._asked and self._choices.chance(0.1):
            tag = self._choices.pick(tuple(self._asked))
            if tag not in self._gone and type(self._asked[tag]).__name__ != "Tflush":
                flushing = tag_of(self._requests.flush(tag))
                self._asked[flushing] = Tflush(tag)
                self._gone.add(tag)

    def _submit(self, message: TMessage) -> None:
        place = None
        if isinstance(message, Tread):
            message = Tread(message.fid, message.offset, min(message.count, PLACE))
            if self._choices.chance(0.7):
                place = bytearray(message.count) + FENCE
        try:
            tag, _ = self._requests.submit(message, memoryview(place) if place is not None else None)
        except (XGetError, KeyError) as error:
            # A text that cannot be sent, or a message that the dialect does not know, which is the caller's mistake.
            assert isinstance(error, NinepError) or type(message) not in DIALECTS[self._requests.dialect].kinds
            return
        self.messages += 1
        self._asked[tag] = message
        if place is not None:
            self._places[tag] = place

    def answer(self) -> None:
        """Bring some replies; few of them are wrong."""
        brought = b""
        for tag in list(self._asked):
            if self._choices.chance(0.8):
                brought += self._reply(tag)
        if self._choices.chance(0.002):
            brought += self._reply(free_tag(self._choices, ()))
        self._bring(brought)

    def _reply(self, tag: int) -> bytes:
        dialect = self._requests.dialect
        request = self._asked.get(tag)
        kinds = [kind for kind in DIALECTS[dialect].kinds if kind.__name__.startswith("R")]
        if request is not None and not self._choices.chance(0.005):
            kinds = reply_kinds(dialect, request)
        reply = self._speaker.of(self._choices.pick(kinds))
        if not self._choices.chance(0.005):
            reply = self._likely(request, reply)
        self.log.append(f"{tag} {request} -> {reply}"[:300])
        try:
            frame = encode(tag, reply, dialect)
        except NinepError:
            return b""
        return spoilt(frame, self._choices) if self._choices.chance(0.01) else frame

    def _likely(self, request: Message | None, reply: Message) -> Message:
        """The same, as a server that is right could say it."""
        match request, reply:
            case Tread(), Rread():
                most = min(request.count, self._requests.msize - IOHDRSZ)
                return Rread(self._choices.octets(min(most, self._choices.pick((0, 1, 100, PLACE)))))
            case Twalk(), Rwalk():
                return Rwalk(reply.wqid[: len(request.wname)])
            case Twrite(), Rwrite():
                return Rwrite(min(reply.count, len(request.data)))
            case Tflush(), _:
                return Rflush()
        return reply

    def _bring(self, data: bytes) -> None:
        """The bytes come in, in parts that the client has room for."""
        for piece in pieces(data, self._choices):
            at = 0
            while at < len(piece):
                room = self._requests.buffer()
                assert len(room), "no room for what comes in"
                part = piece[at : at + len(room)]
                room[: len(part)] = part
                at += len(part)
                for answer in self._requests.received(len(part)):
                    self._take(answer)
        assert all(place.endswith(FENCE) for place in self._places.values())

    def _take(self, answer: Answer) -> None:
        """Every answer is one to what was asked, of the kind that it asked for."""
        asked = self._asked.pop(answer.tag, None)
        self.log.append(f"{answer.tag} = {answer.reply}"[:300])
        place = self._places.pop(answer.tag, None)
        if asked is not None:
            assert answer.request == asked
            dialect = self._requests.dialect
            assert isinstance(answer.reply, ReadInto) or type(answer.reply) in reply_kinds(dialect, answer.request)
            if not isinstance(answer.reply, ReadInto):
                self._speaker.heard(answer.request, answer.reply)
        if isinstance(answer.reply, ReadInto):
            assert place is not None and answer.reply.count <= len(place) - len(FENCE)
        if isinstance(answer.request, Tflush):
            # Without an answer of its own, perhaps.
            self._asked.pop(answer.request.oldtag, None)
            self._places.pop(answer.request.oldtag, None)
        self._gone.discard(answer.tag)
        assert answer.tag != NOTAG or isinstance(answer.request, Tversion)


@contextmanager
def client() -> Iterator[Client]:
    yield Client()
