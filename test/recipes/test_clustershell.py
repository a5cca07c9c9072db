"""The recipe for ClusterShell: eight nodes, of which two fail at first. `python -m test.recipes` runs all recipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from test.packaging.packages import Packages
from test.packaging.roots import Missing, root_of
from test.recipes.remote_shells import run_clustershell
from test.support.installed import lacking


@pytest.mark.root
def test_clush_distributes_names_who_failed_and_stops(packages: Packages, tmp_path: Path) -> None:
    try:
        root = root_of()
    except Missing as missing:
        lacking(str(missing))
    run_clustershell(root, packages.deb(), tmp_path)
