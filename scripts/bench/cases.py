"""What is measured, and what came out: two frozen records that travel between processes and into the results as JSON.

A *case* is one tool bringing one payload to some nodes under one condition. It is measured once, on a machine of its
own (`isolation`), and gives one `Result`, also when the tool failed: then `failures` says why.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self

Loss = Literal["", "kill", "cut"]
"""What happens to a quarter of the nodes halfway: nothing; their processes are killed; their links fall silent."""

SMALLEST, LARGEST = 4 << 10, 64 << 10
"""Bytes of a file in a tree, where nothing else is said."""
FULL = 0.9
"""Share of the time from which a link or the processors count as what limited a measurement."""


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement. `nodes` counts receivers; the head comes on top."""

    tool: str
    nodes: int
    rate: int
    """Bits per second of every link, in each direction; 0 is not limited."""
    size: int
    """Bytes of the payload when it is one file."""
    files: int = 0
    """Files in the payload when it is a tree; 0 is one file."""
    smallest: int = SMALLEST
    """Bytes of a file in a tree, at least,"""
    largest: int = LARGEST
    """and at most."""
    compressible: bool = False
    """Half of the content repeats."""
    changed: int = 0
    """The nodes have everything already, but so many files have changed since: an update is measured."""
    latency: float = 0.0
    """Seconds one way between any two machines, besides what the links need."""
    processes: int = 0
    """Worker processes of the head; 0 is the default of the tool."""
    every: float = 0.0
    """Seconds between the starts of two nodes; 0 is all together."""
    slow: bool = False
    """The last node's link has a tenth of the rate."""
    loss: Loss = ""
    loss_after: float = 0.0
    """Seconds after the first start."""
    limit: float = 600.0
    """Seconds after the first start when the measurement is given up."""

    @property
    def payload(self) -> str:
        """What is copied, in words."""
        if not self.files:
            return f"one file of {_amount(self.size)}"
        said = f"{self.files:,} files of {_amount(self.smallest)} to {_amount(self.largest)}"
        said += " that compress 2:1" * self.compressible
        if not self.changed:
            return said
        return f"update of {self.changed:,} in {said}" if self.changed > 1 else f"update of one in {said}"

    @property
    def link(self) -> str:
        """How fast the network is, in words."""
        rate = f"{self.rate / 1e9:g} Gbit/s" if self.rate >= 1e9 else f"{self.rate / 1e6:g} Mbit/s"
        return (rate if self.rate else "unshaped") + (f", {self.latency * 1e3:g} ms one way" if self.latency else "")

    @property
    def condition(self) -> str:
        """What makes this case other than the plain one; empty for that."""
        said = [f"{self.processes} processes"] if self.processes else []
        said += [f"every {self.every:g} s"] if self.every else []
        said += ["one slow"] if self.slow else []
        said += {"": [], "kill": ["quarter killed"], "cut": ["quarter cut off"]}[self.loss]
        return ", ".join(said)

    @property
    def lost(self) -> range:
        """The nodes, from 0, that are lost halfway."""
        return range(self.nodes - max(1, self.nodes // 4), self.nodes) if self.loss else range(0)

    @property
    def ordinary(self) -> list[int]:
        """The nodes that nothing special happens to: what the figures are about."""
        special = {*self.lost, *([self.nodes - 1] if self.slow else [])}
        return [node for node in range(self.nodes) if node not in special]

    @property
    def head_limit(self) -> float:
        """Seconds after which a head that is not ready has failed."""
        return 60 + self.files / 2000 + self.size / 50e6

    def plain(self) -> Case:
        """The same without any special condition."""
        return replace(self, every=0.0, slow=False, loss="", loss_after=0.0, limit=0.0)

    def group(self) -> Case:
        """Equal for cases that have the same payload and network, and so the same unit."""
        return replace(self.plain(), tool="", nodes=1, processes=0)


def _amount(size: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} bytes"


@dataclass(frozen=True, slots=True)
class Shares:
    """What the time of a measurement was spent on, in parts of 1 that add up to it (`limits`)."""

    link: float
    processor: float
    latency: float

    @property
    def limit(self) -> str:
        """What limited the measurement: the link if it was full, else what kept it from being full."""
        if self.link >= FULL:
            return "link"
        return "processor" if self.processor >= self.latency else "latency"


@dataclass(frozen=True, slots=True)
class Result:
    """What a case gave. Seconds count from the node's own start to the end of its client command."""

    case: Case
    seconds: list[float | None]
    """One a node; None where it was not done in time, or was lost."""
    total: float | None
    """Seconds from the first start until the last node that was not lost was done."""
    payload: int
    """Bytes of content; in an update, of the files that have changed."""
    head_sent: int = 0
    """Bytes that left the head's link meanwhile, all headers included."""
    sent: int = 0
    """Bytes that left the links of the head and of all nodes meanwhile, all headers included."""
    cpu: dict[str, float] = field(default_factory=dict)
    """Seconds of processor by kind of process, meanwhile."""
    softirq: float = 0.0
    """Seconds of processor that the kernel's network stack took by itself, for everybody on the machine."""
    memory: dict[str, int] = field(default_factory=dict)
    """Peak resident bytes of the largest process of each kind."""
    busy: float = 0.0
    """Share of the machine's processor time, meanwhile, that was not idle: everybody's, not only ours."""
    saturated: float = 0.0
    """Share of half seconds in which nothing was idle."""
    shares: Shares | None = None
    """Of the node that was done last. None if none was."""
    failures: list[str] = field(default_factory=list)
    version: str = ""

    @property
    def valid(self) -> bool:
        """Everybody has everything."""
        return not self.failures and self.total is not None

    @property
    def limit(self) -> str:
        """What limited it: link, processor or latency; empty if that is not known."""
        return self.shares.limit if self.shares else ""

    @property
    def copies(self) -> float:
        """How often the head sent the payload, headers counted."""
        return self.head_sent / self.payload

    @property
    def wire(self) -> float:
        """Bytes that all machines sent, for each node, as a multiple of the payload."""
        return self.sent / self.case.nodes / self.payload

    @property
    def processor_a_client(self) -> float:
        """Seconds of processor of all processes of a node."""
        return self.cpu.get("client", 0.0) / self.case.nodes

    @property
    def processor_a_gib(self) -> float:
        """Seconds of processor of head and nodes together for each GiB that a node has got."""
        spent = sum(self.cpu.get(kind, 0.0) for kind in ("master", "worker", "client"))
        return spent / (self.payload * self.case.nodes / (1 << 30))

    def others(self, processors: int) -> float:
        """Share of all processors that other programs used meanwhile; 0 if that is not known."""
        if not self.total:
            return 0.0
        return max(0.0, self.busy - (sum(self.cpu.values()) + self.softirq) / (self.total * processors))

    def times(self) -> list[float]:
        """Seconds of the ordinary nodes that were done, sorted."""
        return sorted(taken for node in self.case.ordinary if (taken := self.seconds[node]) is not None)

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, values: dict[str, Any]) -> Self:
        shares = Shares(**values["shares"]) if values["shares"] else None
        return cls(**{**values, "case": Case(**values["case"]), "shares": shares})


def failed(case: Case, why: str) -> Result:
    """The result of a case that never got to run."""
    return Result(case, [None] * case.nodes, None, 1, failures=[why])
