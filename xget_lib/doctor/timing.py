"""The clock of this machine, compared with that of the master."""

from __future__ import annotations

from typing import Any

from xget_lib.doctor.findings import Finding, note, ok, problem
from xget_lib.errors import Exit

_NOTED = 2.0
"""Seconds of difference that make logs hard to compare."""
_HARMFUL = 120.0
"""Seconds of difference with which a credential of MUNGE, which is good for some minutes, or a new certificate may be
refused."""


def clock(asked: float, answered: float, there: Any, *, strict: bool) -> Finding:
    """`asked` and `answered`: the time here before and after the master said its time, `there`, in seconds since 1970.
    Its time was somewhere between them. `strict`: whether the two use TLS or MUNGE, which need clocks that agree."""
    if isinstance(there, bool) or not isinstance(there, int | float) or not 0 <= there < 1e11:
        return note("clock", "the master does not say its time (is it of an older version?)")
    if answered < asked:
        return note("clock", "the clock of this machine was set back during the test", "run this command again")
    # The least difference that explains what was seen, and the most.
    least = max(asked - there, there - answered, 0.0)
    most = max(answered - there, there - asked)
    which = "ahead of" if there < asked else "behind"
    if least < _NOTED:
        return ok("clock", f"agrees with that of the master to {max(most, 0.001):.2g} s")
    what = f"the clock of this machine is {least:.3g} s {which} that of the master"
    if strict and least > _HARMFUL:
        advice = "set both clocks by NTP: chronyc tracking, timedatectl"
        return problem("clock", f"{what}: TLS and MUNGE need clocks that agree", advice, Exit.NOT_ADMITTED)
    return note("clock", what, "set both clocks by NTP; XGet itself compares no times of two machines")
