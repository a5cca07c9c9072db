"""When a node tells the master which chunks it wants from it: those that it lacks and none of its peers has, or all
that it is not fetching while its peers are slower than the master (`master_comparison`).

The master needs this for its offers (`offers`). At first it assumes that a node wants everything. Later it assumes what
the node reported last, without the chunks that it has sent the node since. As long as a node wants many chunks, the
master has chunks that no node has, so a report would tell it nothing. Later a node sends a report when it wants a chunk
again, and each time that half of the wanted chunks have been found.

Sets of chunks are integers, bit i for chunk i.
"""

from __future__ import annotations

from math import inf

_REPORT_BELOW = 4
"""A node reports that it wants fewer chunks only when it wants at most one chunk in this many."""


class WantReport:
    """What the master assumes that this node wants. The node keeps it, one for each time that it opens slots there."""

    def __init__(self, chunk_count: int, lacking: int, pause: float) -> None:
        """`lacking` are the chunks that the node lacks; the master has no report yet. Reports are at least `pause`
        seconds apart, but for those before a new slot asks."""
        self._pause = pause
        self.due = inf
        """When the next report may be due; infinite before the first slot is open."""
        everything = (1 << chunk_count) - 1
        self._few = chunk_count // _REPORT_BELOW
        self._assumed = everything
        self._wrong = lacking != everything

    def took(self, chunk: int) -> None:
        """The node asks for the next chunk after this one, so the master assumes that it has this one.

        If the master offered a chunk that was not reported as wanted, it has not received that report.
        """
        self._wrong = self._wrong or not self._assumed >> chunk & 1
        self._assumed &= ~(1 << chunk)

    def must_report(self, wanted: int, now: float) -> bool:
        """Whether the node must report now that it wants these; then this counts as reported. To be called when a
        report is due, and before a new slot asks."""
        self.due = now + self._pause
        if not (self._wrong or wanted & ~self._assumed or self._has_shrunk(wanted)):
            return False
        self._assumed, self._wrong = wanted, False
        return True

    def _has_shrunk(self, wanted: int) -> bool:
        return wanted != self._assumed and wanted.bit_count() <= min(self._few, self._assumed.bit_count() // 2)
