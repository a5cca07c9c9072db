"""The lines of JSON that nodes and the master write to each other's file `peers`.

A line comes from a stranger, so each field is checked when it is decoded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from xget_lib.dataclass import asdict, dataclass, replace
from xget_lib.errors import ProtocolViolation, one_line
from xget_lib.manifest.index import MANIFEST_LIMIT
from xget_lib.manifest.signature import GENERATION_SIZE, Signature
from xget_lib.swarm.addresses import is_numeric

LINE_LIMIT = 1024
"""Bytes of a line that a node writes, at most."""
NEWS_LIMIT = 64 * LINE_LIMIT
"""Bytes of a line that a server writes, at most."""
UNPRIVILEGED = 1024
"""The lowest port of a peer. Those below belong to the services of a machine, and a node serves on a port that the
kernel chooses."""
REACHED_LIMIT = 8
"""Peers that one registration may report as reached."""
SOURCES_LIMIT = 3
"""Peers that one registration may name as those that gave most."""
PEERS_LIMIT = 64
"""Peers that one line may name. A master names some dozens at most (`swarm.peer_graph`)."""
SETTLING_LIMIT = 30.0
"""Seconds for which a master may ask a client to wait for files that are still changing, at most."""
DONE, FAILED, INTERRUPTED = ENDINGS = ("done", "failed", "interrupted")
"""How a client's run ends."""
WHY_LIMIT = 300
"""Bytes of an error in a line."""
NAME_LIMIT = 64
"""Characters of the name of a host, at most (HOST_NAME_MAX in limits.h)."""
_HOST_NAME = re.compile(rf"[A-Za-z0-9_.-]{{1,{NAME_LIMIT}}}")
_IDENTITY = re.compile(r"[0-9a-f]{0,16}")
_HUGE = (1 << 63) - 1

Address = tuple[str, int]
"""Where a node serves: IP address and port."""

Source = tuple[str, int, int]
"""A peer that gave content: IP address, port, and bytes."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How well a generation shows what is in the master's directory when the news is sent."""

    age: float = 0.0
    """Seconds since the master scanned; 0 if it would know of changes since, or of almost all and scanned in the last
    minute."""
    problem: str = ""
    """Why the master does not serve what is there now; "" if it does."""
    settling: float = 0.0
    """Seconds within which files that are left out, because they are still changing, may become complete."""


CURRENT = Freshness()


@dataclass(frozen=True, slots=True)
class Fetched:
    """What has arrived at a node in a run. Fields as in a Registration."""

    fetched: int = 0
    from_master: int = 0
    sources: tuple[Source, ...] = ()


NOTHING_FETCHED = Fetched()


@dataclass(frozen=True, slots=True)
class News:
    """A line that a server sends to the readers of its `peers`: what it serves, and where else that is served."""

    generation: bytes
    manifest_size: int
    """Bytes."""
    peers: tuple[Address, ...]
    master_first: bool = True
    """Whether the reader asks the master first, or its peers (`swarm.first_tier`). In the JSON it is `direct`."""
    freshness: Freshness = CURRENT
    signature: Signature | None = None
    """Of the generation; None if it is not signed."""

    def encode(self) -> bytes:
        fields: dict[str, Any] = {
            "generation": self.generation.hex(),
            "manifest": self.manifest_size,
            "peers": self.peers,
        }
        if not self.master_first:
            fields["direct"] = False
        # Only what says something: a master sends thousands of these lines.
        fields |= {name: value for name, value in asdict(self.freshness).items() if value}
        if self.signature is not None:
            fields["signature"] = self.signature.fields
        return json.dumps(fields, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> News:
        """Raises ProtocolViolation."""
        fields = _Fields.of_line(line, NEWS_LIMIT)
        manifest, peers = fields.number("manifest", 0, MANIFEST_LIMIT), fields.peers("peers", PEERS_LIMIT)
        settling = min(fields.seconds("settling"), SETTLING_LIMIT)
        freshness = Freshness(fields.seconds("age"), fields.text("problem"), settling)
        signature = fields.signature()
        return cls(fields.generation(), manifest, peers, fields.flag("direct", True), freshness, signature)


@dataclass(frozen=True, slots=True)
class Scanning:
    """A line that a master sends to a client for which it scans its directory, until there is news."""

    seconds: int
    """Since the scan began."""
    hashed: int
    """Percent of what has to be hashed."""
    problem: str = ""
    """Why there will be no news until somebody helps; "" if the scan gets on."""

    def encode(self) -> bytes:
        scanning = asdict(self) if self.problem else {"seconds": self.seconds, "hashed": self.hashed}
        return json.dumps({"scanning": scanning}).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Scanning | None:
        """None if the line is another one. Raises ProtocolViolation."""
        fields = _Fields.of_line(line, NEWS_LIMIT).inner("scanning")
        if fields is None:
            return None
        return cls(fields.number("seconds", 0, _HUGE), fields.number("hashed", 0, 100), fields.text("problem"))


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
    ended: str = ""
    """How the run of the client ended (`ENDINGS`); "" while it goes on."""
    why: str = ""
    """The error of a run that failed."""
    milliseconds: int = 0
    """That the run took, when it has ended."""
    fetched: int = 0
    """Bytes of content that came over the network in this run, so far,"""
    from_master: int = 0
    """and those of them that came from the master."""
    wrong_chunk: int = -1
    """A chunk that came from the master and does not match its digests; -1 for none."""
    name: str = ""
    """What the host of the node calls itself; "" if it does not say. Whoever writes it may claim any name."""
    identity: str = ""
    """The same number, in hexadecimal, for each run of a host for the same destination; "" if it does not say."""
    sources: tuple[Source, ...] = ()
    """The peers that gave most in this run."""
    in_place: bool = False
    """Whether everything that was asked for, of this generation, is in place. Older versions do not say it."""
    reached: tuple[Address, ...] = ()
    """Peers that the node has connected to, and not reported before: the master may name them to others."""

    def encode(self) -> bytes:
        fields: dict[str, Any] = {"port": self.port, "generation": self.generation.hex(), "held": self.held}
        if self.follows:
            fields["follows"] = True
        if self.ended:
            fields |= {"ended": self.ended, "ms": self.milliseconds, "why": _short(self.why)}
        if self.wrong_chunk >= 0:
            fields["wrong"] = self.wrong_chunk
        if self.in_place:
            fields["in_place"] = True
        # What only the status shows comes last: it is left out where the line would be too long for other versions.
        optional = {
            "fetched": self.fetched,
            "from_master": self.from_master,
            "reached": self.reached,
            "name": self.name,
            "id": self.identity,
            "sources": self.sources,
        }
        fields |= {name: value for name, value in optional.items() if value}
        while len(line := _compact(fields)) > LINE_LIMIT:
            fields.popitem()
        return line

    @classmethod
    def decode(cls, line: bytes) -> Registration:
        """Raises ProtocolViolation."""
        fields = _Fields.of_line(line, LINE_LIMIT)
        held = fields.number("held", 0, _HUGE)
        fetched = fields.number("fetched", 0, _HUGE, 0)
        registration = cls(
            fields.port(),
            fields.generation(may_lack=True),
            held,
            fields.flag("follows", False),
            fetched=fetched,
            from_master=fields.number("from_master", 0, fetched, 0),
            wrong_chunk=fields.number("wrong", -1, _HUGE, -1),
            name=host_name(fields.text("name")),
            identity=fields.identity("id"),
            sources=fields.sources("sources"),
            in_place=fields.flag("in_place", False),
            reached=fields.peers("reached", REACHED_LIMIT, may_lack=True),
        )
        ended = fields.choice("ended", ENDINGS)
        if not ended:
            return registration
        milliseconds = fields.number("ms", 0, _HUGE, 0)
        return replace(registration, ended=ended, why=_short(fields.text("why")), milliseconds=milliseconds)


def host_name(text: str) -> str:
    """The name of a host as a registration may say it; "" for what is none. It has nothing that a terminal or a list of
    nodes takes for something else."""
    return text if _HOST_NAME.fullmatch(text) else ""


def _compact(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _short(text: str) -> str:
    """The beginning of a text that fits into a line."""
    return one_line(text).encode(errors="replace")[:WHY_LIMIT].decode(errors="ignore")


class _Fields:
    """A stranger's JSON object. A field of the wrong type or out of range raises ProtocolViolation."""

    def __init__(self, fields: object) -> None:
        if not isinstance(fields, dict):
            raise ProtocolViolation("peers: not a JSON object")
        self._fields: dict[str, Any] = fields

    @classmethod
    def of_line(cls, line: bytes, limit: int) -> _Fields:
        """`limit`: bytes of a line, at most."""
        if len(line) > limit:
            raise ProtocolViolation(f"peers: a line of more than {limit} bytes")
        try:
            # Python refuses what is nested a thousand times, and numbers of thousands of digits.
            return cls(json.loads(line))
        except (ValueError, RecursionError):
            raise ProtocolViolation("peers: invalid JSON") from None

    def inner(self, name: str) -> _Fields | None:
        """The object in a field; None if there is no such field."""
        return _Fields(self._fields[name]) if name in self._fields else None

    def number(self, name: str, least: int, most: int, default: int | None = None) -> int:
        return _whole(name, self._fields.get(name, default), least, most)

    def choice(self, name: str, choices: Collection[str]) -> str:
        """One of these, or ""."""
        value = self.text(name)
        if value and value not in choices:
            raise ProtocolViolation(f"peers: {name} is none of {', '.join(choices)}")
        return value

    def seconds(self, name: str) -> float:
        value = self._fields.get(name, 0)
        if type(value) not in (int, float) or not 0 <= value <= _HUGE:  # not NaN either
            raise ProtocolViolation(f"peers: {name} is not a number of seconds")
        return float(value)

    def text(self, name: str) -> str:
        value = self._fields.get(name, "")
        if not isinstance(value, str):
            raise ProtocolViolation(f"peers: {name} is not a text")
        return one_line(value)

    def port(self) -> int:
        return self.number("port", UNPRIVILEGED, 65535)

    def flag(self, name: str, default: bool) -> bool:
        value = self._fields.get(name, default)
        if not isinstance(value, bool):
            raise ProtocolViolation(f"peers: {name} is neither true nor false")
        return value

    def generation(self, *, may_lack: bool = False) -> bytes:
        try:
            generation = bytes.fromhex(self._fields["generation"])
        except (KeyError, TypeError, ValueError):
            raise ProtocolViolation("peers: the generation is not hexadecimal") from None
        if len(generation) != GENERATION_SIZE and (generation or not may_lack):
            raise ProtocolViolation(f"peers: the generation has {len(generation)} bytes instead of {GENERATION_SIZE}")
        return generation

    def signature(self) -> Signature | None:
        if "signature" not in self._fields:
            return None
        try:
            return Signature.of_fields(_Fields(self._fields["signature"])._fields)
        except ValueError as error:
            raise ProtocolViolation(f"peers: {error}") from None

    def identity(self, name: str) -> str:
        value = self.text(name)
        if not _IDENTITY.fullmatch(value):
            raise ProtocolViolation(f"peers: {name} is not a number of 16 hexadecimal digits")
        return value

    def sources(self, name: str) -> tuple[Source, ...]:
        sources = self._fields.get(name, [])
        if not isinstance(sources, list) or len(sources) > SOURCES_LIMIT:
            raise ProtocolViolation(f"peers: the field {name} is not a list of {SOURCES_LIMIT} peers at most")
        return tuple(map(_source, sources))

    def peers(self, name: str, limit: int, *, may_lack: bool = False) -> tuple[Address, ...]:
        peers = self._fields.get(name, [] if may_lack else None)
        if not isinstance(peers, list):
            raise ProtocolViolation(f"peers: the field {name} is not a list")
        if len(peers) > limit:
            raise ProtocolViolation(f"peers: more than {limit} peers in the field {name}")
        return tuple(dict.fromkeys(map(_peer, peers)))


def _peer(value: object) -> Address:
    match value:
        case [str(address), port] if is_numeric(address):
            return address, _whole("port", port, UNPRIVILEGED, 65535)
    raise ProtocolViolation("peers: a peer is not a numeric address and a port")


def _source(value: object) -> Source:
    match value:
        case [address, port, count]:
            return *_peer([address, port]), _whole("bytes of a source", count, 0, _HUGE)
    raise ProtocolViolation("peers: a source is not a numeric address, a port and a number of bytes")


def _whole(name: str, value: object, least: int, most: int) -> int:
    # Python takes JSON's true for an int, and its 1e999 for a float that int() cannot convert.
    if type(value) is not int or not least <= value <= most:
        raise ProtocolViolation(f"peers: {name} is not a number from {least} to {most}")
    return value
