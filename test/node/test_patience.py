"""When a node gives up: a master that is silent, and one that answers while nothing comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from test.support.network import quiet_hub, until
from test.support.swarm_server import SwarmServer, unused_address
from xget_lib.errors import MasterUnreachable, NotAdmitted, Stalled
from xget_lib.node import master_link, patience
from xget_lib.node.awake import now
from xget_lib.node.master_link import MasterLink
from xget_lib.node.patience import Patience
from xget_lib.node.waits import Waits
from xget_lib.report.waiting import Wait

WAIT = Wait("content", "somebody", "it goes on")


def ignore(event: str, **facts: Any) -> None:
    pass


@pytest.fixture(autouse=True)
def bounded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(patience, "CHECK_EVERY", 0.01)
    monkeypatch.setattr(master_link, "_SOON", 0.1)
    with quiet_hub():
        yield


def connected(server: SwarmServer) -> MasterLink:
    link = MasterLink(*server.address, serving_port=None)
    link.begin(10)
    return link


def never() -> None:
    gevent.sleep(1000)


def test_a_master_that_answers_while_nothing_comes_ends_a_stalled_run() -> None:
    link = connected(SwarmServer())
    with pytest.raises(
        Stalled, match=rf"^no progress for \d+ s: content did not arrive; asked: {link.name} \("
    ) as caught:
        Patience(link, Waits(ignore), timeout=10, stall_timeout=0.3).run(never, "content")
    assert caught.value.exit_status == 3


def test_a_stalled_run_whose_content_is_refused_says_so() -> None:
    link = connected(SwarmServer())
    link.content_refusal = NotAdmitted("master", "it refuses this node")
    with pytest.raises(NotAdmitted) as caught:
        Patience(link, Waits(ignore), timeout=10, stall_timeout=0.3).run(never, "content")
    assert caught.value.exit_status == 7


def test_progress_postpones_it() -> None:
    waits = Waits(ignore)

    def work() -> str:
        for _ in range(40):
            gevent.sleep(0.02)
            waits.progress()
        return "done"

    assert Patience(connected(SwarmServer()), waits, timeout=10, stall_timeout=0.5).run(work, "content") == "done"


def test_a_master_that_is_silent_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    link = MasterLink(*unused_address(), serving_port=None)
    waits = Waits(ignore)
    with pytest.raises(MasterUnreachable):
        Patience(link, waits, timeout=0.5, stall_timeout=0.2).run(never, "content")
    assert waits.seconds >= 0.5


def test_a_master_that_answers_again_has_a_new_chance() -> None:
    """The time in which it was silent does not count as a stall."""
    server = SwarmServer()
    link, waits = connected(server), Waits(ignore)
    own = Patience(link, waits, timeout=10, stall_timeout=0.5)
    link._asked_at = now() - 5  # it has been silent for so long
    until(lambda: waits.seconds > 0.7)
    own.check(lambda: "content")
    link._asked_at = None
    own.check(lambda: "content")
    with pytest.raises(Stalled):
        own.run(never, "content")


def test_what_the_task_raises_is_raised() -> None:
    def fail() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        Patience(connected(SwarmServer()), Waits(ignore), timeout=10, stall_timeout=10).run(fail, "content")
