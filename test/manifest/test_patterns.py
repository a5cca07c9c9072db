"""Patterns as rsync reads them: single rules, and whole trees compared with the real rsync."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xget_lib.manifest.patterns import Patterns


@pytest.mark.parametrize(
    ("pattern", "path", "is_directory", "excluded"),
    [
        (b"cache", b"cache", False, True),
        (b"cache", b"a/b/cache", True, True),
        (b"cache", b"a/cache/x", False, False),
        (b"/cache", b"cache", False, True),
        (b"/cache", b"a/cache", False, False),
        (b"a/cache", b"a/cache", False, True),
        (b"a/cache", b"x/a/cache", False, True),
        (b"a/cache", b"xa/cache", False, False),
        (b"cache/", b"a/cache", True, True),
        (b"cache/", b"a/cache", False, False),
        (b"*.o", b"a/b.o", False, True),
        (b"*.o", b"a/.o", False, True),
        (b"a*c", b"abbc", False, True),
        (b"a*b/c", b"ab/c", False, True),
        (b"a*c", b"a/c", False, False),
        (b"a/*/c", b"a/b/c", False, True),
        (b"a/*/c", b"a/b/b/c", False, False),
        (b"a/**/c", b"a/b/b/c", False, True),
        (b"a/**/c", b"a/c", False, False),
        (b"/a/**", b"a", True, False),
        (b"/a/**", b"a/b/c", False, True),
        (b"/a/***", b"a", True, True),
        (b"/a/***", b"a", False, False),
        (b"**/x", b"x", False, True),
        (b"**x", b"a/b/yx", False, True),
        (b"b**x", b"a/b/yx", False, True),
        (b"file?", b"file1", False, True),
        (b"file?", b"file", False, False),
        (b"[a-c]x", b"bx", False, True),
        (b"[!a-c]x", b"bx", False, False),
        (b"[^a-c]x", b"dx", False, True),
        (b"a[!b]c", b"a/c", False, False),
        (b"[[:digit:]]", b"7", False, True),
        (b"[]a]", b"]", False, True),
        (b"[[:nonsense:]]*", b"n", False, False),
        (b"[a", b"[a", False, False),
        (b"\\*", b"*", False, True),
        (b"a\\b", b"a\\b", False, True),
        (b"\xff*", b"\xff\xfe", False, True),
        (b"a*", b"a\nb", False, True),
    ],
)
def test_what_a_pattern_matches(pattern: bytes, path: bytes, is_directory: bool, excluded: bool) -> None:
    assert Patterns([pattern]).exclude(path, is_directory=is_directory) is excluded


def test_the_first_pattern_that_matches_decides() -> None:
    patterns = Patterns([b"+ keep.o", b"*.o", b"- x", b"+ x"])
    found = {name: patterns.exclude(name, is_directory=False) for name in (b"keep.o", b"a.o", b"x", b"y")}
    assert found == {b"keep.o": False, b"a.o": True, b"x": True, b"y": False}


def test_patterns_are_values() -> None:
    assert Patterns([b"a"]) == Patterns([b"a"]) != Patterns([b"b"])
    assert len({Patterns([b"a"]), Patterns([b"a"])}) == 1
    assert not Patterns()


@given(st.lists(st.text("ab/*?[]!^-\\:x", min_size=1, max_size=8)), st.binary(min_size=1, max_size=8), st.booleans())
def test_any_text_is_a_pattern(texts: list[str], path: bytes, is_directory: bool) -> None:
    patterns = Patterns(text.encode() for text in texts)
    assert patterns.covers(path, is_directory=is_directory) >= patterns.exclude(path, is_directory=is_directory)


def test_what_is_below_something_that_is_left_out_is_covered() -> None:
    patterns = Patterns([b"a/"])
    assert patterns.covers(b"x/a/b/c", is_directory=False)
    assert not patterns.covers(b"x/b/a", is_directory=False)
    assert not patterns.covers(b"", is_directory=True)


# The same as rsync.

NAMES = ["a", "b", "ab", "ba", "a.o", "b.c", "[a]", "-", "x y", "a*", "A", "1", "abc", ".a", "a\\b", "]"]
PARTS = [
    *("a", "b", "ab", "*", "?", "**", "*.o", "[ab]", "[!a]", "[a-b]*", "a*", "***", "\\a", "[[:alpha:]]", "b?"),
    *("[]a]", "[^1]", "[[:digit:][:upper:]]", "\\*", "[a\\]]", ".*", "[a-]", "[", "[[:x:]]", "**b", "a**", "[[:a]"),
]


def make_tree(top: Path, chance: random.Random) -> None:
    directories = [top]
    for _ in range(60):
        path = chance.choice(directories) / chance.choice(NAMES)
        if path.exists() or len(path.relative_to(top).parts) > 5:
            continue
        if chance.random() < 0.5:
            path.mkdir()
            directories.append(path)
        else:
            path.touch()


def make_pattern(chance: random.Random) -> str:
    parts = [chance.choice(PARTS) for _ in range(chance.choice([1, 1, 1, 2, 2, 3]))]
    text = ("/" if chance.random() < 0.3 else "") + "/".join(parts) + ("/" if chance.random() < 0.2 else "")
    return chance.choice(["", "", "", "", "- ", "+ ", "+ "]) + text


def taken(top: Path, patterns: Patterns, below: str = "") -> Iterator[str]:
    """The names that are not left out, as rsync prints them."""
    for path in sorted((top / below).iterdir()):
        name = f"{below}{path.name}"
        if patterns.exclude(name.encode(), is_directory=path.is_dir()):
            continue
        if path.is_dir():
            yield f"{name}/"
            yield from taken(top, patterns, f"{name}/")
        else:
            yield name


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
@pytest.mark.parametrize("seed", range(4))
def test_trees_are_filtered_as_by_rsync(tmp_path: Path, seed: int) -> None:
    compare_with_rsync(tmp_path, seed, 25)


def compare_with_rsync(base: Path, seed: int, rounds: int) -> None:
    """So many lists of patterns, for one tree."""
    chance = random.Random(seed)
    source = base / "source"
    source.mkdir()
    make_tree(source, chance)
    for _ in range(rounds):
        texts = [make_pattern(chance) for _ in range(chance.choice([1, 1, 2, 3, 5]))]
        options = [f"--exclude={text}" for text in texts]
        command = ["rsync", "-rlt", "--dry-run", "-8", "--out-format=%n", *options, f"{source}/", f"{base}/none/"]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        # It escapes \ before # only; names here have neither.
        expected = sorted(line for line in said.splitlines() if line != "./" and not line.startswith("created "))
        found = sorted(taken(source, Patterns(text.encode() for text in texts)))
        assert found == expected, texts
