"""One session, a stranger who speaks to it, and what is owed to him.

Whatever he says: the session raises ProtocolViolation where the rules say that it ends, and nothing else ever; each
request has one reply of its own kind, or an error, unless it waits or was flushed; no reply is longer than was agreed.
Here is a second account of these rules, for the first to be compared with.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from test.fuzz.choices import Choices
from test.fuzz.speech import Speaker, free_tag, pieces, reframed
from xget_lib.errors import ProtocolViolation, XGetError
from xget_lib.ninep.dialect import DIALECTS, decode, encode, negotiate, tag_of
from xget_lib.ninep.file import Content, OpenExtent
from xget_lib.ninep.limits import FID_COST, Limits
from xget_lib.ninep.messages import MIN_MSIZE, Message, Tattach, Tflush, TMessage, Tread, Tversion, is_reply_to
from xget_lib.ninep.session import MAX_MALFORMED, Reply, Session
from xget_lib.ninep.wire import HEADER, NOFID, NOTAG

SECRET = b"not for strangers"
MAX_MSIZE = 2**20 + 24
MAX_FIDS = 40
MAX_TAGS = 24
MAX_OPEN = 6
MAX_WAITING = 3

WELL_FORMED = 0.9
SAME_SIZE = 0.097  # of all messages: spoilt, but of the size that they say; the few left are anything


class Owed:
    """What a server must answer, by a second reading of everything that was sent to it."""

    def __init__(self) -> None:
        self.requests: dict[int, TMessage | None] = {}  # by tag; None for one that is malformed
        self.msize = MIN_MSIZE
        self._agreed = False
        self._malformed = 0
        self._dialect = next(iter(DIALECTS))

    def sent(self, frame: bytes) -> bool:
        """Takes note of a frame whose size is right. Whether the session goes on."""
        if len(frame) > self.msize:
            return False
        try:
            tag, request = decode(frame, self._dialect)
            if not isinstance(request, TMessage) or (tag == NOTAG and not isinstance(request, Tversion)):
                raise ProtocolViolation("")
        except ProtocolViolation:
            return self._note_malformed(tag_of(frame))
        if isinstance(request, Tversion):
            self._note_version(tag, request)
            return True
        if not self._agreed or tag in self.requests:
            return False
        self._malformed = 0
        if isinstance(request, Tflush) and not isinstance(self.requests.get(request.oldtag), Tflush | Tversion):
            self.requests.pop(request.oldtag, None)
        self.requests[tag] = request
        return True

    def _note_malformed(self, tag: int) -> bool:
        self._malformed += 1
        if not self._agreed or self._malformed > MAX_MALFORMED or tag in self.requests:
            return False
        self.requests[tag] = None
        return True

    def _note_version(self, tag: int, request: Tversion) -> None:
        self._malformed = 0
        self.requests = {tag: request}
        dialect = negotiate(request.version, request.msize) if request.msize >= MIN_MSIZE else None
        self._dialect = next(iter(DIALECTS))  # until another is agreed on
        self._agreed = dialect is not None
        if dialect is not None:
            self._dialect, self.msize = dialect, min(request.msize, MAX_MSIZE)


class Conversation:
    """A stranger and a session with `attach`, whose limits are low enough to be met."""

    def __init__(self, choices: Choices, speaker: Speaker, attach: Callable[..., object]) -> None:
        self._limits = Limits(max_fids=MAX_FIDS, max_tags=MAX_TAGS, max_open=MAX_OPEN, max_waiting=MAX_WAITING)
        self.session = Session(attach, MAX_MSIZE, self._limits)  # type: ignore[arg-type]
        self.messages = 0
        self.log: list[str] | None = None
        """What was said, in words, if somebody wants to read it."""
        self._choices = choices
        self._speaker = speaker
        self._owed = Owed()
        self._exact = True  # as long as what was sent can be read in one way only

    def begin(self) -> bool:
        """Agree on the speaker's dialect and attach."""
        msize = self._choices.pick((4096, 8192, 65536, MAX_MSIZE))
        dialect = self._speaker.dialect
        return self._send([self._encoded(NOTAG, Tversion(msize, dialect))]) and (
            self._send([self._encoded(0, Tattach(0, NOFID, "root", self._speaker.aname))])
        )

    def say(self, count: int) -> bool:
        """The next so many messages, together. Whether the session goes on."""
        used = dict.fromkeys(self._owed.requests)
        frames: list[bytes] = []
        for _ in range(count):
            tag = free_tag(self._choices, used)
            used[tag] = None
            frames.append(self._frame(tag, self._speaker.message(used)))
        return self._send(frames)

    def hear(self, at_most: int) -> None:
        """So many of the replies that there are."""
        for _ in range(at_most):
            reply = self.session.next_reply()
            if reply is None:
                return
            self._check(reply)

    def end(self, goes_on: bool) -> None:
        """Everything was answered, but for what waits; that can be flushed; and closing leaves nothing."""
        self.hear(1000)
        if self._exact:
            assert len(self._owed.requests) == self.session.waiting, f"owed: {self._owed.requests}"
        if self._exact and goes_on:
            waiting = list(self._owed.requests)
            tags = [tag for tag in range(NOTAG) if tag not in waiting][: len(waiting)]
            dialect = self.session.dialect
            for tag, oldtag in zip(tags, waiting, strict=True):
                assert self._send([encode(tag, Tflush(oldtag), dialect)])
            self.hear(1000)
            assert not self._owed.requests and not self.session.waiting, f"owed: tags {[*self._owed.requests]}"
        self.close()

    def close(self) -> None:
        self.session.close()
        assert not self.session.fid_count and not self.session.waiting
        assert self.session.next_reply() is None
        assert not any(budget.used for budget in (self._limits.memory, self._limits.open_files, self._limits.waiting))

    # Out.

    def _frame(self, tag: int, message: Message) -> bytes:
        frame = self._encoded(tag, message)
        kind = self._choices.below(1000)
        if kind < 1000 * WELL_FORMED:
            return frame
        if kind < 1000 * (WELL_FORMED + SAME_SIZE):
            return reframed(frame, self._choices)
        self._exact = False
        return self._choices.octets(1 + self._choices.below(40))

    def _encoded(self, tag: int, message: Message) -> bytes:
        self.messages += 1
        tag = NOTAG if isinstance(message, Tversion) else tag
        try:
            return encode(tag, message, self._speaker.dialect)
        except XGetError:  # a text that no message carries
            return HEADER.pack(HEADER.size, 255, tag)

    def _send(self, frames: Sequence[bytes]) -> bool:
        """Send frames together, however cut. Whether the session goes on, which it must do, and end, by the rules."""
        if self.log is not None:
            self.log += [f"-> {self._words(frame)}" for frame in frames]
        # In order, and no further than to the one that ends it.
        right = all(self._owed.sent(frame) for frame in frames) if self._exact else None
        try:
            for piece in pieces(b"".join(frames), self._choices):
                self.session.receive(piece)
                while self.session.full:
                    self.hear(1000)
                    self.session.receive_rest()
        except ProtocolViolation as violation:
            if self.log is not None:
                self.log.append(f"<- closed {str(violation)!r}")
            assert not right, f"closed for {violation}"
            return False
        assert right is not False, "not closed"
        return True

    # In.

    def _check(self, reply: Reply) -> None:
        if self.log is not None:
            self.log.append(f"<- {self._words(reply.header)}")
        length = reply.content.length if reply.content is not None else 0
        assert len(reply.header) + length <= self.session.msize
        assert self.session.fid_count <= min(MAX_FIDS, self._limits.memory.used // FID_COST)
        assert self._limits.open_files.used <= MAX_OPEN and self.session.waiting <= MAX_WAITING
        assert int.from_bytes(reply.header[:4], "little") == len(reply.header) + length
        assert tag_of(reply.header) == reply.tag
        answer = None
        if reply.content is None:
            assert SECRET not in reply.header
            answer = decode(reply.header, self.session.dialect)[1]
        if self._exact:
            assert reply.tag in self._owed.requests, f"tag {reply.tag} is owed no reply"
            request = self._owed.requests.pop(reply.tag)
            if answer is None:
                assert isinstance(request, Tread) and length <= request.count
                self._speaker.heard_data(request, length)
            elif request is None:
                assert answer is not None and answer.is_error, answer
            else:
                assert is_reply_to(answer, request), f"{answer} answers {request}"
                self._speaker.heard(request, answer)
        if reply.content is not None:
            _take(reply.content)

    def _words(self, frame: bytes) -> str:
        try:
            tag, message = decode(frame, self.session.dialect)
        except ProtocolViolation:
            return frame[:100].hex()
        return f"{tag} {message}"[:300]


def _take(content: Content) -> None:
    """The bytes of a reply, as a connection would send them; opening them may fail, then the reply is an error."""
    if isinstance(content.source, bytes):
        assert len(content.source) == content.length and SECRET not in content.source
        return
    try:
        parts = content.source()
    except (XGetError, OSError):
        return
    sent = 0
    for part in parts:
        if isinstance(part, OpenExtent):
            data = os.pread(part.fd, min(part.length, 1000), part.offset)
            os.close(part.fd)
            sent += part.length
        else:
            data = part
            sent += len(data)
        assert SECRET not in data
    assert sent == content.length
