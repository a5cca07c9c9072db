"""Connections without a proof cost next to nothing: a short run of `scripts.bench.strangers`.

The bounds are generous: they find a greenlet or a buffer for each connection, not a slow machine.
"""

from __future__ import annotations

import pytest

from scripts.bench import strangers
from xget_lib.process import rlimit

COUNT = 1000


@pytest.mark.parametrize("kind", strangers._SAID)
def test_a_connection_without_a_proof_costs_little_memory_and_no_line_in_the_log(kind: str) -> None:
    rlimit.raise_limit(COUNT + 100)
    result = strangers.measure(strangers._SAID[kind], COUNT, 2, 2)
    assert result.memory < 16 * 1024
    assert result.lines <= 4
