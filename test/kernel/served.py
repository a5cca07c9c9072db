"""The directory that is served to the virtual machine, and what is known of it there."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from test.kernel.facts import describe
from test.support.trees import mixed_tree, noise, small_tree, write

_LARGE = 6_000_017
_GIB = 1 << 30
_MANY = 20_000


def make(root: Path, busybox: Path) -> dict[str, Any]:
    """Everything, below a directory that is made. What the checks expect, by name, fit for JSON."""
    root.mkdir()
    facts = {**_tree(root / "tree"), **_large(root / "large"), **_names(root / "names")}
    facts["huge"] = _huge(root / "huge")
    (root / "many").mkdir()
    for number in range(_MANY):
        (root / "many" / f"entry{number}").touch()
    facts["many"] = _MANY
    (root / "changing").mkdir()
    change(root)
    shutil.copy(busybox, root / "busybox")
    return facts


def change(root: Path) -> None:
    """Puts another number into place of the one that is there."""
    number = root / "changing/number"
    new = number.with_name("new")
    new.write_text(str(int(number.read_text()) + 1 if number.exists() else 0))
    new.rename(number)


def _tree(root: Path) -> dict[str, Any]:
    mixed_tree(root, files=60)
    small_tree(root)
    root.chmod(0o755)
    os.mkfifo(root / "odd" / "fifo", 0o640)
    with suppress(PermissionError):  # only root can, and not everywhere
        os.mknod(root / "odd" / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with suppress(OSError):  # what is expected is what could be set
        os.setxattr(root / "top", "user.comment", b"\0any\xff bytes")
    tree = describe(str(root))
    return {
        "tree": tree,
        "further names": sum(facts["kind"] == stat.S_IFREG and facts["names"] > 1 for facts in tree.values()) - 1,
        "sums": "".join(
            f"{facts['content']}  {path}\n"
            for path, facts in tree.items()
            if facts["kind"] == stat.S_IFREG and path.isprintable()
        ),
    }


def _large(path: Path) -> dict[str, Any]:
    content = noise(_LARGE, 4)
    write(path, content)
    source = random.Random(5)
    ranges = [(offset, count) for offset in (0, 1, 4095, 4097) for count in (1, 4096, 8191, 131_073)]
    ranges += [(source.randrange(_LARGE), source.choice((1, 511, 70_000, 1 << 20))) for _ in range(20)]
    ranges += [(_LARGE - 1, 100), (_LARGE, 100), (_LARGE + 1, 100), ((1 << 20) - 1, (1 << 20) + 2)]
    return {
        "large": hashlib.sha256(content).hexdigest(),
        "ranges": [
            (offset, count, hashlib.sha256(content[offset : offset + count]).hexdigest()) for offset, count in ranges
        ],
    }


def _huge(path: Path) -> dict[str, Any]:
    """Some words in five GiB of nothing."""
    islands = [(_GIB, "one"), (4 * _GIB - 3, "across four"), (4 * _GIB + 4096, "beyond"), (5 * _GIB, "the end")]
    with open(path, "wb") as file:
        for offset, text in islands:
            file.seek(offset)
            file.write(text.encode())
        return {"size": file.tell(), "islands": islands}


def _names(root: Path) -> dict[str, Any]:
    names = ["ünïcödé", "名前", "имя", "🙂", " blank ", "-dash", "quote'\"`$", "n" * 255, "é" * 127 + "e"]
    root.mkdir()
    for name in names:
        (root / name).write_text(name)
    deep = ["names", *(f"level{number}" for number in range(20)), "file"]
    root.parent.joinpath(*deep).parent.mkdir(parents=True)
    root.parent.joinpath(*deep).write_text("deep")
    return {"names": names, "deep": deep}
