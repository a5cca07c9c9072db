"""Links and connections that break, are silent, slow, and heal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from test.faults.fault import Act, Excuse, Fault, Strike

if TYPE_CHECKING:
    from test.faults.hosts import Host
    from test.faults.run import Run


def _on_link(break_it: Callable[[Host], None], mend: Callable[[Host], None] | None = None) -> Act:
    def act(run: Run, strike: Strike) -> bool:
        host = run.host(strike.target)
        break_it(host)
        if mend is not None:
            run.wait(strike.seconds)
            mend(host)
        return True

    return act


def _refuse_neighbour(run: Run, strike: Strike) -> bool:
    """The client cannot reach the client after it."""
    names = [each.name for each in run.case.clients]
    other = names[(names.index(strike.target) + 1) % len(names)]
    run.host(strike.target).refuse(run.host(other), refused=True)
    run.wait(strike.seconds)
    run.host(strike.target).refuse(run.host(other), refused=False)
    return True


def _cut(run: Run, strike: Strike) -> bool:
    return run.node(strike.target).tell_relay("cut")


def _half_open(run: Run, strike: Strike) -> bool:
    node = run.node(strike.target)
    hit = node.tell_relay("hold")
    run.wait(strike.seconds)
    node.tell_relay("open")
    return hit


_UNREACHABLE = Excuse(frozenset((3,)), "cannot reach the master")
_OUTAGE = Excuse(frozenset((3,)), "cannot reach the master", longer_than_timeout=True)
_SLOW = 1.0
"""Megabits per second of a slow link."""

FAULTS = {
    "unplug": Fault(
        "the link is down, for good",
        _on_link(lambda host: host.plug(connected=False)),
        "any",
        excuse=_UNREACHABLE,
        hides_master=True,
    ),
    "unplug and plug": Fault(
        "the link is down for a while",
        _on_link(lambda host: host.plug(connected=False), lambda host: host.plug(connected=True)),
        "any",
        ends=True,
        weight=2,
        excuse=_OUTAGE,
        hides_master=True,
    ),
    "lose": Fault(
        "all packets are lost, for good",
        _on_link(lambda host: host.silence(silent=True)),
        "any",
        excuse=_UNREACHABLE,
        hides_master=True,
    ),
    "lose for a while": Fault(
        "all packets are lost for a while",
        _on_link(lambda host: host.silence(silent=True), lambda host: host.silence(silent=False)),
        "any",
        ends=True,
        weight=2,
        excuse=_OUTAGE,
        hides_master=True,
    ),
    "slow": Fault(
        "the link is slow for a while",
        _on_link(lambda host: host.limit(_SLOW), lambda host: host.limit()),
        "any",
        ends=True,
    ),
    "no route": Fault("a client cannot reach another one for a while", _refuse_neighbour, "client", ends=True),
    "cut": Fault("a client's connections to the master end", _cut, "client", ends=True, needs="relay", weight=2),
    "half-open": Fault(
        "nothing arrives from the master for a while, and its connections stay",
        _half_open,
        "client",
        ends=True,
        needs="relay",
        excuse=_OUTAGE,
        hides_master=True,
        weight=2,
    ),
}
