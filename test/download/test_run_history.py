"""What a run replaces is noted on disk before it goes on, also if another thread is noting it just now."""

from __future__ import annotations

from array import array
from pathlib import Path
from threading import Event, Thread

from test.support.downloads import Served, destination
from xget_lib.download.last_run import LastRun
from xget_lib.download.progress import Progress
from xget_lib.download.run_history import RunHistory
from xget_lib.download.staging import Staging
from xget_lib.fs.rooted import Root


class SlowStaging(Staging):
    """Its disk takes until `go_on`."""

    def __init__(self, root: Root) -> None:
        super().__init__(root)
        self.begun, self.go_on = Event(), Event()
        self.noted: list[int] = []

    def note_replaced(self, keys: array[int]) -> None:
        self.begun.set()
        assert self.go_on.wait(60)
        self.noted += keys


def test_a_thread_waits_until_its_files_are_noted_by_another(served: Served, dest: Path) -> None:
    dest.mkdir()
    with Root(bytes(dest)) as root:
        made = destination(root, served.manifest)
        last_run = LastRun(made.selection, made.metadata)
        vars(made)["last_run"] = last_run
        staging = SlowStaging(root)
        progress = Progress(made.selection, served.layout, made.workplaces)
        history = RunHistory(made, staging, progress, lambda: made.metadata)
        files = list(made.selection.files)
        history.will_replace(files)
        first, second = (Thread(target=history.note_replaced, daemon=True) for _ in range(2))
        first.start()
        assert staging.begun.wait(60)
        second.start()
        second.join(0.05)
        assert second.is_alive(), "nothing is on disk yet"
        staging.go_on.set()
        first.join(60)
        second.join(60)
        assert staging.noted == list(last_run.keys_of(files))
        history.note_replaced()
        assert len(staging.noted) == len(set(staging.noted)), "each once"
