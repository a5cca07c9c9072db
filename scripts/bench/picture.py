"""Draws the time against the number of nodes, with one line per tool.

Both axes are logarithmic: what one server does alone grows with N, and would push everything else onto the floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from .report import Curves, Run, curves
from .roster import TOOLS

_COLOURS = ("#d62728", "#7f7f7f", "#bcbd22", "#1f77b4", "#17becf", "#2ca02c", "#9467bd")
"""In the order of TOOLS, so that a tool has the same colour in all pictures."""
_MARKERS = "osD^vPX"
_MULTIPLES = (1, 1.25, 1.5, 2, 3, 4, 6, 8, 16, 32, 64, 128)


def draw(runs: Sequence[Run], target: Path) -> None:
    """Draw to a .svg or .png file. Raises ValueError if there is nothing to draw."""
    drawn = curves(runs)
    if not drawn:
        raise ValueError("no valid result without a special condition")
    mpl.rcParams["svg.hashsalt"] = "xget"  # so that the same results give the same bytes
    figure = Figure(figsize=(7.5, 4.8), layout="constrained", facecolor="white")
    axes = figure.subplots()
    for tool, colour, marker in zip(TOOLS, cycle(_COLOURS), cycle(_MARKERS), strict=False):
        if tool in drawn:
            width = 2.6 if tool == "xget" else 1.4
            axes.plot(
                *zip(*drawn[tool].items(), strict=True),
                zorder=width,
                color=colour,
                marker=marker,
                ms=5,
                lw=width,
                label=tool,
            )
    _label(axes, drawn, runs)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=144, metadata={"Date": None} if target.suffix == ".svg" else None)


def _label(axes: Axes, drawn: Curves, runs: Sequence[Run]) -> None:
    case = next(result.case for run in runs for result in run.results)
    axes.set_title(f"{case.payload}, every link {case.link}, all nodes start together", fontsize=10)
    axes.set_xlabel("nodes")
    axes.set_ylabel("time until the last node has all (1 = one curl)")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    highest = max(value for points in drawn.values() for value in points.values())
    axes.set_ylim(0.95, max(2.0, highest * 1.15))
    nodes = sorted({number for points in drawn.values() for number in points})
    axes.xaxis.set_major_locator(FixedLocator(nodes))
    axes.yaxis.set_major_locator(FixedLocator([multiple for multiple in _MULTIPLES if multiple <= highest * 1.15]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.axhline(1, color="black", lw=0.8, ls=":")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=9, loc="upper left")
