"""Checks what a run left: the rules that every honest client must keep, whatever happened around it.

Each check returns lines; each begins with its kind: exact, status, wrong byte, left, silent, late, log, or bench (the
bench itself failed). `Observed` is what they look at: one for each run of a client.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from test.faults.case import ENDS, FOLLOWS
from test.faults.fault import MASTER, Struck
from test.faults.run import DEADLINE, Run
from test.faults.table import FAULTS
from test.support.trees import differences
from xget_lib.errors import Exit

SILENCE = 10.0
"""Seconds of waiting within which something must be said."""
_SLACK = 3.0
"""Seconds that a busy machine may add."""
_APART = 60.0
"""Seconds within which one line is enough."""
_KNOWS = 1.0
"""Seconds after which two clients know of each other, and of what they hold."""


@dataclass(frozen=True)
class Observed:
    """What is known of one run of a client. Times are seconds since the epoch."""

    name: str
    timeout: float
    started: float
    ended: float | None
    status: int | None
    events: Sequence[dict[str, Any]]
    said: str
    """Its stderr."""
    dest: Path
    tampered: frozenset[str] = frozenset()
    """Paths in the destination that a fault changed."""
    lingers: bool = False
    """Whether it serves when it has everything,"""
    follows: bool = False
    """and fetches what is new."""
    sets_owners: bool = True
    """Whether it runs as root."""

    @property
    def client(self) -> str:
        """The name in the case: a repeated run has the same."""
        return self.name.removesuffix("-again")

    @property
    def again(self) -> bool:
        return self.name != self.client

    @property
    def knew(self) -> float | None:
        """When it knew what there is to download."""
        return next((event["time"] for event in self.events if event["event"] == "start"), None)

    @property
    def began(self) -> float:
        """When its clock began to run: on a busy machine the interpreter takes seconds to start."""
        done = [event["time"] - event["seconds"] for event in self.events if event["event"] == "done"]
        return float(max([self.started, *done]))

    @property
    def last_fetched(self) -> float:
        """When content came last."""
        last, fetched = self.started, 0
        for event in self.events:
            if event["event"] == "progress" and event["fetched"] > fetched:
                last, fetched = event["time"], event["fetched"]
        return last


@dataclass(frozen=True)
class Facts:
    """What happened around the clients."""

    struck: Sequence[Struck] = ()
    clients: Sequence[Observed] = field(default_factory=tuple)

    def of(self, observed: Observed, *, exempt: bool = False) -> list[Struck]:
        """The strikes of this client itself. What ended its first run is none of the second."""
        return [
            each
            for each in self.struck
            if each.strike.target == observed.client
            and (FAULTS[each.strike.fault].exempt or not exempt)
            and each.overlaps(observed.started, observed.ended or float("inf"))
            and not (observed.again and each.began < observed.started and FAULTS[each.strike.fault].ends)
        ]


# (1) A client with status 0 has what the master served when it started, or later.


def exact(observed: Observed, states: Sequence[Path]) -> list[str]:
    """`states`: those that the served directory had when the client started, or later."""
    if observed.status != 0:
        return []
    found: list[str] = []
    for state in reversed(states):
        # An update that goes on, or whose master was lost, keeps what it has fetched for the next one.
        unfinished = observed.follows and (observed.dest / ".xget").is_dir()
        is_there = observed.dest.is_dir()
        found = differences(state, observed.dest, unfinished=unfinished) if is_there else ["it is not there"]
        if not observed.sets_owners:
            found = [each for each in found if not each.startswith(("user of", "group of"))]
        if not found:
            return []
    return [f"exact: {observed.name} ended with 0, and differs: {', '.join(found[:4])}"]


def _spoiled_later(observed: Observed, struck: Iterable[Struck]) -> bool:
    """Whether a fault has changed the destination when the client had fetched everything, so that it need not know."""
    return any(
        FAULTS[each.strike.fault].spoils_dest
        and each.hit
        and each.strike.target == observed.client
        and each.began > observed.last_fetched
        for each in struck
    )


# (2) Any other status is true, and there is none where the bytes could be had.


def status(observed: Observed, facts: Facts) -> list[str]:
    if observed.status in (0, None):
        return []
    if facts.of(observed, exempt=True):
        return []
    text = observed.said.strip().replace("\n", " | ")[-300:]
    assert observed.ended is not None
    reasons = [
        each
        for each in facts.struck
        if each.overlaps(observed.started, observed.ended) and _excuses(each, observed, observed.ended)
    ]
    if "internal error" in observed.said:
        return [f"status: {observed.name} ended with an error in itself: {text}"]
    if not reasons:
        unknown = "" if observed.status in set(Exit) else ", which no table has,"
        return [f"status: {observed.name} ended with {observed.status}{unknown} without a reason: {text}"]
    if observed.status == 3 and (holder := _reachable_holder(observed, facts, reasons)):
        return [f"status: {observed.name} ended with 3, but {holder} had everything: {text}"]
    return []


def _excuses(struck: Struck, observed: Observed, ended: float) -> bool:
    fault = FAULTS[struck.strike.fault]
    concerns = fault.excuse.everywhere or struck.strike.target in (observed.client, MASTER)
    long_enough = not fault.excuse.longer_than_timeout or struck.lasted(ended) >= observed.timeout - 1
    return bool(concerns and long_enough and fault.excuse.covers(observed.status or 0, observed.said))


def _reachable_holder(observed: Observed, facts: Facts, reasons: Sequence[Struck]) -> str | None:
    """A client that had everything and served it while this one waited in vain, and that it knew."""
    if any(each.strike.target != MASTER for each in reasons) or facts.of(observed) or observed.knew is None:
        return None
    hidden = min(each.began for each in reasons)
    for other in facts.clients:
        if other.name == observed.name or not other.lingers or other.status != 0 or facts.of(other):
            continue
        assert other.ended is not None and observed.ended is not None
        knew_each_other = max(observed.knew, other.knew or hidden) + _KNOWS < hidden
        if knew_each_other and other.ended + _KNOWS < observed.ended - observed.timeout:
            return other.name
    return None


# (3) No wrong byte is under a final name, whatever the status.


def wrong_bytes(observed: Observed, states: Sequence[Path], before: Path | None = None) -> list[str]:
    """`states`: all that the directory ever had. `before`: a copy of what was in the destination before."""
    known: dict[str, set[bytes]] = {}
    for state in [*states, *([before] if before else [])]:
        for path, digest in _contents(state):
            known.setdefault(path, set()).add(digest)
    wrong = [
        path
        for path, digest in _contents(observed.dest)
        if digest not in known.get(path, ()) and path not in observed.tampered
    ]
    return [f"wrong byte: {observed.name} (status {observed.status}) has {', '.join(wrong[:4])}"] if wrong else []


def _contents(root: Path) -> Iterable[tuple[str, bytes]]:
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink() and ".xget" not in path.relative_to(root).parts:
            yield os.path.relpath(path, root), hashlib.sha1(path.read_bytes()).digest()


# (5) A client that waits says so.


def silent(observed: Observed, until: float) -> list[str]:
    """`until`: when it ended, or the run did."""
    said = [event["time"] for event in observed.events if event["event"] in ("stall", "error", "done")]
    moments = [observed.began]
    fetched = -1
    for event in observed.events:
        moved = event["event"] != "progress" or event["fetched"] > fetched
        if event["event"] == "progress":
            fetched = max(fetched, event["fetched"])
        if moved and event["event"] not in ("stall", "error"):
            moments.append(event["time"])
    moments.append(until)
    for begin, end in pairwise(moments):
        if end - begin > SILENCE + _SLACK and not any(
            begin - _APART < moment <= begin + SILENCE + _SLACK for moment in said
        ):
            return [f"silent: {observed.name} made no progress for {end - begin:.0f} s, and did not say so"]
    return []


# (6) How late.


def lateness(observed: Observed, usual: float, healed: float) -> float | None:
    """Seconds later than without faults, since the last fault ended. None for a client that has not ended."""
    return None if observed.ended is None else observed.ended - max(observed.started, healed) - usual


# (7) An ordinary failure is one line in the log.

_ERROR = re.compile(r": (xget_lib\.errors\.|\w*Error\b|\w*Exception\b)")


def tracebacks(logs: Path) -> list[str]:
    """In the logs of masters and clients."""
    found = []
    for path in sorted(logs.glob("[mn]*.log")):
        lines = path.read_text(errors="replace").splitlines()
        begins = next((number for number, line in enumerate(lines) if "Traceback (most recent" in line), None)
        if begins is not None:
            last = next((line for line in lines[begins:] if _ERROR.search(line)), "")
            found.append(f"log: a traceback in {path.name}: {last[-200:]}")
    return found


# All of them.


def judge(run: Run) -> tuple[list[str], float]:
    """The problems of a run, and how late the latest honest client was."""
    clients = [
        Observed(
            node.name,
            node.case.timeout,
            node.started,
            node.ended,
            node.status if node.ended is not None else None,
            node.events,
            node.stderr,
            node.dest,
            frozenset(node.tampered),
            node.case.then != ENDS,
            node.case.then == FOLLOWS,
            "few processes" not in node.needs,
        )
        for node in run.nodes
        if node.started is not None
    ]
    facts = Facts(run.struck, clients)
    problems = [*run.problems, *tracebacks(run.base / "logs")]
    healed = max((each.over for each in run.struck if each.over is not None and each.hit), default=0.0)
    latest = 0.0
    for observed in clients:
        strikes = facts.of(observed)
        spoiled = bool(observed.tampered) or _spoiled_later(observed, run.struck)
        replaced = any(other.name == f"{observed.name}-again" for other in clients)
        if not spoiled and not replaced:
            problems += exact(observed, run.source.states_since(observed.started))
        problems += status(observed, facts)
        problems += wrong_bytes(observed, run.source.states, run.before.get(observed.client))
        if not facts.of(observed, exempt=True) and not any("pause" in each.strike.fault for each in strikes):
            problems += silent(observed, observed.ended or run.finished)
            usual = run.usual.get(observed.client)
            late = None if usual is None else lateness(observed, usual, healed)
            latest = max(latest, late or 0.0)
            if late is not None and usual is not None and late > usual + DEADLINE:
                problems.append(f"late: {observed.name} ended {late:.0f} s later than without faults ({usual:.1f} s)")
    return problems, latest
