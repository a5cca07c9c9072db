"""Takes the picture of the status page that stands in the README: 48 simulated nodes, of which some are done.

python -m test.page.screenshot              writes docs/status-page.png
"""

from __future__ import annotations

import sys
from pathlib import Path

from test.page.process import ROOT, simulated
from test.support.browser import Browser, Page

PICTURE = ROOT / "docs" / "status-page.png"
WIDTH = 1180
SCALE = 0.66
"""Pixels of the picture for each of the page: it is small in the README, and small in the repository."""
_SAMPLES = 30
"""Points of the curve before the picture is taken: seconds."""


def whole(page: Page, path: Path, *, width: int, phone: bool = False) -> None:
    """Take a picture of a whole page."""
    height = page.run("document.documentElement.scrollHeight")
    size = {"width": width, "height": height, "deviceScaleFactor": SCALE, "mobile": phone}
    page.call("Emulation.setDeviceMetricsOverride", **size)
    samples = page.run("chart.samples.length")
    page.until(f"chart.samples.length > {samples} + 1", "it is drawn for this size")
    page.screenshot(path)


def main(path: Path = PICTURE) -> None:
    with simulated("--nodes", "48", "--elapsed", "100") as (_, port), Browser("--hide-scrollbars") as browser:
        page = browser.open(f"http://127.0.0.1:{port}/", width=WIDTH, height=900)
        page.until(f"chart.samples.length >= {_SAMPLES}", "there is a curve", 3 * _SAMPLES)
        whole(page, path, width=WIDTH)
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
