"""The lines of JSON that nodes and the master write to each other's file `peers`.

A line comes from a stranger, so each field is checked when it is decoded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from xget_lib.errors import ProtocolViolation

LINE_LIMIT = 1024
"""Bytes of a line that a node writes, at most."""
GENERATION_SIZE = 32
_HUGE = (1 << 63) - 1

Address = tuple[str, int]
"""Where a node serves: IP address and port."""


@dataclass(frozen=True, slots=True)
class News:
    """A line that a server sends to the readers of its `peers`: what it serves, and where else that is served."""

    generation: bytes
    manifest_size: int
    """Bytes."""
    peers: tuple[Address, ...]
    master_first: bool = True
    """Whether the reader asks the master first, or its peers (`swarm.first_tier`). In the JSON it is `direct`."""

    def encode(self) -> bytes:
        fields = {"generation": self.generation.hex(), "manifest": self.manifest_size, "peers": self.peers}
        if not self.master_first:
            fields["direct"] = False
        return json.dumps(fields, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> News:
        """Raises ProtocolViolation."""
        fields = _Fields(line)
        manifest, peers = fields.number("manifest", 0, _HUGE), fields.peers()
        return cls(fields.generation(), manifest, peers, fields.flag("direct", True))


@dataclass(frozen=True, slots=True)
class Registration:
    """A line that a node writes to `peers`: where it serves, which generation, and how much of it."""

    port: int
    generation: bytes
    """b"" while the node knows of none."""
    held: int
    """Chunks that it holds."""
    follows: bool = False
    """Whether it downloads each new generation as soon as there is one (`--follow`)."""

    def encode(self) -> bytes:
        fields = {"port": self.port, "generation": self.generation.hex(), "held": self.held}
        if self.follows:
            fields["follows"] = True
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Registration:
        """Raises ProtocolViolation."""
        fields = _Fields(line)
        held = fields.number("held", 0, _HUGE)
        return cls(fields.port(), fields.generation(may_lack=True), held, fields.flag("follows", False))


class _Fields:
    """A stranger's JSON object. A field of the wrong type or out of range raises ProtocolViolation."""

    def __init__(self, line: bytes) -> None:
        try:
            self._fields = json.loads(line)
        except (ValueError, RecursionError):
            raise ProtocolViolation("peers: invalid JSON") from None
        if not isinstance(self._fields, dict):
            raise ProtocolViolation("peers: not a JSON object")

    def number(self, name: str, least: int, most: int) -> int:
        return _whole(name, self._fields.get(name), least, most)

    def port(self) -> int:
        return self.number("port", 1, 65535)

    def flag(self, name: str, default: bool) -> bool:
        value = self._fields.get(name, default)
        if not isinstance(value, bool):
            raise ProtocolViolation(f"peers: {name} is neither true nor false")
        return value

    def generation(self, *, may_lack: bool = False) -> bytes:
        try:
            generation = bytes.fromhex(self._fields.get("generation"))
        except (TypeError, ValueError):
            raise ProtocolViolation("peers: the generation is not hexadecimal") from None
        if len(generation) != GENERATION_SIZE and (generation or not may_lack):
            raise ProtocolViolation(f"peers: the generation has {len(generation)} bytes instead of {GENERATION_SIZE}")
        return generation

    def peers(self) -> tuple[Address, ...]:
        peers = self._fields.get("peers")
        if not isinstance(peers, list):
            raise ProtocolViolation("peers: the field peers is not a list")
        return tuple(_peer(each) for each in peers)


def _peer(value: object) -> Address:
    match value:
        case [str(address), port] if address:
            return address, _whole("port", port, 1, 65535)
    raise ProtocolViolation("peers: a peer is not an address and a port")


def _whole(name: str, value: object, least: int, most: int) -> int:
    # Python takes JSON's true for an int, and its 1e999 for a float that int() cannot convert.
    if type(value) is not int or not least <= value <= most:
        raise ProtocolViolation(f"peers: {name} is not a number from {least} to {most}")
    return value
