"""Rows as aligned columns."""

from __future__ import annotations

from collections.abc import Sequence

_BETWEEN = "  "


def columns(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[str]:
    """A line for each row. Columns are as wide as they must be; those whose numbers are in `right` are aligned there,
    and the last one is not padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [_line(row, widths, right) for row in rows]


def _line(row: Sequence[str], widths: Sequence[int], right: frozenset[int]) -> str:
    cells = [
        cell.rjust(width) if at in right else cell.ljust(width)
        for at, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return _BETWEEN.join(cells).rstrip()
