"""The command that makes packages, as people call it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.packaging.__main__ import FORMATS
from scripts.packaging.programs import Refused, run
from scripts.packaging.release import read_release
from test.packaging.packages import ROOT


def package(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.packaging", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_help_names_all_formats() -> None:
    done = package("--help")
    assert done.returncode == 0
    assert ", ".join(FORMATS) in done.stdout


@pytest.mark.parametrize("arguments", [[], ["floppy"], ["deb", "--outptu", "x"]])
def test_what_is_no_format_or_option_is_refused(arguments: list[str]) -> None:
    assert package(*arguments).returncode == 2


@pytest.mark.parametrize(("name", "lacking"), [("deb", "dpkg-deb"), ("rpm", "rpmbuild")])
def test_a_program_that_is_not_installed_is_named_at_once(tmp_path: Path, name: str, lacking: str) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\necho 0123456789ab\n")
    (tmp_path / "git").chmod(0o755)
    done = package(name, "--output", str(tmp_path), PATH=str(tmp_path), SOURCE_DATE_EPOCH="7")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"scripts/package: {lacking} is not installed (apt install ")


def test_a_program_that_fails_shows_what_it_said() -> None:
    with pytest.raises(Refused, match=r"no such thing\n.*: failed with status 3"):
        run(["sh", "-c", "echo no such thing >&2; exit 3"])


def test_a_source_package_knows_its_commit_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    shutil.copy(ROOT / "setup.py", tmp_path)
    (tmp_path / "xget_lib").mkdir()
    (tmp_path / "xget_lib/__init__.py").write_text('__version__ = "7.5"\n')
    assert read_release(tmp_path).commit == ""
    (tmp_path / "xget_lib/COMMIT").write_text("0123456789ab\n")
    release = read_release(tmp_path, "2")
    assert (release.version, release.commit, release.epoch, release.revision) == ("7.5", "0123456789ab", 86400, "2")


def test_a_checkout_with_changes_says_so(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@localhost"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, timeout=60)

    shutil.copy(ROOT / "setup.py", tmp_path)
    (tmp_path / "xget_lib").mkdir()
    (tmp_path / "xget_lib/__init__.py").write_text('__version__ = "7.5"\n')
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    commit = read_release(tmp_path).commit
    assert len(commit) == 12
    (tmp_path / "xget_lib/__init__.py").write_text('__version__ = "7.6"\n')
    assert read_release(tmp_path).commit == f"{commit}+changes"
