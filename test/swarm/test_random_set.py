"""The random set: a set in every respect, and each member is picked as often as any other."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xget_lib.swarm.random_set import RandomSet


def filled(count: int) -> RandomSet[int]:
    made: RandomSet[int] = RandomSet()
    for member in range(count):
        made.add(member)
    return made


@given(st.lists(st.integers(0, 9)))
def test_members_that_come_and_go_leave_what_a_set_would_hold(members: list[int]) -> None:
    tested: RandomSet[int] = RandomSet()
    expected: set[int] = set()
    for member in members:
        if member in expected:
            tested.remove(member)
        else:
            tested.add(member)
        expected ^= {member}
        assert len(tested) == len(expected)
        assert set(tested.sample(100, Random(1))) == expected
        assert all((each in tested) == (each in expected) for each in range(10))


def test_a_member_that_is_not_there_cannot_be_removed() -> None:
    tested = filled(2)
    with pytest.raises(KeyError):
        tested.remove(5)
    assert len(tested) == 2


def test_a_sample_has_as_many_different_members_as_asked_for() -> None:
    assert len(set(filled(10).sample(4, Random(1)))) == 4


def test_every_member_is_chosen_about_equally_often() -> None:
    tested, source = filled(5), Random(1)
    chosen = Counter(tested.choose(source) for _ in range(5000))
    assert sorted(chosen) == [0, 1, 2, 3, 4]
    assert min(chosen.values()) > 850
