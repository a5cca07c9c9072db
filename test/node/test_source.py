"""The reads of one chunk, over a connection that answers as the test says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from test.support.downloads import Served
from test.support.trees import noise, write
from xget_lib.errors import LinkLost
from xget_lib.net.link import Link, Remote
from xget_lib.ninep import messages
from xget_lib.ninep.requests import ReadInto
from xget_lib.node.source import CHECK_EVERY, STALLED, ChunkRead, Source

Answer = Callable[[messages.Message | LinkLost], None]
SIZE = 100_000


class ScriptedLink(Link):
    """Records requests; the test answers them."""

    def __init__(self) -> None:
        self.name = "scripted"
        self.arrived = 0
        self.asked: list[tuple[messages.TMessage, Answer, memoryview]] = []
        self.flushed: list[int] = []

    @property
    def received(self) -> int:
        return self.arrived

    @property
    def max_read(self) -> int:
        return 65536

    def start(self, message: messages.TMessage, on_answer: Answer, into: memoryview | None = None) -> int:
        assert into is not None
        self.asked.append((message, on_answer, into))
        return len(self.asked)

    def flush(self, tag: int) -> None:
        self.flushed.append(tag)

    def send(self, number: int, count: int) -> None:
        """Answer a request with so many bytes."""
        self.asked[number][1](ReadInto(count))


class Chunk:
    """One chunk of a file that is being read; `ends` is what `on_end` was called with."""

    def __init__(self, directory: Path) -> None:
        write(directory / "file", noise(SIZE, 1))
        layout = self.layout = Served(directory).layout
        assert layout.chunk_count == 1 or layout.chunk_size < SIZE
        self.link = ScriptedLink()
        self.source = Source(("10.0.0.1", 1), self.link, Remote(self.link, 7))
        self.ends: list[object] = []
        pieces = layout.chunk_pieces(0)
        self.buffer = memoryview(bytearray(layout.chunk_size))
        self.read = ChunkRead(self.source, 0, [range(pieces[0], pieces[-1] + 1)], self.buffer, self._ended)
        self.read.start(layout)

    def _ended(self, read: ChunkRead, why: object) -> None:
        self.ends.append(why)

    def answer_all(self) -> None:
        for number, (message, _, into) in enumerate(list(self.link.asked)):
            assert isinstance(message, messages.Tread) and message.count == len(into)
            self.link.send(number, len(into))


def test_a_chunk_of_which_nothing_lacks_any_more_ends_at_once(tmp_path: Path) -> None:
    """The file of its pieces was refused since it was chosen."""
    chunk = Chunk(tmp_path)
    ends: list[object] = []
    read = ChunkRead(chunk.source, 1, [], chunk.buffer, lambda read, why: ends.append(why))
    read.start(chunk.layout)
    assert ends == [None] and 1 not in chunk.source.reads


def test_a_chunk_is_read_in_requests_that_the_connection_can_answer(tmp_path: Path) -> None:
    chunk = Chunk(tmp_path)
    chunk.answer_all()
    assert chunk.ends == [None]
    assert sum(len(into) for _, _, into in chunk.link.asked) == chunk.read.length
    assert chunk.source.reads == {}


def test_the_rest_of_a_short_answer_is_asked_for(tmp_path: Path) -> None:
    chunk = Chunk(tmp_path)
    count = len(chunk.link.asked)
    first = len(chunk.link.asked[0][2])
    for number in range(1, count):
        chunk.link.send(number, len(chunk.link.asked[number][2]))
    chunk.link.send(0, 5000)
    assert chunk.ends == []
    message, _, into = chunk.link.asked[count]
    assert isinstance(message, messages.Tread)
    assert (message.offset, len(into)) == (5000, first - 5000)
    chunk.link.send(count, first - 5000)
    assert chunk.ends == [None]


@pytest.mark.parametrize("count", [0, 1, 4095])
def test_an_answer_of_next_to_nothing_fails_the_chunk(tmp_path: Path, count: int) -> None:
    chunk = Chunk(tmp_path)
    chunk.link.send(0, count)
    assert [type(end) for end in chunk.ends] == [messages.Rerror]


def test_the_first_refusal_ends_the_chunk_and_takes_the_other_requests_back(tmp_path: Path) -> None:
    chunk = Chunk(tmp_path)
    refusal = messages.Rerror("not held")
    chunk.link.asked[0][1](refusal)
    assert chunk.ends == [refusal]
    assert sorted(chunk.link.flushed) == list(range(2, len(chunk.link.asked) + 1))


def test_a_cancelled_chunk_reports_nothing(tmp_path: Path) -> None:
    chunk = Chunk(tmp_path)
    assert chunk.read.cancel() is chunk.buffer
    assert chunk.source.reads == {}
    chunk.link.asked[0][1](LinkLost("scripted", "closed"))
    assert chunk.ends == []


def stalled_after(chunk: Chunk, rate: float, *, every: float = CHECK_EVERY, seconds: float = 2000.0) -> float | None:
    """Seconds after which a source that sends so many bytes a second is stalled; None if it never is."""
    now = chunk.read.begun
    while now < chunk.read.begun + seconds:
        now += every
        chunk.link.arrived = int((now - chunk.read.begun) * rate)
        if chunk.source.is_stalled(now):
            return now - chunk.read.begun
    return None


@pytest.mark.parametrize("rate", [0.0, 1 / 15, 100.0])
def test_a_source_that_sends_next_to_nothing_is_stalled(tmp_path: Path, rate: float) -> None:
    assert stalled_after(Chunk(tmp_path), rate) == pytest.approx(STALLED, abs=3)


def test_a_slow_link_is_not_stalled_before_the_chunk_must_be_there(tmp_path: Path) -> None:
    after = stalled_after(Chunk(tmp_path), 10_000 / 12)
    assert after is not None and after > SIZE / (10_000 / 12)


def test_a_source_is_stalled_only_when_it_owes_something(tmp_path: Path) -> None:
    chunk = Chunk(tmp_path)
    chunk.read.cancel()
    assert stalled_after(chunk, 0.0) is None


def test_bytes_of_a_chunk_are_counted_while_it_is_being_read(tmp_path: Path) -> None:
    chunk = Chunk(tmp_path)
    chunk.link.arrived += 1000
    assert chunk.source.receiving == 1000
    chunk.link.arrived += 10 * SIZE
    assert chunk.source.receiving == chunk.read.length, "a connection brings other messages too"
    chunk.answer_all()
    assert (chunk.ends, chunk.source.receiving) == ([None], 0)


def test_bytes_of_a_chunk_that_is_cut_are_not_counted_any_more(tmp_path: Path) -> None:
    chunk = Chunk(tmp_path)
    chunk.link.arrived += 1000
    chunk.link.asked[0][1](LinkLost("scripted", "closed"))
    assert chunk.source.receiving == 0
    again = ChunkRead(chunk.source, 0, chunk.read.runs, chunk.buffer, chunk._ended)
    again.start(chunk.layout)
    assert chunk.source.receiving == 0
    chunk.link.arrived += 10
    assert chunk.source.receiving == 10


def test_a_whole_chunk_takes_its_bytes_from_those_of_the_next_one_on_the_same_connection(tmp_path: Path) -> None:
    chunk = Chunk(tmp_path)
    requests = len(chunk.link.asked)
    other = ChunkRead(chunk.source, 1, chunk.read.runs, chunk.buffer, chunk._ended)
    other.start(chunk.layout)
    chunk.link.arrived += chunk.read.length + 700
    for number in range(requests):
        chunk.link.send(number, len(chunk.link.asked[number][2]))
    assert chunk.source.receiving == 700
