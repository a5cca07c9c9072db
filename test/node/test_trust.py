"""What a node with --trust takes of the news: only generations that one of its keys has signed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from test.support.keys import KeyFiles
from xget_lib.errors import NotTrusted, ProtocolViolation, UsageError
from xget_lib.node.trust import Trust
from xget_lib.swarm.messages import News

GENERATION = bytes(range(32))


@pytest.fixture
def keys(tmp_path: Path) -> KeyFiles:
    return KeyFiles(tmp_path)


def news(keys: KeyFiles, serial: int = 1) -> News:
    return News(GENERATION, 1, (), signature=keys.sign(GENERATION, serial).signature)


def test_what_is_signed_by_a_key_is_taken(keys: KeyFiles) -> None:
    trust = Trust(str(keys.public))
    assert trust.signed(news(keys, 7)) == keys.sign(GENERATION, 7)
    assert trust.accepts(news(keys, 8)) and trust.accepts(news(keys, 8))


def test_what_is_not_signed_or_by_another_key_or_for_another_generation_is_refused(
    keys: KeyFiles, tmp_path: Path
) -> None:
    trust = Trust(str(keys.public))
    right = news(keys)
    assert trust.accepts(right)
    for wrong, why in (
        (replace(right, signature=None), "the master has no signature of it"),
        (news(KeyFiles(tmp_path, "other")), r"none of the keys in .*key\.pub has signed it"),
        (replace(right, generation=bytes(32)), "none of the keys"),
    ):
        assert not trust.accepts(wrong)
        with pytest.raises(NotTrusted, match=why):
            trust.signed(wrong)
    assert trust.accepts(right)


def test_no_forged_line_of_news_is_taken(keys: KeyFiles) -> None:
    """Whatever byte of a line somebody changes: what is taken is what was signed."""
    trust, right = Trust(str(keys.public)), news(keys, 7)
    line, signed = right.encode(), keys.sign(GENERATION, 7)

    @given(st.integers(0, len(line) - 1), st.integers(1, 255), st.booleans())
    def forge(at: int, change: int, cuts: bool) -> None:
        forged = bytearray(line)
        forged[at : at + 1] = b"" if cuts else bytes([forged[at] ^ change])
        try:
            found = trust.signed(News.decode(bytes(forged)))
        except (NotTrusted, ProtocolViolation):
            return
        assert found == signed, forged

    forge()


def test_keys_are_rotated_with_a_file_that_has_both(keys: KeyFiles, tmp_path: Path) -> None:
    other = KeyFiles(tmp_path, "other")
    both = tmp_path / "both"
    both.write_bytes(keys.public.read_bytes() + other.public.read_bytes())
    os.chmod(both, 0o644)
    assert Trust(str(both)).accepts(news(keys)) and Trust(str(both)).accepts(news(other))


def test_the_keys_are_read_again_for_each_generation(
    keys: KeyFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = KeyFiles(tmp_path, "other")
    trust = Trust(str(keys.public))
    keys.public.write_bytes(other.public.read_bytes())
    assert trust.accepts(news(other)) and not trust.accepts(news(keys))
    keys.public.unlink()
    assert trust.accepts(news(other, 2)) and trust.accepts(news(other, 3))
    (line,) = caplog.messages
    assert line == f"trusting the same keys as before: --trust {keys.public}: No such file or directory"


def test_a_file_without_keys_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--trust"):
        Trust(str(tmp_path / "nothing"))
