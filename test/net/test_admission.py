"""How many connections are admitted, in all and from one address."""

from __future__ import annotations

from xget_lib.net.admission import PER_ADDRESS, Admission


def test_an_address_over_its_limit_is_refused_and_others_are_not() -> None:
    admission = Admission(100, per_address=2)
    assert [admission.admit("10.0.0.1") for _ in range(2)] == [None, None]
    assert admission.admit("10.0.0.1") == "this address has reached its limit of 2 connections"
    assert admission.admit("10.0.0.2") is None
    admission.release("10.0.0.1")
    assert admission.admit("10.0.0.1") is None


def test_connections_are_limited_in_all() -> None:
    admission = Admission(3)
    assert [admission.admit(f"10.0.0.{n}") for n in range(3)] == [None] * 3
    assert admission.admit("10.0.0.9") == "the server has reached its limit of 3 connections"
    admission.release("10.0.0.0")
    assert admission.admit("10.0.0.9") is None


def test_one_address_gets_at_most_half_of_all_connections() -> None:
    admission = Admission(10)
    refused = [admission.admit("10.0.0.1") for _ in range(10)]
    assert refused == [None] * 5 + ["this address has reached its limit of 5 connections"] * 5
    assert admission.admit("10.0.0.2") is None


def test_two_thousand_nodes_behind_one_address_are_admitted() -> None:
    assert PER_ADDRESS >= 2 * 2000


def test_an_address_without_connections_is_forgotten() -> None:
    admission = Admission(10)
    for number in range(1000):
        assert admission.admit(f"10.0.{number // 250}.{number % 250}") is None
        admission.release(f"10.0.{number // 250}.{number % 250}")
    assert not admission._by_address
