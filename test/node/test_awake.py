"""The clock that stands still while the process does not run."""

from __future__ import annotations

import os
import time

import gevent

from test.support.network import quiet_hub, until
from test.support.processes import stop_this_process
from xget_lib.node import awake


def test_it_runs_like_the_monotonic_clock() -> None:
    with quiet_hub():
        began, by_us = time.monotonic(), awake.now()
        until(lambda: awake.now() - by_us > 0.6)
        assert time.monotonic() - began >= 0.6


def test_the_time_in_which_the_process_is_stopped_does_not_count() -> None:
    with quiet_hub():
        awake.now()
        gevent.sleep(0.3)  # the clock has looked at the time
        began, by_us = time.monotonic(), awake.now()
        stop_this_process(3)
        assert time.monotonic() - began >= 3
        passed = awake.now() - by_us
        assert passed < 2.5, passed
        began, by_us = time.monotonic(), awake.now()
        until(lambda: awake.now() - by_us > 0.5)


def test_a_fork_has_a_clock_of_its_own() -> None:
    with quiet_hub():
        awake.now()
    pid = os.fork()
    if pid == 0:
        gevent.reinit()
        os._exit(0 if awake.now() > 0 and os.getpid() in awake._clocks else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
