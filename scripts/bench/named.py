"""The measurements that have a name (`--case`), and how they become cases.

A *measurement* is one payload over one kind of network, for some numbers of nodes and some tools. `--case` chooses it
by name; options such as `--nodes` and `--size` then change it, so that each can be tried at a small size first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .cases import LARGEST, SMALLEST, Case, Loss
from .payload import expected_size
from .roster import TOOLS
from .tools import Nginx, Rsync, XGet

_MIB, _GIB = 1 << 20, 1 << 30
_MBIT, _GBIT = 10**6, 10**9
UNSHAPED = 0

Condition = tuple[float, bool, Loss]
"""Seconds between two starts, whether one link is slow, what happens to a quarter of the nodes."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is measured, in the words of `Case`; tuples are measured one after the other."""

    what: str = ""
    rates: tuple[int, ...] = (25 * _MBIT,)
    nodes: tuple[int, ...] = (16,)
    size: int = 128 * _MIB
    files: int = 0
    smallest: int = SMALLEST
    largest: int = LARGEST
    compressible: bool = False
    changed: int = 0
    latencies: tuple[float, ...] = (0.0,)
    processes: tuple[int, ...] = (0,)
    against: tuple[str, ...] = ()
    """The other tools that would be considered for this."""
    unit: str = Nginx.name
    """The tool whose time is 1.0: with one node, and for `nginx` with one file as large as the payload."""

    def groups(self) -> Iterator[Case]:
        """One case for each payload and network: for one node, without a tool."""
        for rate in self.rates:
            for latency in self.latencies:
                yield Case(
                    tool="",
                    nodes=1,
                    rate=rate,
                    size=self.size,
                    files=self.files,
                    smallest=self.smallest,
                    largest=self.largest,
                    compressible=self.compressible,
                    changed=min(self.changed, self.files),
                    latency=latency,
                    limit=0.0,
                )

    def unit_of(self, group: Case) -> Case:
        """The case whose time is the unit of a group."""
        size = expected_size(group)
        limit = 60 + (4 * size * 8 / group.rate if group.rate else group.head_limit)
        if self.unit == Nginx.name:
            group = replace(group, size=size, files=0, compressible=False, changed=0)
        return replace(group, tool=self.unit, limit=limit)

    def cases(
        self, group: Case, unit: float, tools: Sequence[str], conditions: Sequence[Condition], limit: float
    ) -> Iterator[Case]:
        """The cases of a group, without those that a tool does not support. `unit` and `limit` (0 is automatic) are
        seconds."""
        for nodes in self.nodes:
            for every, slow, loss in conditions:
                for tool in tools:
                    one_after_the_other = nodes if tool in (Nginx.name, Rsync.name) else 10
                    automatic = 60 + unit * one_after_the_other * 1.5 + every * nodes
                    case = replace(
                        group,
                        tool=tool,
                        nodes=nodes,
                        every=every,
                        slow=slow and nodes > 1,
                        loss=loss if nodes > 1 else "",
                        loss_after=unit / 2 if loss else 0.0,
                        limit=limit or automatic + (0 if group.rate else group.head_limit),
                    )
                    for processes in self.processes:
                        if _supported(case) and (TOOLS[tool].scales or not any(self.processes)):
                            yield replace(case, processes=processes)


def _supported(case: Case) -> bool:
    tool = TOOLS[case.tool]
    return not (
        (tool.needs_all and case.every)
        or (tool.needs_rate and not case.rate)
        or (case.changed and (not tool.updates or case.loss))
    )


_FAST = Measurement(rates=(_GBIT,), nodes=(1, 2), size=64 * _MIB, against=("rsync", "aria2"))
_LARGE = Measurement(rates=(UNSHAPED,), nodes=(1,), size=_GIB, against=("rsync", "aria2"))
_TREE = Measurement(files=5000, rates=(50 * _MBIT,), nodes=(8,))
_MANY = Measurement(
    files=500_000, smallest=1 << 10, largest=16 << 10, size=0, rates=(UNSHAPED,), nodes=(1,), unit=Rsync.name
)
_PEERS = ("aria2", "libtorrent", "udpcast", "uftp")

NAMED = {
    "image": Measurement(
        "64 MiB at 25 Mbit/s, to 4, 16 and 32 nodes", nodes=(4, 16, 32), size=64 * _MIB, against=_PEERS
    ),
    "gigabit": replace(_FAST, what="64 MiB at 1 Gbit/s, to 1 and 2 nodes"),
    "gigabit-large": replace(_FAST, what="1 GiB at 1 Gbit/s, to 1 and 2 nodes", size=_GIB),
    "10gbit": replace(_FAST, what="1 GiB at 10 Gbit/s, to 1 and 2 nodes", size=_GIB, rates=(10 * _GBIT,)),
    "unshaped": replace(_LARGE, what="1 GiB without a limit"),
    "processes": replace(
        _LARGE, what="1 GiB without a limit, with 1, 2 and 4 processes", processes=(1, 2, 4), against=()
    ),
    "start": Measurement(
        "10 KiB without a limit, and with a latency of 10 ms",
        rates=(UNSHAPED,),
        nodes=(1,),
        size=10 << 10,
        latencies=(0.0, 0.01),
        against=("rsync",),
    ),
    "latency": Measurement(
        "64 MiB at 25 Mbit/s, to 16 nodes, with latencies of 1, 10 and 20 ms",
        size=64 * _MIB,
        latencies=(0.0, 0.001, 0.01, 0.02),
        against=("aria2", "uftp"),
    ),
    "tree": replace(_TREE, what="5,000 files at 50 Mbit/s, to 8 nodes", against=("rsync", *_PEERS)),
    "compressible": replace(
        _TREE,
        what="the same with content that compresses 2:1",
        compressible=True,
        against=("rsync-z", "aria2", "udpcast"),
    ),
    "small-files": replace(_MANY, what="500,000 small files without a limit; 1.0 is rsync"),
    "update": replace(
        _MANY,
        what="10 MB have changed in 2 GB; 1.0 is rsync",
        files=40_000,
        changed=200,
        smallest=4 << 10,
        largest=94 << 10,
    ),
    "update-many": replace(_MANY, what="10 MB have changed in 500,000 small files; 1.0 is rsync", changed=1_150),
    "update-one": replace(_MANY, what="one of 500,000 small files has changed; 1.0 is rsync", changed=1),
}
assert {name for one in NAMED.values() for name in one.against} <= TOOLS.keys() - {XGet.name}
