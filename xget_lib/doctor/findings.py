"""What `xget doctor` finds: one line each, for people or as JSON, and the exit status of all together."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import gevent

from xget_lib.errors import Exit
from xget_lib.net.blocking import in_thread
from xget_lib.report.events import counted

OK, NOTE, PROBLEM = "ok", "note", "problem"
"""As it should be; worth knowing; a run would fail, or be much slower than it can."""
_ORDER = (Exit.USAGE, Exit.UNREACHABLE, Exit.NOT_ADMITTED, Exit.UNVERIFIED, Exit.DESTINATION)
"""In which a client would meet them. Then all others."""

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Finding:
    """One thing that was examined."""

    check: str
    """What, in a word or two."""
    result: str
    """OK, NOTE or PROBLEM."""
    what: str
    advice: str = ""
    """What to do. Each problem has one."""
    exit: Exit = Exit.OK
    """Of a problem: the status with which a run would end."""

    @property
    def line(self) -> str:
        advice = f" ({self.advice})" if self.advice else ""
        result = self.result.upper() if self.result == PROBLEM else self.result
        return f"{result:<7}  {self.check:<12}  {self.what}{advice}"

    def as_json(self) -> str:
        facts: dict[str, str | int] = {"check": self.check, "result": self.result, "what": self.what}
        if self.advice:
            facts["do"] = self.advice
        if self.result == PROBLEM:
            facts["exit"] = int(self.exit)
        return json.dumps(facts)


def ok(check: str, what: str) -> Finding:
    return Finding(check, OK, what)


def note(check: str, what: str, advice: str = "") -> Finding:
    return Finding(check, NOTE, what, advice)


def problem(check: str, what: str, advice: str, exit_status: Exit = Exit.FAILED) -> Finding:
    return Finding(check, PROBLEM, what, advice, exit_status)


def exit_status(findings: Sequence[Finding]) -> Exit:
    """That with which a run would end, as far as is known: of the first problem that it would meet."""
    found = {finding.exit for finding in findings if finding.result == PROBLEM}
    if not found:
        return Exit.OK
    return next((status for status in _ORDER if status in found), Exit.FAILED)


def summary(findings: Sequence[Finding]) -> str:
    """How many there are of each kind."""
    counts = {result: sum(finding.result == result for finding in findings) for result in (PROBLEM, NOTE, OK)}
    return f"{counted(counts[PROBLEM], 'problem')}, {counted(counts[NOTE], 'note')}, {counts[OK]} ok"


def summary_as_json(findings: Sequence[Finding]) -> str:
    counts = {f"{result}s": sum(finding.result == result for finding in findings) for result in (PROBLEM, NOTE)}
    return json.dumps({"exit": int(exit_status(findings)), **counts, "ok": len(findings) - sum(counts.values())})


def within(seconds: float, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """What a function returns that may block for ever, as calls do on a network file system whose server is gone. It is
    called in a thread. Raises TimeoutError after so many seconds; then the thread goes on, and ends with the process.
    """
    with gevent.Timeout(seconds, TimeoutError()):
        return in_thread(function, *arguments, **named)
