"""Accounts of hosts: nobody has credit for the time before, and who leaves does not get rid of what was used."""

from __future__ import annotations

import pytest

from xget_lib.swarm import host_accounts
from xget_lib.swarm.host_accounts import HostAccounts


def test_who_begins_starts_with_the_lowest_account_of_the_others() -> None:
    accounts = HostAccounts()
    assert accounts.begin(accounts.come("first"), []) == 0.0
    assert accounts.begin(accounts.come("second"), [7.0, 5.0]) == 5.0
    assert accounts.begin(9.0, [7.0, 5.0]) == 9.0, "who used more goes on with that"
    assert accounts.begin(accounts.come("third"), [2.0]) == 5.0, "it never becomes less"


def test_who_leaves_and_comes_again_has_its_account_again() -> None:
    accounts = HostAccounts()
    accounts.gone("a", 8.0)
    assert accounts.come("a") == 8.0
    assert accounts.come("a") == 0.0, "it is not kept twice"


def test_the_accounts_of_hosts_that_are_gone_take_limited_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_accounts, "_DEBTS", 3)
    accounts = HostAccounts()
    for key in range(5):
        accounts.gone(key, 1.0)
    assert [accounts.come(key) for key in range(5)] == [0.0, 0.0, 1.0, 1.0, 1.0]
