"""The lines of `peers`: what is encoded comes back, and whatever else a stranger writes is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xget_lib.errors import TEXT_LIMIT, ProtocolViolation
from xget_lib.manifest.index import MANIFEST_LIMIT
from xget_lib.manifest.signature import Signature
from xget_lib.swarm.messages import (
    LINE_LIMIT,
    NEWS_LIMIT,
    PEERS_LIMIT,
    SETTLING_LIMIT,
    Freshness,
    News,
    Registration,
    Scanning,
)

GENERATION = bytes(range(32))
SIGNATURE = Signature(7, 1_700_000_000, bytes(range(64)))
REGISTRATION = Registration(20004, GENERATION, 17)
ENDED = Registration(1024, b"", 0, ended="failed", why="disk full", milliseconds=5, fetched=7, wrong_chunk=3)

SOURCES = (("10.0.0.1", 20004, 5), ("fd00::1", 65535, 2))
TELLING = replace(
    REGISTRATION,
    fetched=9,
    from_master=2,
    name="node1.cluster",
    identity="0123456789abcdef",
    sources=SOURCES,
    in_place=True,
)
REACHED = replace(REGISTRATION, reached=(("10.0.0.1", 20004), ("fd00::1", 65535)))


def test_news_and_registrations_come_back_as_they_were() -> None:
    news = News(GENERATION, 12345, (("10.0.0.1", 20004), ("fe80::1", 65535)))
    assert News.decode(news.encode()) == news
    for registration in (
        REGISTRATION,
        REACHED,
        Registration(1024, b"", 0),
        Registration(1024, b"", 0, follows=True),
        ENDED,
        TELLING,
        replace(ENDED, **{name: getattr(TELLING, name) for name in ("fetched", "from_master", "name", "sources")}),
    ):
        assert Registration.decode(registration.encode()) == registration


def test_a_signature_comes_back_as_it_was_and_is_left_out_where_there_is_none() -> None:
    news = News(GENERATION, 1, (), signature=SIGNATURE)
    assert News.decode(news.encode()) == news
    assert b"signature" not in replace(news, signature=None).encode()


@pytest.mark.parametrize(
    "signature",
    [None, [], "x", {}, {**SIGNATURE.fields, "serial": -1}, {**SIGNATURE.fields, "ed25519": "00"}],
)
def test_a_signature_that_is_none_is_refused(signature: object) -> None:
    fields = json.loads(News(GENERATION, 1, ()).encode())
    with pytest.raises(ProtocolViolation, match="peers: "):
        News.decode(json.dumps({**fields, "signature": signature}).encode())


def test_a_line_of_peers_is_one_line() -> None:
    assert News(GENERATION, 1, (("a\nb", 2),)).encode().count(b"\n") == 1
    assert REGISTRATION.encode().count(b"\n") == 1


@pytest.mark.parametrize("letter", ["x", '"', "\\", "\u00e4", "\U0001f600", "\x1b", "\udcff"])
def test_a_registration_with_a_long_error_fits_into_a_line(letter: str) -> None:
    line = replace(ENDED, why=letter * 5000).encode()
    assert len(line) <= LINE_LIMIT
    assert Registration.decode(line).why.isprintable()


def test_what_only_the_status_shows_is_left_out_where_a_line_would_be_too_long() -> None:
    reached = tuple((f"2001:db8:1111:2222:3333:4444:5555:{number}", 65535) for number in range(6666, 6674))
    full = replace(TELLING, ended="failed", why='"' * 300, milliseconds=1, reached=reached, name="n" * 64)
    line = full.encode()
    assert len(line) <= LINE_LIMIT
    decoded = Registration.decode(line)
    assert (decoded.why, decoded.fetched, decoded.from_master) == (full.why, 9, 2)
    assert decoded.sources == ()


@pytest.mark.parametrize("name", ["a b", "n[1-3]", "n1,n2", "\x1b[2J", "n" * 65, "\u00e4", "a/b"])
def test_a_name_that_no_host_has_is_ignored(name: str) -> None:
    assert Registration.decode(replace(REGISTRATION, name=name).encode()).name == ""


BROKEN = [
    b"",
    b"{",
    b"[]",
    b"{}",
    b'"text"',
    b"\xff\xfe",
    b"[" * 1000,
]


@pytest.mark.parametrize("line", BROKEN)
def test_a_line_that_is_no_object_is_refused(line: bytes) -> None:
    for kind in (News, Registration):
        with pytest.raises(ProtocolViolation):
            kind.decode(line)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", "0"),
        ("port", "1023"),
        ("port", "65536"),
        ("port", "1e999"),
        ("port", "NaN"),
        ("port", "2.5"),
        ("port", "true"),
        ("port", '"20004"'),
        ("follows", "1"),
        ("follows", "null"),
        ("ended", '"ended"'),
        ("ended", "7"),
        ("wrong", "-2"),
        ("port", "null"),
        ("generation", '"00"'),
        ("generation", '"zz"'),
        ("generation", "7"),
        ("held", "-1"),
        ("held", "1e999"),
        ("held", str(1 << 63)),
        ("fetched", "-1"),
        ("fetched", "1.5"),
        ("from_master", "1"),
        ("name", "7"),
        ("id", '"xyz"'),
        ("id", f'"{17 * "a"}"'),
        ("in_place", "1"),
        ("sources", "{}"),
        ("sources", '[["10.0.0.1", 20004]]'),
        ("sources", '[["head", 20004, 5]]'),
        ("sources", '[["10.0.0.1", 20004, -5]]'),
        ("sources", json.dumps([["10.0.0.1", 20004, 5]] * 4)),
        ("reached", "7"),
        ("reached", '[["10.0.0.1", 22]]'),
        ("reached", '[["head", 20004]]'),
        ("reached", json.dumps([["10.0.0.1", 20004 + number] for number in range(9)])),
    ],
)
def test_a_registration_with_an_impossible_field_is_refused(field: str, value: str) -> None:
    fields = {key: json.dumps(each) for key, each in json.loads(REGISTRATION.encode()).items()} | {field: value}
    line = "{" + ",".join(f'"{key}": {each}' for key, each in fields.items()) + "}"
    with pytest.raises(ProtocolViolation):
        Registration.decode(line.encode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("manifest", "-1"),
        ("manifest", "1e999"),
        ("generation", '""'),
        ("generation", "null"),
        ("peers", "7"),
        ("peers", '{"ab": 1}'),
        ("peers", '["a1"]'),
        ("peers", '[["10.0.0.1"]]'),
        ("peers", '[["10.0.0.1", 0]]'),
        ("peers", '[["10.0.0.1", 22]]'),
        ("peers", '[["10.0.0.1", 1e999]]'),
        ("peers", "[[7, 20004]]"),
        ("peers", '[["", 20004]]'),
        ("peers", '[["head", 20004]]'),
        ("peers", '[["10.0.0", 20004]]'),
        ("peers", '[["224.0.0.1", 20004]]'),
        ("peers", '[["255.255.255.255", 20004]]'),
        ("peers", '[["0.0.0.0", 20004]]'),
        ("peers", '[["::", 20004]]'),
        ("peers", '[["ff02::1", 20004]]'),
        ("peers", '[["fe80::1%eth0", 20004]]'),
        ("peers", '[["10.0.0.1", 65536]]'),
        ("peers", json.dumps([["10.0.0.1", port] for port in range(1, PEERS_LIMIT + 2)])),
        ("manifest", str(MANIFEST_LIMIT + 1)),
        ("manifest", "9" * 4000),
        ("settling", "-1"),
        ("problem", "7"),
    ],
)
def test_news_with_an_impossible_field_is_refused(field: str, value: str) -> None:
    fields = {"generation": f'"{GENERATION.hex()}"', "manifest": "1", "peers": "[]"} | {field: value}
    line = "{" + ",".join(f'"{key}": {each}' for key, each in fields.items()) + "}"
    with pytest.raises(ProtocolViolation):
        News.decode(line.encode())


def test_a_peer_that_is_named_twice_is_one() -> None:
    news = News(GENERATION, 1, (("10.0.0.1", 20007), ("10.0.0.2", 20007), ("10.0.0.1", 20007)))
    assert News.decode(news.encode()).peers == (("10.0.0.1", 20007), ("10.0.0.2", 20007))


def test_a_line_that_is_too_long_is_refused_before_it_is_parsed() -> None:
    for kind, limit in ((News, NEWS_LIMIT), (Registration, LINE_LIMIT), (Scanning, NEWS_LIMIT)):
        with pytest.raises(ProtocolViolation, match=f"a line of more than {limit} bytes"):
            kind.decode(b"[" * (limit + 1))


def test_the_problem_of_a_master_is_one_printable_line() -> None:
    forged = "\x1b]0;x\x07\r\nxget: everything is in place and verified" + "x" * 10_000
    problem = News.decode(News(GENERATION, 1, (), freshness=Freshness(problem=forged)).encode()).freshness.problem
    assert problem.isprintable() and len(problem) <= TEXT_LIMIT
    assert problem.startswith("\\x1b]0;x\\x07\\r\\nxget")


def test_a_master_cannot_keep_a_client_waiting_for_files_that_change() -> None:
    forever = News(GENERATION, 1, (), freshness=Freshness(settling=1e18))
    assert News.decode(forever.encode()).freshness.settling == SETTLING_LIMIT


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_OBJECTS = st.dictionaries(st.sampled_from(["port", "generation", "held", "manifest", "peers"]), _VALUES)


@settings(deadline=None)
@given(st.binary(max_size=100) | _OBJECTS.map(lambda fields: json.dumps(fields).encode()))
def test_any_line_is_understood_or_refused(line: bytes) -> None:
    for kind in (News, Registration):
        try:
            understood = kind.decode(line)
        except ProtocolViolation:
            continue
        assert kind.decode(understood.encode()) == understood
