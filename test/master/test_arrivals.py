"""Which clients go on at once, and which scan the others wait for."""

from __future__ import annotations

import random

import pytest

from xget_lib.master.arrivals import Arrivals


def scanned() -> Arrivals[str]:
    """After a scan since which nothing has changed."""
    arrivals: Arrivals[str] = Arrivals()
    arrivals.scan_begun()
    arrivals.scan_ended()
    return arrivals


def test_a_client_waits_for_a_check_only_if_nothing_changed() -> None:
    arrivals = scanned()
    arrivals.arrived("a")
    assert (arrivals.check_wanted, arrivals.admit()) == (True, [])
    arrivals.check_begun()
    assert not arrivals.check_wanted
    arrivals.checked(changed=False)
    assert (arrivals.admit(), arrivals.admit(), arrivals.scan_wanted) == (["a"], [], False)


def test_clients_that_arrive_during_a_check_are_checked_together_afterwards() -> None:
    arrivals = scanned()
    arrivals.arrived("a")
    arrivals.check_begun()
    arrivals.arrived("b")
    arrivals.arrived("c")
    assert not arrivals.check_wanted
    arrivals.checked(changed=False)
    assert (arrivals.admit(), arrivals.check_wanted) == (["a"], True)
    arrivals.check_begun()
    arrivals.checked(changed=False)
    assert sorted(arrivals.admit()) == ["b", "c"]


def test_after_a_change_one_scan_is_enough_for_all_who_arrived_before_it_began() -> None:
    arrivals = scanned()
    arrivals.arrived("a")
    arrivals.check_begun()
    arrivals.checked(changed=True)
    assert (arrivals.scan_wanted, arrivals.admit()) == (True, [])
    arrivals.arrived("b")
    assert not arrivals.check_wanted, "something has changed: nothing has to be asked"
    arrivals.scan_begun()
    assert not arrivals.scan_wanted
    arrivals.scan_ended()
    assert sorted(arrivals.admit()) == ["a", "b"]


def test_who_arrives_during_a_scan_waits_for_it_and_for_no_other_if_nothing_changed() -> None:
    arrivals = scanned()
    arrivals.changed()
    arrivals.scan_begun()
    arrivals.arrived("a")
    arrivals.check_begun()
    arrivals.checked(changed=False)
    assert (arrivals.scan_wanted, arrivals.waiting) == (False, ["a"])
    arrivals.scan_ended()
    assert arrivals.admit() == ["a"]


def test_a_change_during_a_scan_is_found_by_the_next_one_only() -> None:
    arrivals = scanned()
    arrivals.changed()
    arrivals.scan_begun()
    arrivals.changed()
    arrivals.arrived("a")
    arrivals.scan_ended()
    assert (arrivals.admit(), arrivals.scan_wanted) == ([], True)
    arrivals.scan_begun()
    arrivals.scan_ended()
    assert arrivals.admit() == ["a"]


def test_before_the_first_scan_all_wait_for_it() -> None:
    arrivals: Arrivals[str] = Arrivals()
    arrivals.arrived("a")
    assert (arrivals.scan_wanted, arrivals.check_wanted) == (True, False)
    arrivals.scan_begun()
    arrivals.scan_ended()
    assert arrivals.admit() == ["a"]


def test_who_asks_for_a_scan_gets_one_that_begins_now() -> None:
    arrivals = scanned()
    arrivals.arrived_for_scan("reload")
    assert arrivals.scan_wanted
    arrivals.scan_begun()
    arrivals.arrived_for_scan("another")
    arrivals.scan_ended()
    assert arrivals.admit() == ["reload"]
    assert arrivals.scan_wanted


@pytest.mark.parametrize("step", range(4))
def test_who_leaves_is_forgotten_wherever_it_waits(step: int) -> None:
    arrivals = scanned()
    arrivals.arrived("a")
    arrivals.arrived("b")
    steps = (arrivals.check_begun, lambda: arrivals.checked(changed=True), arrivals.scan_begun, arrivals.scan_ended)
    for number, act in enumerate(steps):
        if number == step:
            arrivals.left("a")
        act()
    assert arrivals.admit() == ["b"]


def test_no_client_goes_on_with_a_state_from_before_its_arrival() -> None:
    """Whatever happens in whatever order: at random, with a master that does what it is asked for, some time."""
    for seed in range(300):
        rng = random.Random(seed)
        arrivals: Arrivals[int] = Arrivals()
        disk = 0  # when it changed last
        noticed = 0  # changes until then were reported
        seen = -1  # the state that the scan in progress, or the last one, found: everything until then
        published = -1
        scanning = False
        arrived: dict[int, int] = {}
        for now in range(1, 200):
            match rng.choice(("change", "report", "arrive", "check", "answer", "begin", "end")):
                case "change":
                    disk = now
                case "report" if disk > noticed:
                    noticed = now
                    arrivals.changed()
                case "arrive":
                    arrived[now] = disk
                    arrivals.arrived(now)
                case "check" if arrivals.check_wanted:
                    arrivals.check_begun()
                case "answer" if arrivals._checking is not None:
                    arrivals.checked(changed=disk > noticed)
                    noticed = now
                case "begin" if not scanning:
                    arrivals.scan_begun()
                    scanning, seen = True, disk
                case "end" if scanning:
                    scanning, published = False, seen
                    arrivals.scan_ended()
            for ready in arrivals.admit():
                assert published >= arrived.pop(ready), (seed, ready)
        if arrivals.check_wanted:
            arrivals.changed()
        arrivals.checked(changed=True)
        for _ in range(2):
            if not scanning:
                arrivals.scan_begun()
            scanning = False
            arrivals.scan_ended()
        assert sorted(arrivals.admit()) == sorted(arrived), "nobody waits for ever"
