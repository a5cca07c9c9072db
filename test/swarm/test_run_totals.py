"""Counters over all runs: they only grow, and a byte counts once, whatever nodes come, go and come back."""

from __future__ import annotations

from dataclasses import replace

from xget_lib.swarm.messages import DONE, FAILED, Registration
from xget_lib.swarm.run_totals import RunTotals

NODE = Registration(40000, b"", 0)


def reported(*registrations: Registration) -> tuple[int, int]:
    totals = RunTotals()
    former = None
    for registration in registrations:
        totals.reported(former, registration)
        former = registration
    return totals.from_master, totals.from_nodes


def test_each_byte_of_a_run_counts_once() -> None:
    begun = replace(NODE, fetched=100, from_master=60)
    on = replace(NODE, fetched=300, from_master=80)
    assert reported(NODE, begun, on, on, replace(on, ended=DONE)) == (80, 220)


def test_another_run_of_the_same_node_counts_from_its_begin() -> None:
    ended = replace(NODE, fetched=100, from_master=60, ended=DONE)
    assert reported(ended, replace(NODE, fetched=500, from_master=1)) == (61, 40 + 499)


def test_a_run_that_was_begun_anew_before_the_former_one_had_ended_counts_too() -> None:
    assert reported(replace(NODE, fetched=100), replace(NODE, fetched=30)) == (0, 130)


def test_what_was_wrong_and_is_taken_back_does_not_turn_a_counter_back() -> None:
    assert reported(replace(NODE, fetched=100, from_master=60), replace(NODE, fetched=110, from_master=40)) == (60, 70)


def test_a_node_that_lies_makes_no_endless_numbers() -> None:
    huge = replace(NODE, fetched=(1 << 63) - 1, from_master=(1 << 63) - 1, ended=FAILED)
    totals = RunTotals()
    for _ in range(10):
        totals.reported(None, huge)
    assert totals.from_master <= 1 << 63


def test_more_from_the_master_than_was_fetched_does_not_count() -> None:
    assert reported(replace(NODE, fetched=10, from_master=1000)) == (10, 0)
