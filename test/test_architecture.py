"""Every path that ARCHITECTURE.md names exists, so that the map stays one of this country.

A path is a word in `back quotes` or in an indented or fenced block that ends in a known suffix or a slash, or whose
first part is a directory here. It counts from the top, from xget_lib, or from the directory whose line stands above it
in a block, further to the left. Absolute paths, <placeholders> and patterns are not ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "ARCHITECTURE.md"

WORD = re.compile(r"(?<![\w./<>*-])[\w.@-]+(?:/[\w.@-]+)*/?(?![\w/<>*])")
SUFFIXES = (".py", ".md", ".toml", ".sh", ".txt", ".service")


def is_path(word: str, root: Path) -> bool:
    if word.endswith(SUFFIXES) or (word.endswith("/") and word.strip("./")):
        return True
    return "/" in word and any((root / base / word.split("/")[0]).is_dir() for base in ("", "xget_lib"))


def named_paths(text: str, root: Path) -> Iterator[tuple[str, list[str]]]:
    """Each path as it is written, and where it may be, from the top."""
    fenced = False
    above: list[tuple[int, str]] = []  # indentation and directory of the lines that this one may belong to
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            indent = len(line) - len(line.lstrip())
            above = [(column, name) for column, name in above if column < indent]
            inside = "".join(name for _, name in above)
            words = [word for word in WORD.findall(line) if is_path(word, root)]
            if words and words[0].endswith("/") and line.lstrip().startswith(words[0]):
                yield words[0], [inside + words[0], words[0], f"xget_lib/{words[0]}"]
                above.append((indent, words.pop(0)))
                inside = "".join(name for _, name in above)
            yield from ((word, [inside + word, word, f"xget_lib/{word}"]) for word in words)
        else:
            above = []
            quoted = " ".join(re.findall(r"`([^`\s]+)`", line))
            yield from ((word, [word, f"xget_lib/{word}"]) for word in WORD.findall(quoted) if is_path(word, root))


def missing_paths(text: str, root: Path) -> list[str]:
    return [
        word for word, candidates in named_paths(text, root) if not any((root / name).exists() for name in candidates)
    ]


def test_every_path_in_the_architecture_exists() -> None:
    text = DOCUMENT.read_text()
    assert len(list(named_paths(text, ROOT))) > 20, "the paths are not found any more"
    assert missing_paths(text, ROOT) == []


@pytest.mark.parametrize(
    "text",
    [
        "See `ninep/gone.py`.",
        "See `xget_lib/gone/`.",
        "See `ninep/gone`.",
        "    xget_lib/\n      ninep/     the protocol\n        gone.py   nothing\n",
        "```\nxget_lib/\n  ninep/\n    wire.py  gone.py\n```\n",
        "    xget_lib/\n      ninep/\n    wire.py   at the wrong place\n",
    ],
)
def test_a_path_that_does_not_exist_is_found(text: str, tmp_path: Path) -> None:
    (tmp_path / "xget_lib" / "ninep").mkdir(parents=True)
    (tmp_path / "xget_lib" / "ninep" / "wire.py").touch()
    assert len(missing_paths(text, tmp_path)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "See `ninep/wire.py` and `xget_lib/ninep/`; T/R messages, `/srv/images`, `<dest>/gone.py`, `test/*.py`, `2.0`.",
        "    xget_lib/\n      ninep/     read/write\n        wire.py   nothing\n",
        "```\nxget_lib/\n  ninep/\n    wire.py\n```\nSee `ninep/wire.py`.",
    ],
)
def test_what_exists_or_is_no_path_is_fine(text: str, tmp_path: Path) -> None:
    (tmp_path / "xget_lib" / "ninep").mkdir(parents=True)
    (tmp_path / "xget_lib" / "ninep" / "wire.py").touch()
    assert missing_paths(text, tmp_path) == []
