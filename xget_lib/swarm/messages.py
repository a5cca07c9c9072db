"""What nodes, peers and the master tell each other in the file `peers`: lines of JSON.

A line comes from a stranger, so each field is checked when it is decoded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from xget_lib.errors import ProtocolViolation

LINE_LIMIT = 1024
"""Bytes of a line that a node writes."""
GENERATION_SIZE = 32
_HUGE = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class News:
    """A line of `peers`: what is served here, and who else serves it."""

    generation: bytes
    manifest_size: int
    peers: tuple[tuple[str, int], ...]
    direct: bool = True
    """Whether the reader is to take from the master at once, or from its peers (`swarm.first_tier`)."""

    def encode(self) -> bytes:
        fields = {"generation": self.generation.hex(), "manifest": self.manifest_size, "peers": self.peers}
        if not self.direct:
            fields["direct"] = False
        return json.dumps(fields, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> News:
        """Raises ProtocolViolation."""
        fields = _Fields(line)
        manifest, peers = fields.number("manifest", 0, _HUGE), fields.peers()
        return cls(fields.generation(), manifest, peers, fields.flag("direct", True))


@dataclass(frozen=True, slots=True)
class Report:
    """What a node writes to `peers`: where it serves, what (b"" while it knows no generation), and how much of it."""

    port: int
    generation: bytes
    held: int
    follows: bool = False
    """Whether it stays and wants each new generation as soon as there is one."""

    def encode(self) -> bytes:
        fields = {"port": self.port, "generation": self.generation.hex(), "held": self.held}
        if self.follows:
            fields["follows"] = True
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Report:
        """Raises ProtocolViolation."""
        fields = _Fields(line)
        held = fields.number("held", 0, _HUGE)
        return cls(fields.port(), fields.generation(may_lack=True), held, fields.flag("follows", False))


class _Fields:
    """A stranger's JSON object; whatever in it is not what it should be raises ProtocolViolation."""

    def __init__(self, line: bytes) -> None:
        try:
            self._fields = json.loads(line)
        except (ValueError, RecursionError):
            raise ProtocolViolation("peers: not JSON") from None
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
            raise ProtocolViolation(f"peers: a generation of {len(generation)} bytes")
        return generation

    def peers(self) -> tuple[tuple[str, int], ...]:
        peers = self._fields.get("peers")
        if not isinstance(peers, list):
            raise ProtocolViolation("peers: no list of peers")
        return tuple(_peer(each) for each in peers)


def _peer(value: object) -> tuple[str, int]:
    match value:
        case [str(address), port] if address:
            return address, _whole("port", port, 1, 65535)
    raise ProtocolViolation("peers: not a peer's address and port")


def _whole(name: str, value: object, least: int, most: int) -> int:
    # JSON's true is an int to Python, and its 1e999 a float that int() refuses in yet another way.
    if type(value) is not int or not least <= value <= most:
        raise ProtocolViolation(f"peers: {name} is not a number from {least} to {most}")
    return value
