"""Reading ranges of a file of a server: several reads at the same time, and no more than a slow link can answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import gevent
from gevent.event import AsyncResult

from xget_lib.errors import LinkLost
from xget_lib.net.enter import unless_refused
from xget_lib.net.link import Remote
from xget_lib.ninep import messages
from xget_lib.ninep.messages import Message
from xget_lib.node.awake import now

LOWEST_RATE = 4096
"""Bytes per second, at least. A server that is slower is left."""
_LONGEST_STEP = 16
"""Seconds."""
_STEP = _LONGEST_STEP * LOWEST_RATE
"""Bytes that count as progress, once all of them have arrived."""
_FAST = 1.0
"""Seconds: if an answer takes less, more is read at the same time."""
_MOST_READS = 64
_MOST_AHEAD = 4 << 20
"""Reads, and bytes of them, at the same time, at most."""


class RangeReader:
    """Reads ranges of one open file. Owned by the one greenlet that reads."""

    def __init__(self, file: Remote, answer: float, on_progress: Callable[[], None]) -> None:
        """Each answer comes within `answer` seconds. `on_progress` is called as bytes arrive, at a minimum rate."""
        self._file = file
        self._answer = answer
        self._on_progress = on_progress
        self._least = max(1, round(LOWEST_RATE * min(answer, _LONGEST_STEP)))
        self._ahead = self._least
        """Bytes that may be asked for at the same time."""
        self._received, self._step_end, self._step_begun = 0, _STEP, now()

    def read(self, ranges: list[range]) -> list[bytes]:
        """What is there; fewer bytes where the file ends before. Raises LinkLost, NinepError."""
        contents = [bytearray() for _ in ranges]
        asked: deque[_Asked] = deque()
        waiting = 0
        todo = self._reads(ranges)
        following = next(todo, None)
        while following is not None or asked:
            while following is not None and self._may_ask(len(asked), waiting + following[2]):
                asked.append(self._ask(*following))
                waiting += following[2]
                following = next(todo, None)
            # In the order of the requests: then each range arrives from its beginning on.
            number, at, count, tag, result, begun = asked.popleft()
            data = self._reply(tag, result)
            waiting -= count
            if not data:
                break
            # On a slow link an answer must come in time, on a fast one there should be few.
            self._ahead = min(2 * self._ahead, _MOST_AHEAD) if now() - begun < _FAST else self._least
            contents[number] += data
            self._arrived(len(data))
            if len(data) < count:
                asked.appendleft(self._ask(number, at + len(data), count - len(data)))
                waiting += count - len(data)
        else:
            self._on_progress()
        return [bytes(content) for content in contents]

    def _reads(self, ranges: list[range]) -> Iterator[tuple[int, int, int]]:
        """The reads that are needed, as large as they may be at this time: number of the range, offset, bytes."""
        for number, each in enumerate(ranges):
            at = each.start
            while at < each.stop:
                count = min(each.stop - at, self._file.link.max_read, self._ahead)
                yield number, at, count
                at += count

    def _may_ask(self, reads: int, size: int) -> bool:
        return not reads or (reads < _MOST_READS and size <= self._ahead)

    def _ask(self, number: int, at: int, count: int) -> _Asked:
        return number, at, count, *self._file.link.ask(messages.Tread(self._file.fid, at, count)), now()

    def _reply(self, tag: int, result: AsyncResult[Message | LinkLost]) -> bytes:
        link = self._file.link
        with gevent.Timeout(self._answer, LinkLost(link.name, f"no answer within {self._answer:g} s")):
            reply = unless_refused(result.get())
        assert isinstance(reply, messages.Rread)
        return bytes(reply.data)

    def _arrived(self, count: int) -> None:
        self._received += count
        if self._received >= self._step_end:
            self._on_progress()
            self._step_begun, self._step_end = now(), self._received + _STEP
        elif now() - self._step_begun > _STEP / LOWEST_RATE:
            raise LinkLost(self._file.link.name, f"sends less than {LOWEST_RATE} bytes of the manifest a second")


_Asked = tuple[int, int, int, int, "AsyncResult[Message | LinkLost]", float]
"""Number of the range, offset, bytes, tag of the request, its reply, when it was sent."""
