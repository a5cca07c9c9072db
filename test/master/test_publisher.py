"""What the master serves: a report about a generation that has just been replaced."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import gevent
import pytest
from gevent.queue import Queue

from test.support.nodes import configured
from xget_lib.master.publisher import Publisher
from xget_lib.master.snapshotter import Snapshot
from xget_lib.master.tracker_io import TrackerIO
from xget_lib.master.workers import WorkerPool

GENERATION = bytes(32)


def test_a_report_about_a_generation_that_was_just_replaced_does_not_end_all_checks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its descriptors were closed, and duplicating them failed: nothing was checked any more."""
    publisher = Publisher(configured(0), b"/srv", cast(WorkerPool, None), cast(TrackerIO, None), Queue(), key=None)
    facts = SimpleNamespace(generation=GENERATION, chunks=8, location=b"")
    closed = cast(Snapshot, SimpleNamespace(facts=facts, manifest=-1, base=-1))
    publisher._snapshot = closed
    for chunk in range(2):
        publisher.wrong_reported(f"10.0.0.{chunk}", GENERATION, chunk)
        publisher._snapshot = None
        gevent.sleep(0)
        publisher._snapshot = closed
    assert [record.getMessage() for record in caplog.records] == [
        "cannot check what a node reports: check: the generation has been replaced"
    ] * 2
