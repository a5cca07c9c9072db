"""A dry run and then a run with the same arguments: what was said is what is done, also where something is refused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from test.support.downloads import Served, fetch, finish, inspect
from xget_lib.download.dry_run import dry_run_steps
from xget_lib.download.plan import Step
from xget_lib.errors import XGetError
from xget_lib.manifest.selection import select

Inodes = dict[bytes, tuple[int, int]]


@dataclass
class Ran:
    """What a dry run and a run did."""

    steps: list[Step]
    """That the dry run gave."""
    failures: list[XGetError]
    """Of the run."""
    notes: list[str]
    removed: int

    @property
    def lines(self) -> list[str]:
        """What a user is told of the failures."""
        return lines(self.failures)

    def actions(self) -> list[tuple[str, bytes]]:
        return sorted((step.action, step.path) for step in self.steps)


def run_both(served: Served, dest: Path, *sources: bytes, checksum: bool = False, **options: Any) -> Ran:
    """Fails unless the dry run changes nothing, the run does what the dry run said and nothing else, and what it does
    not do is a failure that it names."""
    before, everything = inodes(dest), snapshot(dest)
    foreseen: list[XGetError] = []
    selection = select(served.manifest, sources or (b".",))
    steps = list(
        dry_run_steps(bytes(dest), served.manifest, selection, checksum=checksum, failures=foreseen, **options)
    )
    assert snapshot(dest) == everything, "a dry run changes nothing"
    with served.download(dest, *sources, **options) as download:
        inspect(download, trust_times=not checksum)
        download.plan_removals()
        download.check_free_space()
        fetched = fetch(download, served)
        finish(download)
    assert fetched == sum(step.size for step in steps)
    assert set(lines(foreseen)) <= set(lines(download.failures)), "what a dry run foresees happens"
    refused = {path for failure in download.failures for path, _ in getattr(failure, "refused", ())}
    done = [step for step in steps if os.path.join(bytes(dest), step.path) not in refused]
    check_what_changed(before, inodes(dest), done)
    return Ran(steps, download.failures, download.notes, download.removed)


def lines(failures: Sequence[XGetError]) -> list[str]:
    return [line for failure in failures for line in failure.lines]


def snapshot(dest: Path) -> list[tuple[Path, int, int, int]]:
    """Of all that is there, the directories `.xget` included."""
    paths = [dest, *sorted(dest.rglob("*"))] if dest.exists() else []
    return [(path, status.st_ino, status.st_ctime_ns, status.st_size) for path in paths for status in [path.lstat()]]


def inodes(dest: Path) -> Inodes:
    """(inode number, time of its last change in ns) of all that is in the destination, by path."""
    statuses = {path: path.lstat() for path in dest.rglob("*") if ".xget" not in path.parts}
    return {bytes(path.relative_to(dest)): (each.st_ino, each.st_ctime_ns) for path, each in statuses.items()}


def check_what_changed(before: Inodes, after: Inodes, steps: Sequence[Step]) -> None:
    """The disk has changed as the steps say, and nowhere else."""
    by_action: dict[str, set[bytes]] = {}
    for step in steps:
        by_action.setdefault(step.action, set()).add(step.path)
    made = by_action.get("fetch", set()) | by_action.get("make", set()) | by_action.get("link", set())
    new = {path for path, (inode, _) in after.items() if path not in before or before[path][0] != inode}
    assert new <= made
    assert made <= after.keys()
    gone = before.keys() - after.keys()
    removed = by_action.get("remove", set())
    assert all(any(path == each or path.startswith(each + b"/") for each in removed) for path in gone)
    assert not removed & after.keys() - made
    corrected = by_action.get("correct", set()) - {b"."}
    assert all(after[path] != before[path] for path in corrected)
