"""What a master knows of all its nodes at one moment: plain data, with one encoding as JSON.

    Distribution      all nodes: `nodes` of the namespace `swarm`, for lists, maps, and programs
    NodeStatus        one of them

`distribution_summary` makes of it what a person looks at first. The master makes it (`master.node_states`); `xget
status`, and whatever else shows it, only reads it. It does not change. With 10,000 nodes it takes some 30 ms to make,
and as long to encode; the JSON has some 200 bytes for each node.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from xget_lib.dataclass import dataclass, fields
from xget_lib.errors import ProtocolViolation, one_line
from xget_lib.swarm.messages import Registration, Source, host_name

WAITING = "waiting"
"""It has begun nothing of the published generation yet."""
DOWNLOADING = "downloading"
COMPLETE = "complete"
"""It has in place what was asked for, of the published generation."""
OUTDATED = "outdated"
"""It has another generation, and does not follow."""
FAILED = "failed"
INTERRUPTED = "interrupted"
LOST = "lost"
"""Its connection ended during the download."""
STATES = (COMPLETE, DOWNLOADING, WAITING, OUTDATED, FAILED, INTERRUPTED, LOST)


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node. Everything that it says of itself is a claim: `name`, what it holds, and what it fetched."""

    address: str
    """From where it is connected, as the master sees it."""
    port: int
    """Where it serves, or served."""
    name: str
    """What its host calls itself (`messages.host_name`); "" if it does not say."""
    state: str
    """One of STATES."""
    generation: str
    """That it has, or is downloading, in hexadecimal; "" if none."""
    held: int
    """Chunks of that generation."""
    seconds: float
    """Since it registered."""
    left: float | None = None
    """Seconds since it left; None while it is connected."""
    follows: bool = False
    fetched: int = 0
    """Bytes of content that came over the network in its last run,"""
    from_master: int = 0
    """and those of them from the master."""
    rate: float = 0.0
    """Bytes per second, while it is downloading."""
    sources: tuple[Source, ...] = ()
    """The peers that gave most: address, port and bytes."""
    took: float | None = None
    """Seconds of its last run; None until it has ended."""
    changed: float | None = None
    """Seconds since it held more than before, while it is downloading."""
    lagging: str = ""
    """By how much it lags; "" if it does not."""
    why: str = ""
    """The error of a run that failed."""

    @classmethod
    def of(cls, address: str, registration: Registration, state: str, seconds: float, **more: Any) -> NodeStatus:
        """A node that says this of itself. `more`: fields that somebody else knows."""
        return cls(
            address=address,
            port=registration.port,
            name=registration.name,
            state=state,
            generation=registration.generation.hex(),
            held=registration.held,
            seconds=seconds,
            follows=registration.follows,
            fetched=registration.fetched,
            from_master=registration.from_master,
            sources=registration.sources,
            took=registration.milliseconds / 1000 if registration.ended else None,
            why=registration.why,
            **more,
        )

    @property
    def label(self) -> str:
        """What people call it: its name, or else its address. Several nodes may have the same."""
        return self.name or self.address

    @property
    def place(self) -> str:
        """Where it is, with its name: unique among those that are connected."""
        where = f"{self.address} port {self.port}"
        return f"{self.name} ({where})" if self.name else where

    def as_json(self) -> dict[str, Any]:
        """Its fields. Those that have their default are left out."""
        return {name: value for name, usual in _DEFAULTS if (value := getattr(self, name)) != usual}


@dataclass(frozen=True, slots=True)
class Distribution:
    """One generation and all nodes: those that are connected, the oldest first, then those that have left."""

    generation: str
    """The published one, in hexadecimal; "" if none."""
    chunks: int
    size: int
    """Its bytes. In the JSON it is `bytes`."""
    nodes: tuple[NodeStatus, ...]

    def share(self, node: NodeStatus) -> float:
        """How much of the generation a node has, from 0 to 1. A complete one has all that was asked for."""
        if node.state == COMPLETE:
            return 1.0
        if node.generation != self.generation or not self.chunks:
            return 0.0
        return min(1.0, node.held / self.chunks)

    def encode(self) -> bytes:
        """As JSON."""
        facts = {"generation": self.generation, "chunks": self.chunks, "bytes": self.size}
        nodes = [node.as_json() for node in self.nodes]
        return json.dumps({**facts, "nodes": nodes}, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def decode(cls, text: bytes) -> Distribution:
        """What a master sent. Unknown fields are ignored. Raises ProtocolViolation."""
        try:
            facts = json.loads(text)
            nodes = tuple(map(_node, facts["nodes"]))
            return cls(_text(facts["generation"]), int(facts["chunks"]), int(facts["bytes"]), nodes)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise ProtocolViolation(f"invalid list of nodes ({type(error).__name__}: {error})") from None


_DEFAULTS = tuple((each.name, each.default) for each in fields(NodeStatus))
_NAMES = {each.name for each in fields(NodeStatus)}
_TEXTS = ("address", "state", "generation", "lagging", "why")
_NUMBERS = ("held", "port", "fetched", "from_master", "seconds", "rate")
_OPTIONAL_NUMBERS = ("left", "took", "changed")


def _node(given: Mapping[str, Any]) -> NodeStatus:
    values = {name: value for name, value in given.items() if name in _NAMES}
    values |= {name: _text(values[name]) for name in _TEXTS if name in values}
    values |= {name: _number(values[name]) for name in _NUMBERS if name in values}
    values |= {name: _number(values[name]) for name in _OPTIONAL_NUMBERS if values.get(name) is not None}
    values["name"] = host_name(values.get("name", ""))
    values["sources"] = tuple((_text(peer), int(port), int(count)) for peer, port, count in values.get("sources", ()))
    return NodeStatus(**values)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return one_line(value)


def _number(value: object) -> float:
    if type(value) not in (int, float) or not -(2**63) < value < 2**63:  # type: ignore[operator]  # a number by now
        raise ValueError("not a number")
    return value  # type: ignore[return-value]
