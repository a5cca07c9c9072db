"""What a client says while it runs and when it is done: one object for scripts, one line for people.

The events are those of the contract with `--json`: start, progress, stall, error, done. Each is a dict with `event`
and `time` (seconds since the epoch); `done` is always the last.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from xget_lib.errors import Exit

if TYPE_CHECKING:
    from tqdm import tqdm

Event = Mapping[str, Any]


NOTHING: Event = {
    "event": "done",
    "exit": 0,
    "generation": None,
    "files": 0,
    "bytes": 0,
    "fetched": 0,
    "from_master": 0,
    "reused": 0,
    "peers": 0,
    "removed": 0,
    "seconds": 0.0,
}
"""What `done` says of a run that did nothing."""


class Reporter(Protocol):
    """Takes a run's events."""

    def report(self, event: Event) -> None: ...

    def close(self) -> None: ...


def choose(*, as_json: bool, quiet: bool, verbose: bool) -> Reporter:
    """The reporter for this run: JSON, a bar where stderr is a terminal, or lines."""
    if as_json:
        return JsonLines()
    if not quiet and sys.stderr.isatty():
        return Bar()
    return Lines(quiet=quiet, verbose=verbose)


class JsonLines:
    """One JSON object a line on stdout; errors on stderr too, as always."""

    def report(self, event: Event) -> None:
        print(json.dumps({**event, "time": round(time.time(), 3)}), flush=True)
        _errors(event)

    def close(self) -> None:
        pass


class Lines:
    """One summary line; with verbose also what is going on, with quiet errors only."""

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        self._quiet = quiet
        self._verbose = verbose

    def report(self, event: Event) -> None:
        _errors(event)
        if self._quiet:
            return
        _steps(event)
        _notes(event)
        if event["event"] == "done" and event["exit"] == Exit.OK:
            print(summary(event), flush=True)
        elif event["event"] == "stall" or (event["event"] == "start" and self._verbose):
            print(f"xget: {event['message']}", file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


class Bar:
    """A progress bar on the terminal, then the summary line."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def report(self, event: Event) -> None:
        kind = event["event"]
        if kind == "start":
            # Imported late: most runs have no terminal.
            from tqdm import tqdm

            self.close()
            self._bar = tqdm(total=event["bytes"], unit="B", unit_scale=True, unit_divisor=1024, leave=False)
        elif kind == "progress" and self._bar is not None:
            self._bar.set_postfix_str(_peers(event["peers"]), refresh=False)
            self._bar.update(event["bytes"] - self._bar.n)
        elif kind == "stall":
            if self._bar is not None:
                self._bar.set_postfix_str(str(event["message"]))
            else:
                print(f"xget: {event['message']}", file=sys.stderr)
        else:
            self.close()
            _errors(event)
            _steps(event)
            _notes(event)
            if kind == "done" and event["exit"] == Exit.OK:
                print(summary(event), flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def summary(done: Event) -> str:
    """The summary line of a run that succeeded."""
    files = _count(done["files"], "file")
    if "would" in done:
        return _rehearsed(done, files)
    what = f"xget: {files}, {size(done['bytes'])} in place and verified"
    if done["removed"]:
        what += f", {_count(done['removed'], 'name')} removed"
    if not done["fetched"]:
        return f"{what}; nothing had to be fetched ({done['seconds']:.1f} s)"
    reused = f", {size(done['reused'])} were here already" if done["reused"] else ""
    from_peers = (
        f", {size(done['fetched'] - done['from_master'])} from {_peers(done['peers'])}" if done["peers"] else ""
    )
    return (
        f"{what}: {size(done['fetched'])} fetched in {done['seconds']:.1f} s"
        f" ({size(done['from_master'])} from the master{from_peers}{reused})"
    )


def _rehearsed(done: Event, files: str) -> str:
    """That of a dry run."""
    would = dict(done["would"])
    length = would.pop("bytes")
    if not any(would.values()):
        return f"xget: nothing would be done: {files}, {size(done['bytes'])} in place ({done['seconds']:.1f} s)"
    fetch = would.pop("fetch")
    what = [f"fetch {size(length)} of {_count(fetch, 'file')}"] if fetch else []
    what += [f"{action} {_count(count, 'name')}" for action, count in would.items() if count]
    return f"xget: would {', '.join(what)}; nothing was changed ({done['seconds']:.1f} s)"


def _peers(count: int) -> str:
    return _count(count, "peer")


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def size(count: float) -> str:
    """A number of bytes as people read it."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if round(count, 1) < 1024 or unit == "TiB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def _errors(event: Event) -> None:
    if event["event"] == "error":
        print(f"xget: {event['message']}", file=sys.stderr, flush=True)


def _steps(event: Event) -> None:
    """What a dry run found would be done."""
    if event["event"] == "step":
        print(f"{event['action']:7} {event['bytes'] or '':>15} {event['path']}")


def _notes(event: Event) -> None:
    """What could not be preserved: said, and no failure."""
    for note in event.get("notes", ()):
        print(f"xget: {note}", file=sys.stderr, flush=True)
