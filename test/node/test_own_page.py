"""What the page of a client says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xget_lib.node.own_page import node_status
from xget_lib.report.distribution import COMPLETE, DOWNLOADING, FAILED, INTERRUPTED, OUTDATED, WAITING
from xget_lib.swarm.messages import DONE, Registration

NOTHING = Registration(40000, b"", 0, name="node1")
BEGUN = replace(NOTHING, generation=b"g" * 32, held=5)


@pytest.mark.parametrize(
    ("registration", "state"),
    [
        (NOTHING, WAITING),
        (BEGUN, DOWNLOADING),
        (replace(BEGUN, in_place=True, ended=DONE), COMPLETE),
        (replace(BEGUN, ended=DONE), OUTDATED),
        (replace(BEGUN, ended=DONE, follows=True), WAITING),
        (replace(BEGUN, ended="failed", why="disk full"), FAILED),
        (replace(BEGUN, ended="interrupted"), INTERRUPTED),
    ],
)
def test_its_state(registration: Registration, state: str) -> None:
    assert node_status(registration, seconds=1.0, rate=3.0).state == state


def test_it_has_a_rate_only_while_it_downloads() -> None:
    assert node_status(BEGUN, seconds=1.0, rate=3.0).rate == 3.0
    assert node_status(replace(BEGUN, in_place=True, ended=DONE), seconds=1.0, rate=3.0).rate == 0
