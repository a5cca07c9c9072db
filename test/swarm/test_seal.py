"""Seals on news: a line that was altered, repeated, or made for another connection is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xget_lib.errors import ProtocolViolation
from xget_lib.swarm.messages import NEWS_LIMIT, PEERS_LIMIT, News, Scanning
from xget_lib.swarm.seal import Seal, SealCheck

KEY = b"k" * 32
LINES = [News(b"g" * 32, 1000, (("192.0.2.1", 2005),)).encode(), Scanning(3, 40).encode()]


def test_lines_pass_as_they_were_sent_and_mean_the_same() -> None:
    seal, check = Seal(KEY), SealCheck(KEY)
    for line in LINES * 3:
        sealed = seal.put_on(line)
        check.check(sealed)
        assert sealed.count(b"\n") == 1 and sealed.endswith(b"\n")
    assert News.decode(Seal(KEY).put_on(LINES[0])) == News.decode(LINES[0])
    assert Scanning.decode(Seal(KEY).put_on(LINES[1])) == Scanning(3, 40)


def test_lines_may_be_left_out() -> None:
    """A line takes the place of one that was not read."""
    seal, check = Seal(KEY), SealCheck(KEY)
    seal.put_on(LINES[0])
    check.check(seal.put_on(LINES[0]))


@given(st.data())
def test_no_byte_of_a_line_can_be_changed(data: st.DataObject) -> None:
    line = bytearray(Seal(KEY).put_on(LINES[0]))
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ProtocolViolation):
        SealCheck(KEY).check(bytes(line))


def test_a_line_cannot_be_repeated() -> None:
    seal, check = Seal(KEY), SealCheck(KEY)
    first, second = seal.put_on(LINES[0]), seal.put_on(LINES[0])
    check.check(second)
    for line in (first, second):
        with pytest.raises(ProtocolViolation, match="that was sent before"):
            check.check(line)


@pytest.mark.parametrize("line", [LINES[0], Seal(b"o" * 32).put_on(LINES[0]), Seal(KEY).put_on(LINES[0])[:-1], b""])
def test_a_line_without_a_seal_or_of_another_connection_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        SealCheck(KEY).check(line)


def test_the_longest_news_has_room_for_a_seal() -> None:
    peers = tuple((f"2001:db8:ffff:ffff:ffff:ffff:ffff:{number:x}", 65535) for number in range(PEERS_LIMIT))
    assert len(Seal(KEY).put_on(News(b"g" * 32, 1 << 30, peers).encode())) < NEWS_LIMIT
