"""Patterns for names that are left out, in the language of rsync (`--exclude`; rsync(1), PATTERN MATCHING RULES).

    cache           a name, at any depth                    *.o         `*`: any characters but /
    /cache          only at the top                         file?       `?`: one character but /
    a/cache         the last parts of a path                [a-z]x      a class, also [!a-z] and [[:digit:]]
    cache/          only a directory                        a/**/b      `**`: any characters
    dir/***         a directory and all below it            + keep.o    what matches is not left out

The first pattern that matches a path decides; a path that none matches stays. What is below a directory that is left
out is left out too, and is not looked at. Paths are bytes, without a / at either end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from xget_lib.dataclass import dataclass

_WILD = re.compile(rb"[*?\[]")
_NEVER = rb"(?!)"
_SLASH = ord("/")
_CLASSES: dict[bytes, bytes] = {
    b"alnum": rb"0-9A-Za-z",
    b"alpha": rb"A-Za-z",
    b"blank": rb"\t ",
    b"cntrl": rb"\x00-\x1f\x7f",
    b"digit": rb"0-9",
    b"graph": rb"!-~",
    b"lower": rb"a-z",
    b"print": rb" -~",
    b"punct": rb"!-/:-@\[-`{-~",
    b"space": rb"\t-\r ",
    b"upper": rb"A-Z",
    b"xdigit": rb"0-9A-Fa-f",
}
"""The characters of each POSIX class in the C locale, as Python's `re` writes them."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """One pattern. `tail`: how many of the last parts of a path it is compared with; 0: the whole path."""

    excludes: bool
    matches: re.Pattern[bytes]
    tail: int
    only_directories: bool
    slash_before: bool
    """Whether a / is put before the path: so `**/x` matches at the top too."""
    slash_after: bool
    """Whether a / is put after the path of a directory: so `dir/***` matches the directory."""

    def fits(self, path: bytes, is_directory: bool) -> bool:
        if self.only_directories and not is_directory:
            return False
        if self.tail:
            parts = path.rsplit(b"/", self.tail)
            if len(parts) < self.tail:
                return False
            text = b"/".join(parts[-self.tail :])
        else:
            text = path
        if self.slash_before:
            text = b"/" + text
        if self.slash_after and is_directory:
            text += b"/"
        return self.matches.fullmatch(text) is not None


class Patterns:
    """Some patterns in their order. Immutable."""

    def __init__(self, texts: Iterable[bytes] = ()) -> None:
        self.texts: tuple[bytes, ...] = tuple(texts)
        self._patterns = tuple(map(_compile, self.texts))

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Patterns) and self.texts == other.texts

    def __hash__(self) -> int:
        return hash(self.texts)

    def exclude(self, path: bytes, *, is_directory: bool) -> bool:
        """Whether a path is left out, if nothing above it is."""
        for pattern in self._patterns:
            if pattern.fits(path, is_directory):
                return pattern.excludes
        return False

    def covers(self, path: bytes, *, is_directory: bool) -> bool:
        """Whether a path, or a directory above it, is left out."""
        at = path.find(b"/")
        while at >= 0:
            if self.exclude(path[:at], is_directory=True):
                return True
            at = path.find(b"/", at + 1)
        return bool(path) and self.exclude(path, is_directory=is_directory)


def _compile(text: bytes) -> _Pattern:
    excludes = not text.startswith(b"+ ")
    pattern = text[2:] if text[:2] in (b"+ ", b"- ") else text
    wild = _WILD.search(pattern) is not None
    crosses = wild and b"**" in pattern
    any_prefix = crosses and pattern.startswith(b"**")
    only_directories = len(pattern) > 1 and pattern.endswith(b"/")
    if only_directories:
        pattern = pattern[:-1]
    slash_after = crosses and pattern.endswith(b"***")
    slashes = pattern.count(b"/")
    anchored = pattern.startswith(b"/")
    if anchored:
        pattern = pattern[1:]
    expression = _expression(pattern) if wild else re.escape(pattern)
    if crosses and not anchored and not any_prefix:
        expression = rb"(?:.*/)?" + expression  # after each slash
    tail = 0 if anchored or crosses else slashes + 1
    return _Pattern(
        excludes, re.compile(expression, re.DOTALL), tail, only_directories, any_prefix and not anchored, slash_after
    )


def _expression(pattern: bytes) -> bytes:
    """A pattern with wildcards as a regular expression of Python."""
    made, at = [], 0
    while at < len(pattern):
        char = pattern[at : at + 1]
        at += 1
        if char == b"*":
            stars = len(pattern) - at - len(pattern[at:].lstrip(b"*"))
            at += stars
            made.append(rb".*" if stars else rb"[^/]*")
        elif char == b"?":
            made.append(rb"[^/]")
        elif char == b"[":
            expression, at = _class(pattern, at)
            made.append(expression)
        elif char == b"\\":
            made.append(re.escape(pattern[at : at + 1]) or _NEVER)
            at += 1
        else:
            made.append(re.escape(char))
    return b"".join(made)


def _class(pattern: bytes, at: int) -> tuple[bytes, int]:
    """The class that begins before `at`, and where it ends. One that does not end, or names an unknown POSIX class,
    matches nothing. No class matches a slash."""
    negated = pattern[at : at + 1] in (b"!", b"^")
    at += negated
    members: list[Sequence[int]] = []
    former: int | None = None
    named = b""
    first = True
    while first or pattern[at : at + 1] != b"]":
        first = False
        char = pattern[at : at + 1]
        if not char:
            return _NEVER, len(pattern)
        if char == b"-" and former is not None and pattern[at + 1 : at + 2] not in (b"", b"]"):
            at += 1
            at += pattern[at : at + 1] == b"\\"
            if at >= len(pattern):
                return _NEVER, at
            members.append(range(former, pattern[at] + 1))
            former = None
        elif char == b"[" and pattern[at + 1 : at + 2] == b":":
            end = pattern.find(b"]", at + 2)
            if end < 0:
                return _NEVER, len(pattern)
            if pattern[end - 1 : end] != b":" or end - 1 < at + 2:
                members.append([ord("[")])  # no POSIX class: the [ stands for itself
                former = ord("[")
            else:
                name = pattern[at + 2 : end - 1]
                if name not in _CLASSES:
                    return _NEVER, len(pattern)
                named += _CLASSES[name]
                former, at = None, end
        else:
            at += char == b"\\"
            if at >= len(pattern):
                return _NEVER, at
            former = pattern[at]
            members.append([former])
        at += 1
    return _of_members(members, named, negated=negated), at + 1


def _of_members(members: Iterable[Sequence[int]], named: bytes, *, negated: bool) -> bytes:
    numbers = sorted({number for some in members for number in some})
    inner = named + b"".join(b"\\x%02x" % number for number in numbers)
    if not inner:
        return rb"[^/]" if negated else _NEVER
    return rb"(?!/)[" + (b"^" if negated else b"") + inner + b"]"


NO_PATTERNS = Patterns()
