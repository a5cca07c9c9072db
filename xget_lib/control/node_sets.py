"""Sets of nodes such as `node[1-8],head`: ClusterShell's own language, which other tools of a cluster speak too.

Its Python module is used where this Python has it. Where it is installed for another Python, as beside a package that
brings all that it needs, its program `nodeset` does the same. Names and addresses that are separated by commas need
neither.
"""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Sequence

from xget_lib.errors import UsageError, one_line

_PLAIN = re.compile(r"[A-Za-z0-9_.:%-]+(,[A-Za-z0-9_.:%-]+)*")
_MOST = 1_000_000
"""Nodes of a set, at most."""
_PATTERN = re.compile(r"(?:[^\s,!&^\[\]]*\[[^\]]*\])+")
_RANGE = re.compile(r"(\d+)-(\d+)", re.ASCII)
_PROGRAM = "nodeset"
_PATIENCE = 30.0
"""Seconds for the program. It may ask a database of groups."""
_NEEDS = "needs ClusterShell (pip install ClusterShell, or python3-clustershell); names separated by commas do not"
_SHOWN = 100
"""Names that are shown of a set that cannot be folded."""


def expand(text: str) -> list[str]:
    """The names in a set, each once. Raises UsageError."""
    if _PLAIN.fullmatch(text):
        return list(dict.fromkeys(text.split(",")))
    try:
        if _greatest(text) > _MOST:  # ClusterShell would try for ever
            raise ValueError(f"more than {_MOST} nodes")
        names = _expand_here(text)
        if names is None:
            names = _run("--expand", "--", text).split()
    except FileNotFoundError:
        raise UsageError(f"--expect {text}: {_NEEDS}") from None
    except (ValueError, OSError) as error:
        raise UsageError(f"--expect {text}: {error}") from None
    if not 0 < len(names) <= _MOST:
        raise UsageError(f"--expect {text}: {len(names)} nodes")
    return names


def fold(names: Sequence[str]) -> str:
    """A set as short as it can be written; the first names where ClusterShell is not installed."""
    try:
        folded = _fold_here(names)
        if folded is None:
            folded = _run("--fold", "--separator=,", given="".join(f"{name}\n" for name in names)).strip()
        return folded
    except (ValueError, OSError):  # an IPv6 address, for example, is no name for it
        return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _greatest(text: str) -> int:
    """How many nodes the greatest pattern of a set has, at most: `n[1-3,7]p[1-2]` has 8."""
    return max((_size(pattern) for pattern in _PATTERN.findall(text)), default=0)


def _size(pattern: str) -> int:
    return math.prod(
        sum(_length(part) for part in dimension.split(",")) for dimension in re.findall(r"\[([^\]]*)\]", pattern)
    )


def _length(part: str) -> int:
    found = _RANGE.match(part)
    return max(1, int(found[2][:20]) - int(found[1][:20]) + 1) if found else 1


def _expand_here(text: str) -> list[str] | None:
    """None if this Python has no ClusterShell. Raises ValueError."""
    try:
        from ClusterShell.NodeSet import NodeSet, NodeSetException
    except ImportError:
        return None
    try:
        return [str(name) for name in NodeSet(text)]
    except NodeSetException as error:
        raise ValueError(str(error)) from None


def _fold_here(names: Sequence[str]) -> str | None:
    try:
        from ClusterShell.NodeSet import NodeSet, NodeSetException
    except ImportError:
        return None
    try:
        return str(NodeSet.fromlist(list(names)))
    except NodeSetException as error:
        raise ValueError(str(error)) from None


def _run(*arguments: str, given: str = "") -> str:
    """What the program prints. Raises OSError, and ValueError if it refuses or hangs."""
    try:
        done = subprocess.run(
            [_PROGRAM, *arguments], input=given, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"{_PROGRAM} does not answer") from None
    if done.returncode:
        raise ValueError(one_line(done.stderr.strip().removeprefix(f"{_PROGRAM}: ")) or f"{_PROGRAM} fails")
    return done.stdout
