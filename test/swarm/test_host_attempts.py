"""How often a node connects to a host that does not answer."""

from __future__ import annotations

from random import Random

from xget_lib.swarm.host_attempts import FIRST_REST, LONGEST_REST, TRIES, HostAttempts


def tries(attempts: HostAttempts, begin: int, end: int, address: str = "10.0.0.9") -> list[int]:
    """When a connection is made to a host that never answers, if somebody wants one each second."""
    found = []
    for now in range(begin, end):
        if attempts.may_try(address, now):
            attempts.tried(address, now)
            found.append(now)
    return found


def test_a_host_that_does_not_answer_is_tried_a_few_times_and_then_after_growing_pauses() -> None:
    tried = tries(HostAttempts(Random(1)), 0, 3600)
    assert tried[:TRIES] == list(range(TRIES))
    pauses = [later - earlier for earlier, later in zip(tried[TRIES - 1 :], tried[TRIES:], strict=False)]
    assert FIRST_REST / 2 <= pauses[0] <= FIRST_REST + 1
    assert LONGEST_REST / 2 <= pauses[-1] <= LONGEST_REST + 1
    assert len(pauses) < 16


def test_all_addresses_of_a_host_count_together_and_other_hosts_do_not() -> None:
    attempts = HostAttempts(Random(1))
    for number in range(TRIES):
        attempts.tried(f"2001:db8::{number}", 0.0)
    assert not attempts.may_try("2001:db8::9999", 0.0)
    assert attempts.may_try("2001:db8:1::1", 0.0)


def test_a_host_that_answers_may_be_tried_as_if_nothing_had_failed() -> None:
    attempts = HostAttempts(Random(1))
    assert len(tries(attempts, 0, TRIES + 1)) == TRIES
    attempts.answered("10.0.0.9")
    assert len(tries(attempts, TRIES + 1, 2 * TRIES + 1)) == TRIES
