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

BUSY_LIMIT = 0.9
"""A run in which the processors were busier than this says how fast they are, not how good the tool is."""


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement. `nodes` counts receivers; the head comes on top."""

    tool: str
    nodes: int
    rate: int
    """Bits per second of every link, in each direction."""
    size: int
    """Bytes of the payload when it is one file."""
    files: int = 0
    """Files in the payload when it is a tree; 0 is one file."""
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
    def condition(self) -> str:
        """What makes this case other than the plain one; empty for that."""
        said = [f"every {self.every:g} s"] if self.every else []
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

    def plain(self) -> Case:
        """The same without any special condition."""
        return replace(self, every=0.0, slow=False, loss="", loss_after=0.0)


@dataclass(frozen=True, slots=True)
class Result:
    """What a case gave. Seconds count from the node's own start to the end of its client command."""

    case: Case
    seconds: list[float | None]
    """One a node; None where it was not done in time, or was lost."""
    total: float | None
    """Seconds from the first start until the last node that was not lost was done."""
    payload: int
    """Bytes of content."""
    head_sent: int = 0
    """Bytes that left the head's link meanwhile, all headers included."""
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
    failures: list[str] = field(default_factory=list)
    version: str = ""

    @property
    def valid(self) -> bool:
        """Everybody has everything, and the processors were not what limited it."""
        return not self.failures and self.total is not None and self.busy <= BUSY_LIMIT

    @property
    def copies(self) -> float:
        """How often the head sent the payload, headers counted."""
        return self.head_sent / self.payload

    def times(self) -> list[float]:
        """Seconds of the ordinary nodes that were done, sorted."""
        return sorted(taken for node in self.case.ordinary if (taken := self.seconds[node]) is not None)

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, values: dict[str, Any]) -> Self:
        return cls(**{**values, "case": Case(**values["case"])})


def failed(case: Case, why: str) -> Result:
    """The result of a case that never got to run."""
    return Result(case, [None] * case.nodes, None, 1, failures=[why])
