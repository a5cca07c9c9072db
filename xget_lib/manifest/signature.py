"""What a signature of a generation says, as data: docs/protocol.md, section 7.

The generation is the digest of the manifest, and the manifest has the digest of every piece. So a signature of the
generation is one of all content and metadata, whichever server sends them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Any

from xget_lib.dataclass import dataclass

GENERATION_SIZE = 32
SIGNATURE_SIZE = 64
"""Bytes of an Ed25519 signature (RFC 8032)."""
NUMBER_LIMIT = (1 << 53) - 1
"""Of a serial and a time: what every reader of JSON takes for a whole number."""
_DOMAIN = b"xget signed generation 1\0"
"""No other program, and no other version of this format, signs bytes that begin like this."""
_NUMBERS = struct.Struct("<QQ")


def statement(generation: bytes, serial: int, time: int) -> bytes:
    """The bytes that are signed."""
    return _DOMAIN + generation + _NUMBERS.pack(serial, time)


@dataclass(frozen=True, slots=True)
class Signature:
    """Of one generation, which is named beside it. The constructor checks nothing."""

    serial: int
    """A generation that is signed later has a higher one, whoever signs it."""
    time: int
    """When it was signed, in seconds since 1970. For people: nothing is decided by it."""
    value: bytes
    """SIGNATURE_SIZE bytes."""

    def statement(self, generation: bytes) -> bytes:
        """What `value` is the signature of, if it is one of this generation."""
        return statement(generation, self.serial, self.time)

    @property
    def fields(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"serial": self.serial, "time": self.time, "ed25519": self.value.hex()}

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> Signature:
        """The inverse of `fields`, of what a stranger says; unknown fields are ignored. Raises ValueError."""
        numbers = fields.get("serial"), fields.get("time")
        if not all(type(number) is int and 0 <= number <= NUMBER_LIMIT for number in numbers):
            raise ValueError("a signature without a valid serial and time")
        return cls(*numbers, _bytes_of(fields, "ed25519", SIGNATURE_SIZE))  # type: ignore[arg-type]  # checked above


@dataclass(frozen=True, slots=True)
class Signed:
    """A generation with its signature."""

    generation: bytes
    signature: Signature

    @property
    def statement(self) -> bytes:
        return self.signature.statement(self.generation)

    @property
    def fields(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"generation": self.generation.hex(), **self.signature.fields}

    @classmethod
    def of_fields(cls, fields: object) -> Signed:
        """The inverse of `fields`, of what a stranger says. Raises ValueError."""
        if not isinstance(fields, dict):
            raise ValueError("not a JSON object")
        return cls(_bytes_of(fields, "generation", GENERATION_SIZE), Signature.of_fields(fields))


def _bytes_of(fields: Mapping[str, Any], name: str, size: int) -> bytes:
    value = fields.get(name)
    # Python would skip spaces.
    if not isinstance(value, str) or not re.fullmatch(f"[0-9a-f]{{{2 * size}}}", value):
        raise ValueError(f"{name} is not {2 * size} hexadecimal digits")
    return bytes.fromhex(value)
