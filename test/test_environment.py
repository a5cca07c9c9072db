"""scripts/environment.sh: no run compiles modules that an earlier one could have kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this one without compiled modules. Its environment is that of the tests."""
    copy = tmp_path / "checkout"
    copy.mkdir()
    for name in ("xget.py", "setup.py", "scripts", "xget_lib"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    venv = copy / ".venv"
    venv.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (venv / name).symlink_to(Path(sys.prefix) / name)
    shutil.copy(copy / "setup.py", venv / "made-for-RUNTIME")
    return copy


def run_read_only(checkout: Path, home: Path) -> None:
    """The command, in a mount namespace in which nobody can write to the checkout."""
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$1/scripts/xget" --version'
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(checkout)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("xget ")


def test_who_makes_an_environment_compiles_the_checkout(checkout: Path) -> None:
    (checkout / ".venv/made-for-RUNTIME").unlink()
    script = "install_packages() { :; }; environment RUNTIME"
    done = subprocess.run(
        ["bash", "-euc", f'ROOT=$1; . "$ROOT/scripts/environment.sh"; {script}', "test", str(checkout)],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert list((checkout / "xget_lib/node/__pycache__").glob("background.*.pyc"))


@pytest.mark.root
@pytest.mark.parametrize("compiled", [False, True])
def test_a_checkout_that_cannot_be_written_is_compiled_once(checkout: Path, tmp_path: Path, compiled: bool) -> None:
    home = tmp_path / "home"
    home.mkdir()
    if compiled:
        subprocess.run([sys.executable, "-m", "compileall", "-q", checkout / "xget_lib"], check=True)
    run_read_only(checkout, home)
    kept = list(home.rglob("cli.*.pyc"))
    assert len(kept) == (0 if compiled else 1)


@pytest.mark.root
def test_compiled_modules_of_somebody_else_are_not_run(checkout: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    run_read_only(checkout, home)
    assert list(home.iterdir()) == []
