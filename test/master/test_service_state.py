"""What a service manager hears of a master: nothing while its loop hangs, and when the directory is served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from gevent.queue import Queue

from test.support.processes import PATIENCE
from test.support.service_manager import ServiceManager
from xget_lib.master import events
from xget_lib.master.commands import Reload
from xget_lib.master.service_state import ServiceState
from xget_lib.process.notify import Notifier
from xget_lib.swarm.tracker import Tracker
from xget_lib.swarm.tuning import TUNING


class StandInPublisher:
    """A publisher with a disk that this test decides about."""

    serves, scan_gets_on, percent_hashed = False, True, 40

    def status(self) -> dict[str, Any]:
        generation = "ab" * 32 if self.serves else None
        return {"generation": generation, "files": 2, "bytes": 5, "problem": None if self.scan_gets_on else "it hangs"}


class Service:
    """A master's ServiceState, its surroundings, and what it is told."""

    def __init__(self, manager: ServiceManager) -> None:
        self.manager = manager
        self.publisher = StandInPublisher()
        self.queue: Queue[events.Event] = Queue()
        tracker = SimpleNamespace(tracker=Tracker(1, TUNING, Random(1)))
        notifier = Notifier.take(dict(manager.environment))
        self.state = ServiceState(notifier, self.publisher, tracker, self.queue)

    def told(self) -> dict[str, str]:
        """What the next turn of the loop tells."""
        assert isinstance(self.queue.get(timeout=PATIENCE), events.StateDue)
        self.state.tell()
        (message,) = self.manager.rest()
        return message.lines


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    manager = ServiceManager(tmp_path, watchdog=0.03)
    yield Service(manager)
    manager.close()


def test_a_loop_that_hangs_tells_nothing(service: Service) -> None:
    """The watchdog hears what the loop does with an event, and not that a timer works."""
    service.state.start()
    for _ in range(3):
        assert isinstance(service.queue.get(timeout=PATIENCE), events.StateDue)
    assert service.manager.rest() == []
    assert service.told()["WATCHDOG"] == "1"


def test_a_first_scan_may_take_longer_while_it_gets_on(service: Service) -> None:
    service.state.start()
    first = service.told()
    assert int(first["EXTEND_TIMEOUT_USEC"]) > 60_000_000
    assert first["STATUS"] == "no snapshot yet; 40 % of the content is hashed"
    service.publisher.scan_gets_on = False
    assert "EXTEND_TIMEOUT_USEC" not in service.told()
    service.publisher.serves = service.publisher.scan_gets_on = True
    ready = service.told()
    assert ready == {"READY": "1", "STATUS": f"generation {'ab' * 8}: 2 files, 5 B; 0 nodes, 0 of them complete"}
    assert service.told() == {"WATCHDOG": "1"}


def test_reloads_that_overlap_end_with_the_last_one(service: Service) -> None:
    service.publisher.serves = True
    service.state.start()
    assert "READY" in service.told()
    reloads = Reload(force=False), Reload(force=False)
    for reload in reloads:
        service.state.reload_begins(reload)
    assert [list(message.lines) for message in service.manager.rest()] == [["RELOADING", "MONOTONIC_USEC"]] * 2
    reloads[0].answer.set({})
    assert "READY" not in service.told()
    reloads[1].answer.set({})
    assert "READY" in service.told()
