"""Signatures as data: the bytes that are signed, and what of a stranger's is refused before it is checked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xget_lib.manifest.signature import NUMBER_LIMIT, Signature, Signed, statement

GENERATION = bytes(range(32))
SIGNED = Signed(GENERATION, Signature(7, 1_700_000_000, bytes(range(64))))


def test_the_bytes_that_are_signed_are_those_of_the_protocol() -> None:
    expected = b"xget signed generation 1\0" + GENERATION + b"\x07" + bytes(7) + b"\x00\xf1\x53\x65" + bytes(4)
    assert statement(GENERATION, 7, 1_700_000_000) == SIGNED.statement == expected


def test_a_signature_comes_back_as_it_was() -> None:
    assert Signed.of_fields(json.loads(json.dumps(SIGNED.fields))) == SIGNED
    assert Signature.of_fields({**SIGNED.fields, "unknown": 1}) == SIGNED.signature


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("serial", None),
        ("serial", -1),
        ("serial", True),
        ("serial", 1.0),
        ("serial", "1"),
        ("serial", NUMBER_LIMIT + 1),
        ("serial", 10**400),
        ("time", None),
        ("time", -1),
        ("time", False),
        ("time", []),
        ("ed25519", None),
        ("ed25519", ""),
        ("ed25519", "00" * 63),
        ("ed25519", "00" * 65),
        ("ed25519", "zz" * 64),
        ("ed25519", " " * 128),
        ("ed25519", 64),
        ("generation", None),
        ("generation", "00" * 31),
        ("generation", "00" * 33),
        ("generation", "00" * 32 + "\n"),
        ("generation", {}),
    ],
)
def test_a_field_of_another_type_or_size_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Signed.of_fields({**SIGNED.fields, field: value})


@pytest.mark.parametrize("fields", [None, [], "x", 1, {}])
def test_what_is_no_signature_is_refused(fields: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Signed.of_fields(fields)


@given(st.binary(min_size=32, max_size=32), st.integers(0, NUMBER_LIMIT), st.integers(0, NUMBER_LIMIT))
def test_no_two_statements_are_the_same_bytes(generation: bytes, serial: int, time: int) -> None:
    """All fields have a fixed size, so nothing can be moved from one to the next."""
    made = statement(generation, serial, time)
    assert (made[-48:-16], int.from_bytes(made[-16:-8], "little"), int.from_bytes(made[-8:], "little")) == (
        generation,
        serial,
        time,
    )
