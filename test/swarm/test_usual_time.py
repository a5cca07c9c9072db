"""What is usual is what most hosts see."""

from __future__ import annotations

import pytest

from xget_lib.swarm.usual_time import UsualTime


def test_before_any_sample_a_first_value_is_used_and_the_first_sample_replaces_it() -> None:
    usual = UsualTime(1.0)
    assert (usual.low, usual.known) == (1.0, False)
    usual.add("a", 0.2)
    assert usual.known
    assert usual.low == usual.high == pytest.approx(0.2)


@pytest.mark.parametrize("lie", [0.0, 1000.0])
def test_a_third_of_the_hosts_cannot_change_it(lie: float) -> None:
    usual = UsualTime(1.0)
    for _ in range(100):
        for host in range(10):
            usual.add(host, lie if host < 3 else 0.2)
    assert usual.low == pytest.approx(0.2)
    assert usual.high == pytest.approx(0.2)


def test_one_host_of_two_cannot_change_both_values() -> None:
    usual = UsualTime(1.0)
    for _ in range(10):
        usual.add("honest", 0.2)
        usual.add("liar", 0.0)
    assert usual.high == pytest.approx(0.2)
    slow = UsualTime(1.0)
    for _ in range(100):
        slow.add("honest", 0.2)
        slow.add("liar", 1000.0)
    assert slow.low == pytest.approx(0.2)


def test_it_follows_a_link_that_becomes_slower() -> None:
    usual = UsualTime(1.0)
    usual.add("a", 0.1)
    for _ in range(40):
        usual.add("a", 10.0)
    assert usual.low > 5


def test_hosts_that_get_nothing_any_more_are_forgotten() -> None:
    usual = UsualTime(1.0)
    for host in range(50):
        usual.add(f"former {host}", 100.0)
    for host in range(50):
        usual.add(host, 0.1)
    assert usual.low == pytest.approx(0.1)
