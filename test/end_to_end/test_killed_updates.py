"""An update that is killed at any moment: every file is wholly old or wholly new, and the next run ends right."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from blake3 import blake3

from test.support.cluster import Cluster, Master
from test.support.downloads import manifest_of
from test.support.relay import MIB
from test.support.trees import MOMENT, differences, noise, write

KILLS = 20
FILES = 250
LARGE = 20 * MIB


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """What a destination has from the last time."""
    root = tmp_path / "old"
    source = random.Random(1)
    for number in range(FILES):
        directory = root / f"d{number % 9}"
        directory.mkdir(parents=True, exist_ok=True)
        write(directory / f"f{number}", source.randbytes(source.randrange(30_000)))
    write(root / "large", noise(LARGE, 1))
    write(root / "stays", noise(3 * MIB, 2))
    os.symlink("large", root / "link")
    os.link(root / "large", root / "again")
    return root


@pytest.fixture
def new(old: Path, tmp_path: Path) -> Path:
    """What is served now: half of all files changed, some in size, some in the middle; some are new."""
    root = tmp_path / "served"
    shutil.copytree(old, root, symlinks=True)
    os.unlink(root / "again")
    os.link(root / "large", root / "again")
    source = random.Random(2)
    for number in range(0, FILES, 2):
        write(root / f"d{number % 9}" / f"f{number}", source.randbytes(source.randrange(30_000)), mtime=MOMENT + 1)
    with open(root / "large", "r+b") as file:
        for offset in range(0, LARGE, 3 * MIB):
            os.pwrite(file.fileno(), noise(MIB // 2, 3), offset)
    os.utime(root / "large", ns=(MOMENT + 2, MOMENT + 2))
    (root / "new").mkdir()
    for number in range(20):
        write(root / "new" / f"n{number}", source.randbytes(10_000))
    os.unlink(root / "link")
    os.symlink("stays", root / "link")
    for directory in [*root.glob("*/"), root]:
        os.utime(directory, ns=(MOMENT, MOMENT))
    return root


def contents(root: Path) -> Iterator[tuple[str, bytes]]:
    """Every name below a directory that is not XGet's own, with the digest of its content or what it points to."""
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if name == ".xget" or name.startswith(".xget/"):
            continue
        if path.is_symlink():
            yield name, os.fsencode(os.readlink(path))
        elif path.is_file():
            yield name, blake3(path.read_bytes()).digest()


def torn(dest: Path, old: dict[str, bytes], new: dict[str, bytes]) -> list[str]:
    """The names that have neither their old content nor their new one."""
    found = dict(contents(dest))
    wrong = [name for name, content in found.items() if content not in (old.get(name), new.get(name))]
    return wrong + [name for name in old if name in new and name not in found]


def kill_after(cluster: Cluster, master: Master, dest: Path, seconds: float) -> bool:
    """Start an update and kill the process that does it. Whether it still was at work."""
    client = cluster.client(master, dest, options=["--linger", "0"])
    background = client.background()
    time.sleep(seconds)
    with suppress(ProcessLookupError):
        os.kill(background, signal.SIGKILL)
    return client.ended().status != 0


def test_twenty_kills_leave_every_file_wholly_old_or_wholly_new(cluster: Cluster, old: Path, new: Path) -> None:
    master = cluster.master(new)
    before, after = dict(contents(old)), dict(contents(new))
    dest = cluster.base / "dest"
    shutil.copytree(old, dest, symlinks=True)
    begun = time.monotonic()
    assert cluster.get(master, dest).status == 0
    whole = time.monotonic() - begun
    assert differences(new, dest) == []

    source = random.Random(os.urandom(8))
    killed = 0
    while killed < KILLS:  # what a killed run left is met by one that is killed again, until one is not
        if differences(new, dest) == []:
            shutil.rmtree(dest)
            shutil.copytree(old, dest, symlinks=True)
        if kill_after(cluster, master, dest, source.uniform(0.1, 0.9) * whole):
            killed += 1
            assert torn(dest, before, after) == []
        else:
            assert differences(new, dest) == []
    ended = cluster.get(master, dest)
    assert (ended.status, ended.stderr) == (0, "")
    assert differences(new, dest) == []
    assert manifest_of(dest).generation.hex() == ended.done["generation"]
    assert not (dest / ".xget").exists()
