"""Rows as aligned columns."""

from __future__ import annotations

from xget_lib.report.columns import columns


def test_columns_are_as_wide_as_they_must_be() -> None:
    rows = [("NAME", "SIZE", "WHAT"), ("a", "12345", "b c"), ("longer", "1", "")]
    assert columns(rows, frozenset({1})) == ["NAME     SIZE  WHAT", "a       12345  b c", "longer      1"]
    assert columns([]) == []
