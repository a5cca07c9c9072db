"""Runs of a campaign, each drawn from a seed, and each in a process of its own that prints its result."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from test.support.cluster import ROOT

_SHOWN = 3000
"""Characters of the end of what a run printed, if it has no result."""

_R = TypeVar("_R")


def result_of(command: Sequence[str], seconds: float) -> list[Any] | str | None:
    """What a run printed as JSON in its last line; if there is none, why, and None if it took too long."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        return None
    try:
        result: list[Any] = json.loads(done.stdout.rpartition("\n")[2])
    except ValueError:
        return f"ended with {done.returncode}: {done.stdout[-_SHOWN:]}{done.stderr[-_SHOWN:]}"
    return result


def in_order(play: Callable[[int], _R], seeds: Iterable[int], processes: int) -> Iterator[_R]:
    """The results of all seeds, some of which are played at the same time."""
    with ThreadPoolExecutor(processes) as pool:
        yield from pool.map(play, seeds)


def lines_of(head: str, said: Iterable[str], problems: Iterable[str]) -> str:
    """A result, for people. Names of files may be any bytes."""
    lines = [head, *(f"    {line}" for line in said), *(f"  WRONG {line}" for line in problems)]
    return "\n".join(line.encode("utf-8", "backslashreplace").decode() for line in lines)
