"""Ranges of a file, read from a real server."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from test.support.backends import RecordingBackend
from test.support.network import quiet_hub
from test.support.swarm_server import SwarmServer
from xget_lib.errors import LinkLost, NinepError
from xget_lib.net.link import Link
from xget_lib.ninep.file import Content
from xget_lib.node import read_ranges
from xget_lib.node.read_ranges import RangeReader
from xget_lib.serve.attach import SWARM
from xget_lib.serve.served import EncodedManifest

DATA = Random(1).randbytes(3_000_000)


class Counting(EncodedManifest):
    """Answers with at most so many bytes, and an error behind this offset."""

    reads: list[tuple[int, int]]
    most: int = 1 << 20
    fails_behind: int = 1 << 40

    def read(self, offset: int, count: int) -> bytes | Content:
        self.reads.append((offset, count))
        if offset >= self.fails_behind:
            raise NinepError(5)
        return super().read(offset, min(count, self.most))


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    with quiet_hub():
        yield


@pytest.fixture
def manifest() -> Counting:
    made = EncodedManifest.of(DATA)
    counting = Counting(made.file, made.size)
    vars(counting)["reads"] = []
    return counting


@pytest.fixture
def link(manifest: Counting) -> Iterator[Link]:
    backend = RecordingBackend()
    backend.manifest = manifest
    link = Link.connect(*SwarmServer(backend).address, SWARM, 10)
    yield link
    link.close()


def reader(link: Link, told: list[int] | None = None) -> RangeReader:
    return RangeReader(link.open("manifest", 10), 10, lambda: told.append(1) if told is not None else None)


def test_many_ranges_come_in_their_order(link: Link) -> None:
    rng = Random(2)
    starts = [rng.randrange(len(DATA) - 5000) for _ in range(500)]
    ranges = [range(start, start + rng.randrange(1, 5000)) for start in starts]
    assert reader(link).read(ranges) == [DATA[each.start : each.stop] for each in ranges]


def test_a_long_range_takes_several_reads_that_grow(link: Link, manifest: Counting) -> None:
    told: list[int] = []
    assert reader(link, told).read([range(10, len(DATA))]) == [DATA[10:]]
    counts = [count for _, count in manifest.reads]
    assert counts[0] == 10 * read_ranges.LOWEST_RATE
    assert max(counts) > 2 * counts[0]
    assert len(told) > 4


def test_reads_do_not_wait_for_each_other(link: Link, manifest: Counting) -> None:
    """But no more is asked for than a slow link can send in time."""
    file = link.open("manifest", 10)
    answered: list[int] = []
    ask = link.ask

    def counting(message: object) -> object:
        answered.append(len(manifest.reads))
        return ask(message)  # type: ignore[arg-type]  # what it is given

    link.ask = counting  # type: ignore[method-assign,assignment]  # counts
    RangeReader(file, 10, lambda: None).read([range(at, at + 1000) for at in range(0, 100_000, 2000)])
    assert answered[:40] == [0] * 40, "40 KB at once"
    assert answered[45] > 0


def test_short_answers_are_asked_again(link: Link, manifest: Counting) -> None:
    vars(manifest)["most"] = 777
    ranges = [range(5, 3000), range(4000, 4001), range(9000, 12_000)]
    assert reader(link).read(ranges) == [DATA[each.start : each.stop] for each in ranges]


def test_the_end_of_the_file_is_where_the_bytes_end(link: Link) -> None:
    told: list[int] = []
    end = len(DATA)
    ranges = [range(end - 20, end - 10), range(end - 5, end + 5), range(end + 10, end + 20)]
    assert reader(link, told).read(ranges) == [DATA[-20:-10], DATA[-5:], b""]
    assert told == []


def test_an_error_of_the_server_is_raised(link: Link, manifest: Counting) -> None:
    vars(manifest)["fails_behind"] = 100_000
    with pytest.raises(NinepError):
        reader(link).read([range(50_000, 60_000), range(150_000, 160_000)])


def test_a_server_that_does_not_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = RecordingBackend()
    backend.manifest = EncodedManifest.of(DATA)
    link = Link.connect(*SwarmServer(backend).address, SWARM, 10)
    never = RangeReader(link.open("peers", 10, 2), 0.05, lambda: None)  # its first read waits for news
    with pytest.raises(LinkLost, match=r"no answer within 0\.05 s"):
        never.read([range(10)])
    link.close()
