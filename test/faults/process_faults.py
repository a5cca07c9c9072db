"""Processes that die, stop, go on and are started again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from test.faults.fault import MASTER, Act, Excuse, Fault, Strike

if TYPE_CHECKING:
    from test.faults.run import Run

KILL, STOP, GO, TERM, INT = signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT, signal.SIGTERM, signal.SIGINT

Pids = Callable[["Run", Strike], Iterable[int]]


def signal_all(pids: Iterable[int], number: signal.Signals) -> bool:
    """Whether there was one."""
    found = False
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            found = True
    return found


def _master(run: Run, strike: Strike) -> list[int]:
    return run.master.pids()


def _worker(run: Run, strike: Strike) -> list[int]:
    return run.master.workers()[:1]


def _nursery(run: Run, strike: Strike) -> list[int]:
    return run.master.nursery()


def _foreground(run: Run, strike: Strike) -> list[int]:
    return run.node(strike.target).foreground()


def _background(run: Run, strike: Strike) -> list[int]:
    return run.node(strike.target).background()


def _send(pids: Pids, number: signal.Signals) -> Act:
    return lambda run, strike: signal_all(pids(run, strike), number)


def _stop(pids: Pids) -> Act:
    def act(run: Run, strike: Strike) -> bool:
        stopped = list(pids(run, strike))
        hit = signal_all(stopped, STOP)
        if hit:
            run.wait(strike.seconds)
        signal_all(stopped, GO)
        return hit

    return act


def _restart_master(number: signal.Signals, before: Callable[[Run], object] = lambda run: None) -> Act:
    def act(run: Run, strike: Strike) -> bool:
        with run.master.restarting:
            run.master.end(number)
            run.source.show()
            before(run)
            run.wait(strike.seconds)
            run.master.start(run.source.path)
            run.master.wait_until_it_serves(unless=run.master_was_lost)
        return True

    return act


def _restart_without_directory(run: Run, strike: Strike) -> bool:
    with run.master.restarting:
        run.master.end(KILL)
        run.source.hide()
        run.wait(strike.seconds)
        run.master.start(run.source.path)
    return True


def _change_some(run: Run) -> None:
    for kind in ("replace", "add", "remove"):
        run.source.change(kind)


def _restart_client(pids: Pids, number: signal.Signals) -> Act:
    """Ends a client, and then runs it again."""

    def act(run: Run, strike: Strike) -> bool:
        node = run.node(strike.target)
        hit = signal_all(pids(run, strike), number)
        if hit:
            run.wait(min(strike.seconds, 2.0))
            node.wait_until_ended()
            run.start_again(node)
        return hit

    return act


_UNREACHABLE = Excuse(frozenset((3,)), "cannot reach the master", everywhere=True)
_OUTAGE = Excuse(frozenset((3,)), "cannot reach the master", everywhere=True, longer_than_timeout=True)
_KILLED = Excuse(frozenset((1,)), "download process: killed by SIGKILL")
_INTERRUPTED = Excuse(frozenset((130, 143, -INT, -TERM)))  # by the signal itself: it had not begun to handle it


def _outage(does: str, act: Act, weight: float = 1.0) -> Fault:
    """The master does not answer for a while."""
    return Fault(does, act, MASTER, ends=True, excuse=_OUTAGE, hides_master=True, weight=weight)


def _lost(does: str, act: Act) -> Fault:
    """The master does not answer any more."""
    return Fault(does, act, MASTER, excuse=_UNREACHABLE, hides_master=True)


def _everybody(run: Run, strike: Strike) -> list[int]:
    return run.master.everybody()


def _serve_another(run: Run) -> None:
    run.source.another()


FAULTS = {
    "kill master": _lost("SIGKILL", _send(_master, KILL)),
    "stop master": _lost("SIGSTOP", _send(_master, STOP)),
    "kill nursery": _lost("SIGKILL: the master ends", _send(_nursery, KILL)),
    "restart master, no directory": _lost("SIGKILL; a new one finds no directory", _restart_without_directory),
    "restart master": _outage("SIGKILL, and later a new one", _restart_master(KILL), 2),
    "terminate and restart master": _outage("SIGTERM, and later a new one", _restart_master(TERM)),
    "restart master, changed": _outage("the same, and files were changed", _restart_master(KILL, _change_some)),
    "restart master, another directory": _outage("it serves another directory", _restart_master(KILL, _serve_another)),
    "pause master": _outage("SIGSTOP, and later SIGCONT", _stop(_master), 2),
    "pause master and workers": _outage("as a host that hangs for a while", _stop(_everybody)),
    "kill worker": Fault("SIGKILL", _send(_worker, KILL), MASTER),
    "stop worker": Fault("SIGSTOP", _send(_worker, STOP), MASTER),
    "pause worker": Fault("SIGSTOP, and later SIGCONT", _stop(_worker), MASTER, ends=True),
    "kill client": Fault("SIGKILL to its foreground half", _send(_foreground, KILL), "client", exempt=True),
    "stop client": Fault("SIGSTOP to its foreground half", _send(_foreground, STOP), "client", exempt=True),
    "pause client": Fault("SIGSTOP to its foreground half, and later SIGCONT", _stop(_foreground), "client", ends=True),
    "kill download": Fault("SIGKILL to its background half", _send(_background, KILL), "client", excuse=_KILLED),
    "stop download": Fault("SIGSTOP to its background half", _send(_background, STOP), "client", exempt=True, weight=2),
    "pause download": Fault("the same, and later SIGCONT", _stop(_background), "client", ends=True, weight=2),
    "interrupt client": Fault("SIGINT", _send(_foreground, INT), "client", excuse=_INTERRUPTED),
    "terminate client": Fault("SIGTERM", _send(_foreground, TERM), "client", excuse=_INTERRUPTED),
    "kill and repeat client": Fault(
        "SIGKILL to its foreground half, and the same command again",
        _restart_client(_foreground, KILL),
        "client",
        ends=True,
        exempt=True,
    ),
    "kill and repeat download": Fault(
        "SIGKILL to its background half, and the same command again",
        _restart_client(_background, KILL),
        "client",
        ends=True,
        excuse=_KILLED,
    ),
}
