"""Whether the link is shared: what each process of a server writes down, and all of them see."""

from __future__ import annotations

import os

from xget_lib.net.sending_hosts import SendingHosts

NOW = 1000.0


def test_a_host_is_not_another_one_than_itself() -> None:
    hosts = SendingHosts()
    assert not hosts.others("a", NOW)
    hosts.sent(0, "a", NOW)
    assert not hosts.others("a", NOW) and hosts.others("b", NOW)


def test_hosts_of_other_processes_count() -> None:
    hosts = SendingHosts(3)
    hosts.sent(2, "a", NOW)
    hosts.sent(0, "b", NOW)
    assert hosts.others("a", NOW) and hosts.others("b", NOW)


def test_what_was_sent_long_ago_does_not_count() -> None:
    hosts = SendingHosts(2)
    hosts.sent(1, "a", NOW)
    assert hosts.others("b", NOW + 0.9) and not hosts.others("b", NOW + 1.1)


def test_of_many_hosts_there_is_always_another_one() -> None:
    hosts = SendingHosts()
    for number in range(100):
        hosts.sent(0, number, NOW)
        hosts.sent(0, "a", NOW + 0.5)
    assert hosts.others("a", NOW + 0.5) and hosts.others(99, NOW + 0.5)


def test_processes_that_are_forked_share_it() -> None:
    hosts = SendingHosts(2)
    pid = os.fork()
    if pid == 0:
        hosts.sent(1, "a", NOW)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert hosts.others("b", NOW) and not hosts.others("a", NOW)
