"""Limits of bytes per second, by an explicit clock: exact to 5 %, for one process and for several."""

from __future__ import annotations

import random

import pytest

from xget_lib.net.rate_limit import PORTION_LEAST, PORTION_MOST, SharedBucket, TokenBucket, portion

MIB = 1 << 20
SECONDS = 30.0
RATES = [16 * 1024, MIB, 100 * MIB, 1000 * MIB]


def taken_by_one(rate: float, late: float, chance: random.Random) -> float:
    """Bytes per second of one process that always has something to send, and wakes up late by so many seconds."""
    bucket, now, taken = TokenBucket(rate, 0.0), 0.0, 0
    while now < SECONDS:
        delay = bucket.delay(now)
        if delay:
            now += delay + chance.uniform(0, late)
        else:
            count = chance.randint(1, bucket.portion)
            bucket.take(count)
            taken += count
            now += chance.uniform(0, late / 100)
    return taken / now


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("late", [0.0001, 0.02])
def test_the_rate_is_met_to_5_per_cent_also_by_who_wakes_up_late(rate: float, late: float) -> None:
    assert taken_by_one(rate, late, random.Random(7)) == pytest.approx(rate, rel=0.05)


@pytest.mark.parametrize("rate", RATES[1:])
@pytest.mark.parametrize("busy", [1, 2, 8])
def test_processes_share_the_rate_whoever_is_idle(rate: float, busy: int) -> None:
    """Of 8 processes some are busy: together they send at the rate, and each about the same."""
    chance = random.Random(busy)
    shared = SharedBucket(rate, 8)
    copies = [copy_of(shared) for _ in range(8)]
    taken = [0] * busy
    wakes = [0.0] * busy
    while (now := min(wakes)) < SECONDS / 4:
        process = wakes.index(now)
        delay = copies[process].delay(process, now)
        if delay:
            wakes[process] += delay + chance.uniform(0, 0.002)
        else:
            copies[process].take(process, shared.portion)
            taken[process] += shared.portion
            wakes[process] += 0.0001
    assert sum(taken) / (SECONDS / 4) == pytest.approx(rate, rel=0.05)
    assert max(taken) < 1.5 * min(taken)


def copy_of(shared: SharedBucket) -> SharedBucket:
    """What a process has after a fork: its own attributes, and the same memory."""
    made = object.__new__(SharedBucket)
    made.__dict__.update(shared.__dict__)
    return made


def test_who_was_idle_for_long_neither_saves_up_nor_pays_for_the_others() -> None:
    shared = SharedBucket(MIB, 2)
    one, other = copy_of(shared), copy_of(shared)
    assert other.delay(1, 0.0) > 0
    now = 0.0
    while now < 10:
        delay = one.delay(0, now)
        if delay:
            now += delay
        else:
            one.take(0, shared.portion)
    assert other.delay(1, 10.0) < 0.6
    assert other.delay(1, 20.0) == 0
    other.take(1, MIB)
    assert other.delay(1, 20.0) == pytest.approx(0.5, abs=0.01), "half a second was kept"


def test_a_large_send_is_paid_for_afterwards() -> None:
    bucket = TokenBucket(MIB, 0.0)
    assert bucket.delay(0.0) > 0, "it begins empty"
    assert bucket.delay(0.01) == 0
    bucket.take(2 * MIB)
    assert bucket.delay(0.01) == pytest.approx(1.99, abs=0.001)


def test_a_clock_that_goes_back_makes_no_tokens() -> None:
    bucket = TokenBucket(MIB, 10.0)
    assert bucket.delay(5.0) > 0
    assert bucket.delay(10.0) > 0
    assert bucket.delay(11.0) == 0


def test_the_portion_has_bounds() -> None:
    assert [portion(rate) for rate in (1, 1_000_000, 1e15)] == [PORTION_LEAST, 20_000, PORTION_MOST]
