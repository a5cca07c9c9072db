"""The events of a client: JSON objects for scripts, a progress bar and a summary line for people.

An event is a dict with `event` (start, progress, stall, step, error or done) and facts. `done` is always the last one.
docs/guide.md lists the fields.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from xget_lib.errors import Exit, printable, program
from xget_lib.report.output import print_error, print_line

if TYPE_CHECKING:
    from tqdm import tqdm

Event = Mapping[str, Any]


_STALLS_KEPT = 10
"""How many lines about waiting a quiet run prints when it ends with an error."""

NOTHING: Event = {
    "event": "done",
    "exit": 0,
    "generation": None,
    "files": 0,
    "bytes": 0,
    "fetched": 0,
    "from_master": 0,
    "reused": 0,
    "unchanged": 0,
    "peers": 0,
    "removed": 0,
    "seconds": 0.0,
    "age": 0.0,
    "serves": None,
}
"""The `done` event of a run that did nothing."""


class Reporter(Protocol):
    """Shows the events of one run."""

    def report(self, event: Event) -> None: ...

    def close(self) -> None: ...


def choose(*, as_json: bool, quiet: bool, verbose: bool) -> Reporter:
    """JSON lines if asked for, a progress bar if stderr is a terminal and tqdm is there, otherwise plain lines."""
    if as_json:
        return JsonLines()
    if not quiet and sys.stderr.isatty() and _has_tqdm():
        return Bar()
    return Lines(quiet=quiet, verbose=verbose)


def _has_tqdm() -> bool:
    try:
        import tqdm
    except ImportError:
        return False
    return bool(tqdm)


def report_failure(reporter: Reporter, message: str, status: Exit) -> None:
    """Report a run that ended with an error before it did anything."""
    reporter.report({"event": "error", "message": message})
    reporter.report({**NOTHING, "exit": int(status)})


class JsonLines:
    """Prints each event on stdout, one JSON object per line, with `time` in seconds since the epoch.

    Errors are also printed on stderr.
    """

    def report(self, event: Event) -> None:
        print_line(json.dumps({**event, "time": round(time.time(), 3)}))
        _print_error(event)

    def close(self) -> None:
        pass


class Lines:
    """Prints the summary line at the end, and what is waited for. With `verbose` also when the transfer starts.

    With `quiet` errors only, and before them what was waited for: it may be the cause.
    """

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        self._quiet = quiet
        self._verbose = verbose
        self._stalls: deque[Event] = deque(maxlen=_STALLS_KEPT)

    def report(self, event: Event) -> None:
        if self._quiet:
            if event["event"] == "stall":
                self._stalls.append(event)
            elif event["event"] == "error":
                while self._stalls:
                    print_error(f"xget: {self._stalls.popleft()['message']}")
        _print_error(event)
        if self._quiet:
            return
        _print_step(event)
        _print_notes(event)
        if event["event"] == "done":
            _print_end(event)
        elif event["event"] == "stall" or (event["event"] == "start" and self._verbose):
            print_error(f"xget: {event['message']}")

    def close(self) -> None:
        pass


class Bar:
    """Shows a progress bar on the terminal, then prints the summary line.

    Where the terminal is closed meanwhile, tqdm and `output` go on without it.
    """

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def report(self, event: Event) -> None:
        kind = event["event"]
        if kind == "start":
            # Imported here because most runs have no terminal.
            from tqdm import tqdm

            self.close()
            self._bar = tqdm(total=event["bytes"], unit="B", unit_scale=True, unit_divisor=1024, leave=False)
        elif kind == "progress" and self._bar is not None:
            self._bar.set_postfix_str(counted(event["peers"], "peer"), refresh=False)
            self._bar.update(event["bytes"] - self._bar.n)
        elif kind == "stall":
            if self._bar is not None:
                self._bar.clear()
            print_error(f"xget: {event['message']}")
            if self._bar is not None:
                self._bar.refresh()
        else:
            self.close()
            _print_error(event)
            _print_step(event)
            _print_notes(event)
            if kind == "done":
                _print_end(event)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def summary(done: Event) -> str:
    """The summary line of a successful run, from its `done` event."""
    if "would" in done:
        return _dry_run_summary(done)
    in_place = f"xget: {counted(done['files'], 'file')}, {size(done['bytes'])} in place"
    if done["removed"]:
        in_place += f", {counted(done['removed'], 'name')} removed"
    if done["unchanged"]:
        in_place += f" ({counted(done['unchanged'], 'file')} unchanged by size and time)"
    if done.get("age"):
        in_place += f", as the master's directory was {done['age']:.0f} s before"
    if not done["fetched"]:
        return f"{in_place}; nothing to fetch ({done['seconds']:.1f} s)"
    sources = f"{size(done['from_master'])} from the master"
    if done["peers"]:
        sources += f", {size(done['fetched'] - done['from_master'])} from {counted(done['peers'], 'peer')}"
    reused = f"; {size(done['reused'])} already present" if done["reused"] else ""
    return f"{in_place}: fetched and verified {size(done['fetched'])} in {done['seconds']:.1f} s ({sources}){reused}"


def serving(serves: Mapping[str, Any]) -> str:
    """The last line of a run that leaves a process behind: which, for how long, and how to stop it."""
    linger = serves["linger"]
    until = f"until no node has read for {linger:g} s" if linger is not None else "until it is stopped"
    does = "following the master and serving other nodes" if serves["follows"] else "serving other nodes"
    log = printable(serves["log"]) if serves["log"] else "none (see --log)"
    how = f"log: {log}; to stop it: {program()} stop {serves['port']}"
    return f"xget: {does} as process {serves['pid']} on port {serves['port']} {until}; {how}"


def _print_end(done: Event) -> None:
    if done["exit"] == Exit.OK:
        print_line(summary(done))
    if done.get("serves"):
        print_line(serving(done["serves"]))


def _dry_run_summary(done: Event) -> str:
    would = dict(done["would"])
    length = would.pop("bytes")
    if not any(would.values()):
        files = counted(done["files"], "file")
        return f"xget: nothing to do: {files}, {size(done['bytes'])} in place ({done['seconds']:.1f} s)"
    fetch = would.pop("fetch")
    what = [f"fetch {size(length)} of {counted(fetch, 'file')}"] if fetch else []
    what += [f"{action} {counted(count, 'name')}" for action, count in would.items() if count]
    return f"xget: would {', '.join(what)}; nothing was changed ({done['seconds']:.1f} s)"


def counted(count: int, noun: str) -> str:
    """A number of things: `1 file`, `2 files`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def size(count: float) -> str:
    """A number of bytes with a binary unit: `64.0 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if round(count, 1) < 1024 or unit == "TiB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def _print_error(event: Event) -> None:
    if event["event"] == "error":
        print_error(f"xget: {event['message']}")


def _print_step(event: Event) -> None:
    """One step of a dry run: action, bytes to fetch, path."""
    if event["event"] == "step":
        print_line(f"{event['action']:7} {event['bytes'] or '':>15} {event['path']}")


def _print_notes(event: Event) -> None:
    """What could not be preserved. It does not fail the run."""
    for note in event.get("notes", ()):
        print_error(f"xget: {note}")
