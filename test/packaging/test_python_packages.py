"""The wheel and the source package: complete, and installed without a network."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from scripts.packaging.files import source_files
from test.packaging.packages import ROOT, Packages

_PIP = 300.0  # seconds


def names_in_wheel(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_has_the_program_and_its_data_and_nothing_else(packages: Packages) -> None:
    names = names_in_wheel(packages.wheel())
    tops = {name.partition("/")[0] for name in names}
    version = packages.release.version
    assert tops == {"xget_lib", f"xget-{version}.dist-info", f"xget-{version}.data"}
    modules = {name for name in names if name.startswith("xget_lib/")}
    assert modules == {*map(str, source_files(ROOT, ["xget_lib"])), "xget_lib/COMMIT"}
    data = {name.partition(".data/data/")[2] for name in names if ".data/" in name}
    for name in source_files(ROOT, ["conf"]):
        assert f"share/xget/{name}" in data
    scripts = {name.partition(".data/scripts/")[2] for name in names if ".data/scripts/" in name}
    assert scripts == {path.name for path in (ROOT / "scripts").glob("xget-*")}
    for name in source_files(ROOT, ["docs"]):
        assert f"share/doc/xget/{name.relative_to('docs')}" in data
    assert {"share/man/man1/xget.1", "share/bash-completion/completions/xget", "share/xget/init.d/xget"} <= data


def test_the_description_is_the_readme(packages: Packages) -> None:
    with zipfile.ZipFile(packages.wheel()) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        metadata = archive.read(name).decode()
    assert "Description-Content-Type: text/markdown" in metadata
    assert (ROOT / "README.md").read_text().splitlines()[2] in metadata
    assert "License: BSD-3-Clause" in metadata or "License-Expression: BSD-3-Clause" in metadata


def test_the_source_package_has_all_that_packages_are_made_of(packages: Packages) -> None:
    with tarfile.open(packages.sdist()) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    wanted = {name for name in listed.stdout.splitlines() if not re.match(r"\.", name) and (ROOT / name).is_file()}
    assert wanted - names == set()
    assert "xget_lib/COMMIT" in names


@pytest.mark.root
def test_a_wheel_of_the_source_package_installs_and_runs_without_a_network(packages: Packages, tmp_path: Path) -> None:
    def run(*command: str | Path, cwd: Path = tmp_path) -> str:
        done = subprocess.run(
            [str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=_PIP, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run(*pip, "wheel", "--no-deps", "--wheel-dir", "made", packages.sdist())
    (wheel,) = (tmp_path / "made").glob("*.whl")
    assert sorted(names_in_wheel(wheel)) == sorted(names_in_wheel(packages.wheel()))

    run(sys.executable, "-m", "venv", "--without-pip", "environment")
    packages.environment(tmp_path / "needed")  # what pip would download
    (site,) = (tmp_path / "environment/lib").glob("python3*/site-packages")
    (site / "needed.pth").write_text(f"{tmp_path}/needed\n")
    python = tmp_path / "environment/bin/python"
    run("unshare", "--net", *pip, "--python", python, "install", "--no-index", wheel)
    said = run(tmp_path / "environment/bin/xget", "--version")
    assert said == f"xget {packages.release.version} (commit {packages.release.commit})\n"
    assert (tmp_path / "environment/share/man/man1/xget.1").is_file()
