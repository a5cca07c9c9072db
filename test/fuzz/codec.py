"""Target: framer and codec, which any bytes may reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from test.fuzz.choices import Choices
from test.fuzz.grounds import WAYS, WRITTEN
from test.fuzz.recordings import frames
from test.fuzz.speech import Speaker, Surroundings, pieces, reframed, spoilt
from test.support.directories import unpack_directory
from xget_lib.errors import NinepError, ProtocolViolation
from xget_lib.ninep.dialect import DIALECTS, decode, encode, tag_of
from xget_lib.ninep.framer import Framer
from xget_lib.ninep.messages import MIN_MSIZE, Message
from xget_lib.ninep.stat import PLAIN_STAT, UNIX_STAT, Stat
from xget_lib.ninep.wire import HEADER

FRAMES_LIMIT = 60


class Codec:
    """The target. `run` is one case: some frames of one dialect."""

    name = "codec"

    def __init__(self) -> None:
        self._surroundings = Surroundings("files", [tuple(way.split("/")) for way in WAYS], WRITTEN)

    def run(self, choices: Choices, log: list[str] | None = None) -> int:
        dialect = choices.pick(tuple(DIALECTS))
        speaker = Speaker(choices, dialect, self._surroundings, [""])
        sent: list[bytes] = []
        for _ in range(1 + choices.below(FRAMES_LIMIT)):
            if choices.exhausted:
                break
            frame = self._frame(choices, speaker)
            if log is not None:
                log.append(frame[:200].hex())
            self._decode(frame, dialect)
            sent.append(frame)
        self._cut(sent, choices)
        return len(sent)

    def rest(self) -> None:
        pass

    def _frame(self, choices: Choices, speaker: Speaker) -> bytes:
        kind = choices.below(10)
        if kind == 0:
            return choices.pick(frames())
        if kind < 3:
            return reframed(choices.pick(frames()), choices)
        tag = choices.below(1 << 16)
        message = speaker.of(choices.pick(DIALECTS[speaker.dialect].kinds))
        try:
            frame = encode(tag, message, speaker.dialect)
        except NinepError:
            return HEADER.pack(HEADER.size, 0, tag)
        assert decode(frame, speaker.dialect) == (tag, message)
        return frame if kind < 6 else reframed(frame, choices)

    def _decode(self, frame: bytes, dialect: str) -> None:
        """Either it is refused, or it is the one way to write down what was read."""
        try:
            tag, message = decode(frame, dialect)
        except ProtocolViolation:
            return
        assert encode(tag, message, dialect) == frame and tag_of(frame) == tag
        self._read_stats(message)

    def _read_stats(self, message: Message) -> None:
        for data in (getattr(message, "stat", None), getattr(message, "data", None)):
            if isinstance(data, bytes):
                for form in (PLAIN_STAT, UNIX_STAT):
                    with suppress(ProtocolViolation):
                        Stat.unpack(data, form)
                    with suppress(ProtocolViolation):
                        unpack_directory(data, form)

    def _cut(self, sent: list[bytes], choices: Choices) -> None:
        """However the bytes come, the frames are those that were sent, up to one that is refused."""
        framer = Framer(choices.pick((MIN_MSIZE, 1 << 20)))
        stream = b"".join(sent)
        wrong = choices.chance(0.2)
        if wrong:
            stream = spoilt(stream, choices)
        found: list[bytes] = []
        try:
            for piece in pieces(stream, choices):
                framer.feed(piece)
                while (frame := framer.next_frame()) is not None:
                    assert HEADER.size <= len(frame) <= framer.msize
                    found.append(bytes(frame))
        except ProtocolViolation:
            assert wrong or any(len(frame) > framer.msize for frame in sent)
        assert stream.startswith(b"".join(found))
        assert wrong or found == sent[: len(found)]
        assert wrong or len(found) == len(sent) or len(sent[len(found)]) > framer.msize


@contextmanager
def codec() -> Iterator[Codec]:
    yield Codec()
