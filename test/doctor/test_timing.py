"""The clocks of two machines, from what one has seen."""

from __future__ import annotations

import pytest

from xget_lib.doctor.timing import clock
from xget_lib.errors import Exit

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (NOW + 0.2, "agrees with that of the master to 0.3 s"),
        (NOW + 1.9, "agrees with that of the master to 1.9 s"),
        (NOW + 10.5, "the clock of this machine is 10 s behind that of the master"),
        (NOW - 10, "the clock of this machine is 10 s ahead of that of the master"),
    ],
)
def test_a_difference_counts_only_as_far_as_it_is_certain(there: float, words: str) -> None:
    """The answer took half a second: the master's clock was read at any moment in it."""
    found = clock(NOW, NOW + 0.5, there, strict=False)
    assert found.what == words
    assert found.result == ("ok" if "agrees" in words else "note")


def test_a_large_difference_is_a_problem_where_proofs_depend_on_clocks() -> None:
    assert clock(NOW, NOW + 0.1, NOW + 500, strict=False).result == "note"
    found = clock(NOW, NOW + 0.1, NOW + 500, strict=True)
    assert (found.result, found.exit) == ("problem", Exit.NOT_ADMITTED)
    assert clock(NOW, NOW + 0.1, NOW + 60, strict=True).result == "note"


@pytest.mark.parametrize("there", [None, "noon", True, -1, 1e300, [1]])
def test_a_master_that_says_no_time_is_no_problem(there: object) -> None:
    found = clock(NOW, NOW + 1, there, strict=True)
    assert (found.result, found.what) == ("note", "the master does not say its time (is it of an older version?)")


def test_a_clock_that_was_set_back_meanwhile_says_nothing() -> None:
    assert "set back" in clock(NOW, NOW - 100, NOW, strict=True).what
