"""One host costs the others no more than its share of a master's link, however many connections it has.

The links are shaped, in network namespaces: `test.support.shared_link`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from test.support.installed import lacking
from test.support.shared_link import PROGRAMS, measured

DEADLINE = 30.0
"""Seconds that an honest client may need, besides twice its time without hostile hosts."""


@pytest.fixture(autouse=True)
def programs() -> None:
    for program in PROGRAMS:
        if not shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin"):
            lacking(f"needs {program}")


@pytest.mark.root
def test_ten_connections_of_one_host_do_not_get_ten_times_as_much_as_another_host(tmp_path: Path) -> None:
    """14 bytes for each byte of the client before hosts had turns, 3 when each of two workers gave it one, and 1.4
    since these take turns too, and less is on its way; 3 again where other programs keep the client waiting."""
    found = measured("reads", tmp_path)
    print(found)
    assert found.hostile < 6


@pytest.mark.root
def test_hosts_that_hold_each_offer_until_it_is_nearly_stuck_do_not_hold_up_others(tmp_path: Path) -> None:
    """More than 200 s before hosts paid for the time, 11 s since."""
    found = measured("holds", tmp_path)
    print(found)
    assert found.together < 2 * found.alone + DEADLINE
