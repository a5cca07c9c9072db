"""Carries out one case, and finds what is wrong. In a mount namespace of its own: nothing is unmounted here."""

from __future__ import annotations

import os
import random
import re
import signal
import stat
from contextlib import suppress
from pathlib import Path

from test.campaigns.oddities.case import USERS, Case
from test.campaigns.oddities.changes import change
from test.campaigns.oddities.destinations import mount, mount_below, own
from test.campaigns.oddities.judge import Difference, Excuses, differences
from test.campaigns.oddities.present import make_present
from test.campaigns.oddities.sources import Busy, make_source
from test.campaigns.oddities.tree import STAGING, Facts, contents, foretold, torn, tree, walk
from test.support.cluster import Cluster, Ended, Master, eventually
from xget_lib.errors import printable

_CHUNK = 65536
"""Bytes of a chunk, in a tree of a few MiB."""
_OFTEN = 0.25
"""How often a file that changes does so until the first run ends."""


class Run:
    """A case being carried out below a new directory."""

    def __init__(self, case: Case, base: Path) -> None:
        self.case = case
        self.said: list[str] = []
        self.problems: list[str] = []
        self._dice = random.Random(f"run {case.seed}")
        self._base = base
        self._cluster = Cluster(base)
        self._master: Master
        self._busy: Busy | None = None
        self.source = base / "served"
        self.dest = base / "mounted" / "dest"
        (base / "cache of clients").mkdir()
        (base / "cache of clients").chmod(0o777)
        base.chmod(0o777)

    # Making it.

    def _make(self) -> None:
        case = self.case
        if case.source_on == "plain":
            self.source.mkdir()
        else:
            mount(case.source_on, self._base, self.source)
        make_source(self.source, case.source, random.Random(f"source {case.seed}"))
        self.parts = self._choose_parts()
        self._prefixes = {part.rpartition("/")[2]: part for part in self.parts}
        mount(case.dest, self._base, self.dest.parent)
        self.dest.parent.chmod(0o777)
        user = 65534 if case.user == "nobody" else 0
        if case.present or case.below:
            self.dest.mkdir()
            mount_below(case.dest, self._base, self.dest, self.source, case.below, self._dice)
        if case.present:
            make_present(self.dest, self.source, case.present, lambda: own(self.dest, user), self._dice)
        elif case.below:
            own(self.dest, user)

    def _choose_parts(self) -> list[str]:
        if not self.case.part:
            return ["."]
        names = [os.fsdecode(path) for path, _ in walk(self.source) if path.count(b"/") < 2 and STAGING not in path]
        # A name that begins with - is an option, and two names that are the same in the destination are refused.
        names = [name for name in names if not name.rpartition("/")[2].startswith("-") and "case twins" not in name]
        chosen: dict[str, str] = {}
        for name in self._dice.sample(names, min(len(names), self._dice.randint(1, 3))):
            overlaps = any(f"{a}/".startswith(f"{b}/") for c in chosen.values() for a, b in ((name, c), (c, name)))
            folded = name.rpartition("/")[2].casefold()
            if not overlaps:
                chosen.setdefault(folded, name)
        return list(chosen.values())

    def _start_master(self, port: int | None = None) -> None:
        options = ["-x"] if self.case.one_file_system else []
        environment = {"XDG_CACHE_HOME": str(self._base / "cache of the master")}
        self._master = self._cluster.master(self.source, *options, port=port, environment=environment)

    @property
    def _environment(self) -> dict[str, str]:
        return {"XDG_CACHE_HOME": str(self._base / "cache of clients")}

    # Carrying it out.

    def run(self) -> None:
        """Afterwards, `problems` has what is wrong."""
        try:
            self._make()
            mounts = _mounts(self._base)
            if "busy" in self.case.source:
                seconds = None if self._dice.random() < _OFTEN else self._dice.uniform(0.2, 2)
                self._busy = Busy(self.source / "busy" / "growing", seconds)
            self._start_master()
            if self.case.interruption != "none":
                self._interrupt()
            self._copy("first", self.case.dry_run)
            if self._busy:
                self._busy.stop()
                self._copy("after the changes of a file have ended")
            self._again()
            if self.case.changes:
                self.said.append(f"changed: {', '.join(change(self.source, self._dice))}")
                self._copy("after a change", self.case.dry_run)
                self._again()
            self._check_leftovers(mounts)
        finally:
            if self._busy:
                self._busy.stop()
            self._cluster.close()

    def _get(self, *options: str) -> Ended:
        return self._cluster.get(
            self._master,
            self.dest,
            *self.parts,
            options=["--insecure-dest", *self.case.options, *options],
            prefix=USERS[self.case.user],
            environment=self._environment,
            umask=0o022,
        )

    def _interrupt(self) -> None:
        """A run that is interrupted at some time leaves no file that is neither old nor new."""
        is_quiet = self._busy is None
        before, source = contents(self.dest), contents(self.source)
        how = self.case.interruption
        client = self._cluster.client(
            self._master,
            self.dest,
            *self.parts,
            options=["--insecure-dest", "--linger", "0", *self.case.options],
            prefix=USERS[self.case.user],
            environment=self._environment,
            umask=0o022,
        )
        with suppress(Exception):
            client.process.wait(self._dice.uniform(0.2, 1.0))
        if how == "killed whole":
            with suppress(OSError, ValueError):
                for pid in Path(f"/proc/{client.pid}/task/{client.pid}/children").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
            client.signal(signal.SIGKILL)
        elif how.startswith("SIG"):
            client.signal(signal.Signals[how])
        else:
            port = self._master.port
            self._master.signal(signal.SIGTERM if how == "master restarted" else signal.SIGKILL)
            self._master.ended()
            self._start_master(port)
        ended = client.ended()
        eventually(lambda: len(self._cluster.processes()) <= self._processes_of_master(), "a client goes on")
        self.said.append(f"{how}: {ended.status} {ended.stderr.strip()}")
        # A signal may come before the program can catch it.
        expected = {"SIGINT": {130, -2}, "SIGTERM": {143, -15}, "SIGKILL": {-9}, "killed whole": {-9}}.get(how, set())
        if ended.status not in self.case.statuses | expected:
            self._wrong(f"{how}: exit status {ended.status}: {ended.stderr}")
        if is_quiet:
            self.problems += torn(self.dest, before, source, self._prefixes)

    def _processes_of_master(self) -> int:
        return 2 + len(self._master.workers())  # the master, its nursery and workers

    def _copy(self, when: str, dry_run: bool = False) -> None:
        """A run of the client, and rsync's opinion of what it made."""
        steps: list[tuple[str, str]] | None = None
        quiet = self._busy is None or when != "first"
        if dry_run and quiet:
            foreseen = self._get("--dry-run")
            steps = [(event["action"], event["path"]) for event in foreseen.events if event["event"] == "step"]
        before = tree(self.dest)
        ended = self._get()
        self._last = ended
        excuses = self._check_status(when, ended)
        self.said.append(f"{when}: {ended.status} {_told(ended)}")
        if steps is not None and not excuses.is_partial:
            limited = any("not preserved" in note or "not created" in note for note in ended.done.get("notes", []))
            self.problems += [
                f"{when}: {each}" for each in foretold(before, tree(self.dest), steps, limited=limited)[:8]
            ]
        found = self._differences() if ended.status != 4 else []  # nothing was written
        left = excuses.remaining(each for each in found if quiet or each.original.name != "growing")
        self.problems += [f"{when}: {each}" for each in left[:8]]
        if any(STAGING in path.split(b"/") for path in tree(self.dest).keys() - before.keys()):
            self._wrong(f"{when}: .xget is left")

    def _differences(self) -> list[Difference]:
        options = ["--delete"] * ("--delete" in self.case.options)
        options += ["--one-file-system"] * self.case.one_file_system
        return differences(self.source, self.dest, self.parts, options)

    def _check_status(self, when: str, ended: Ended) -> Excuses:
        events = ended.events
        errors = [event["message"] for event in events if event["event"] == "error"]
        notes = ended.done.get("notes", [])
        excuses = Excuses(notes, errors, self.case.options, self.dest, self._prefixes)
        for note in excuses.unknown:
            self._wrong(f"{when}: a note that excuses nothing: {note}")
        if ended.status not in self.case.statuses:
            self._wrong(f"{when}: exit status {ended.status}: {ended.stderr}")
        if bool(ended.status) != bool(errors):
            self._wrong(f"{when}: exit status {ended.status} with {len(errors)} errors: {ended.stderr}")
        if ended.status != ended.done["exit"]:
            self._wrong(f"{when}: exit status {ended.status}, but done says {ended.done['exit']}")
        if "Traceback" in ended.stderr or "internal error" in ended.stderr:
            self._wrong(f"{when}: {ended.stderr}")
        return excuses

    def _again(self) -> None:
        """The next run has nothing to do, and reads nothing."""
        excuses = self._check_status("again", self._last)
        before = tree(self.dest)
        ended = self._get()
        excuses = self._check_status("again", ended)
        if ended.status != self._last.status:
            self._wrong(f"again: exit status {ended.status} after {self._last.status}: {ended.stderr}")
        if _without_counts(_told(ended)) != _without_counts(_told(self._last)):
            self._wrong(f"again: says {_told(ended)!r} after {_told(self._last)!r}")
        after = tree(self.dest)
        excused = excuses.is_partial
        # Content that its owner may not read is fetched again by --checksum.
        blind = "--checksum" in self.case.options and self.case.user != "root"
        if ended.done["fetched"] and not excused and not blind:
            self._wrong(f"again: fetched {ended.done['fetched']} bytes")
        changed = [path for path in after if path not in before or before[path].changed != after[path].changed]
        changed = [path for path in changed if not excuses.names(path) and not (blind and _is_hidden(after[path]))]
        # Whoever owns a directory without permissions changes them to look into it.
        changed = [path for path in changed if self.case.user == "root" or not _is_closed(after[path])]
        if changed and not (excused and len(changed) < 5):
            self._wrong(f"again: changed {', '.join(map(printable, changed[:5]))} ({len(changed)})")
        if "--checksum" not in self.case.options and self.case.dest != "exfat":
            read = [path for path in after if path in before and before[path].read != after[path].read]
            read = [path for path in read if path in before and _is_file(self.dest, path) and not excuses.names(path)]
            # The process that serves begins to verify what was kept, a chunk at a time, before it ends.
            sizes = {after[path].status.st_ino: after[path].status.st_size for path in read}
            if sum(min(size, _CHUNK) for size in sizes.values()) > 2 * _CHUNK and not excused:
                self._wrong(f"again: read {', '.join(map(printable, read[:5]))} ({len(read)})")
        if not excused and not blind:
            foreseen = self._get("--dry-run")
            steps = [f"{event['action']} {event['path']}" for event in foreseen.events if event["event"] == "step"]
            if steps:
                self._wrong(f"again: a dry run would {', '.join(steps[:5])} ({len(steps)})")
            if tree(self.dest).keys() != after.keys():
                self._wrong("a dry run changed something")

    def _check_leftovers(self, mounts: list[str]) -> None:
        if (now := _mounts(self._base)) != mounts:
            self._wrong(f"mounts changed: {sorted(set(now) ^ set(mounts))}")
        count = self._processes_of_master()
        eventually(lambda: len(self._cluster.processes()) <= count, "a process is left")

    def _wrong(self, what: str) -> None:
        self.problems.append(what)


def _told(ended: Ended) -> str:
    errors = [event["message"] for event in ended.events if event["event"] == "error"]
    return " | ".join([*errors, *sorted(ended.done.get("notes", []))])


def _without_counts(told: str) -> str:
    """How many names there are depends on what the run before put in place."""
    return re.sub(r"\d+ of \d+ names", "some names", told)


def _is_file(dest: Path, path: bytes) -> bool:
    full = os.path.join(bytes(dest), path)
    return os.path.isfile(full) and not os.path.islink(full)


def _is_hidden(facts: Facts) -> bool:
    """A file that its owner may not read; its directory changes with it."""
    return stat.S_ISDIR(facts.status.st_mode) or not facts.status.st_mode & stat.S_IRUSR


def _is_closed(facts: Facts) -> bool:
    return stat.S_ISDIR(facts.status.st_mode) and facts.status.st_mode & stat.S_IRWXU != stat.S_IRWXU


def _mounts(base: Path) -> list[str]:
    """What is mounted below a directory."""
    points = [os.fsdecode(line.split()[4]) for line in Path("/proc/self/mountinfo").read_bytes().splitlines()]
    return sorted(point for point in points if point.startswith(f"{base}/"))
