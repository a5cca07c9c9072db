"""Compares a copy with its source by rsync, and excuses what the client itself said it could not do."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from xget_lib.errors import printable

_ESCAPE = re.compile(rb"\\#([0-7]{3})")
_LINE = re.compile(rb"(\*deleting  |[<>ch.][fdLDS][^ ]{9}|h[fdLDS] {9}) (.*)")
_SET_ID = stat.S_ISUID | stat.S_ISGID


@dataclass(frozen=True)
class Difference:
    """One fact of one path that rsync would change."""

    path: bytes
    """Relative to the copy."""
    kind: str
    """As rsync names it: f, d, L, D (device), S (FIFO or socket); "" for what is in the copy only."""
    what: str
    """content, time, mode, owner, acl, xattr, missing, link (a hard link), or extra."""
    original: Path
    copy: Path

    @property
    def modes(self) -> tuple[int, int]:
        return stat.S_IMODE(self.original.lstat().st_mode), stat.S_IMODE(self.copy.lstat().st_mode)

    def __str__(self) -> str:
        more = ""
        with suppress(OSError):
            if self.what == "mode":
                more = f" {self.modes[0]:o}, there {self.modes[1]:o}"
            if self.what == "time":
                more = f" {self.original.lstat().st_mtime_ns}, there {self.copy.lstat().st_mtime_ns}"
        return f"{self.what} of {self.kind}:{printable(self.path)}{more}"


def differences(source: Path, copy: Path, parts: Sequence[str], options: Sequence[str]) -> list[Difference]:
    """What rsync would do to make the copy like the source.

    `parts`: the paths that were asked for. `options`: further ones of rsync.
    """
    command = ["rsync", "-aHAXn", "--numeric-ids", "--checksum", "--modify-window=-1", "--out-format=%i %n%L", *options]
    words = [f"{source}/"] if tuple(parts) == (".",) else [f"{source}/{part}" for part in parts]
    done = subprocess.run([*command, "--", *words, f"{copy}/"], capture_output=True, check=False, timeout=300)
    # rsync ends with 23 where it cannot read a file, of which it then says nothing.
    if done.returncode not in (0, 23, 24):
        raise AssertionError(f"rsync: {done.stderr.decode(errors='replace')[-2000:]}")
    tops = {part.rpartition("/")[2]: part for part in parts}
    found = []
    for line in done.stdout.split(b"\n"):
        if not (match := _LINE.fullmatch(line)):
            continue
        name, to_link, _ = match[2].partition(b" => ")
        if match[1][1:2] == b"L" and not to_link:
            name = name.partition(b" -> ")[0]
        path = _ESCAPE.sub(lambda escape: bytes([int(escape[1], 8)]), name).rstrip(b"/")
        path = b"" if path == b"." else path
        top, _, rest = os.fsdecode(path).partition("/")
        facts = _facts(match[1].decode(), bool(to_link))
        kind = "" if facts == ["extra"] else match[1][1:2].decode()
        original, there = source / tops.get(top, top) / rest, copy / os.fsdecode(path)
        found += [Difference(path, kind, what, original, there) for what in facts]
    return found


def _facts(code: str, to_link: bool) -> list[str]:
    if code.startswith("*"):
        return ["extra"]
    if "+" in code:
        return ["missing"]
    letters = {"c": "content", "s": "content", "t": "time", "T": "time", "p": "mode", "o": "owner", "g": "owner"}
    letters |= {"a": "acl", "x": "xattr"}
    found = [letters[letter] for letter in code[2:] if letter in letters]
    if to_link:
        found.append("link")
    if code[0] in "<>c" and not found:
        found = ["content"]
    return sorted(set(found))


Excuse = Callable[[Difference], bool]


def _is(*whats: str, kinds: str = "") -> Excuse:
    return lambda difference: difference.what in whats and (not kinds or difference.kind in kinds)


def _set_id(difference: Difference) -> bool:
    return difference.what == "mode" and not (difference.modes[0] ^ difference.modes[1]) & ~_SET_ID


def _rounded(difference: Difference) -> bool:
    """Two seconds, or a year that a file system does not have."""
    if difference.what != "time":
        return False
    wanted, there = difference.original.lstat().st_mtime_ns, difference.copy.lstat().st_mtime_ns
    return abs(wanted - there) <= 2 * 10**9 or not 315_532_800 <= wanted // 10**9 <= 2**31 - 2


def _lower_mode(difference: Difference) -> bool:
    """An access list that could not be set: the mode gives nobody more than it did."""
    return difference.what == "acl" or (difference.what == "mode" and not difference.modes[1] & ~difference.modes[0])


def _socket(difference: Difference) -> bool:
    return difference.kind == "S" and stat.S_ISSOCK(difference.original.lstat().st_mode)


def _of_download(difference: Difference) -> bool:
    return b".xget" in difference.path.split(b"/")


NOTES: tuple[tuple[str, Excuse], ...] = (
    (r"owners and groups were not preserved", _is("owner")),
    (r"some owners were not preserved", _is("owner")),
    (r"set-user-ID and set-group-ID bits were not preserved", _set_id),
    (
        r"set-id bits and capabilities were not set",
        lambda difference: _set_id(difference) or difference.what == "xattr",
    ),
    (r"capabilities and other attributes were not preserved", _is("xattr")),
    (r"symbolic links were not created", _is("missing", "link", kinds="L")),
    (r"FIFOs were not created", _is("missing", "link", kinds="S")),
    (r"devices were not created", _is("missing", "link", kinds="D")),
    (r"some hard links were created as copies", _is("link")),
    (r"some modification times were not preserved exactly", _rounded),
    (r"some times were not preserved", _is("time")),
    (r"some permissions were not preserved", _is("mode", "acl")),
    (r"some access lists were not preserved", _lower_mode),
    (r"some extended attributes \(\S+\) were not preserved", _is("xattr")),
    (r"was not removed: a file system is mounted there", _is("extra")),
    (r"was not removed: it belongs to another download", _is("extra")),
    (r"skipped: a socket", _socket),
    (r"skipped: left by an interrupted download", _of_download),
    (r"skipped: .*\.xget", _of_download),
    (r"skipped: .*temporary data", _of_download),
    (r"skipped: on another file system", lambda difference: True),
    (r"copied as a symbolic link to", lambda difference: False),
)
"""A note of the client, and which differences it excuses."""

ERRORS: tuple[tuple[str, Excuse], ...] = ((r"would be removed, but --max-delete is", _is("extra")),)
"""An error of the client that names no path."""

OPTIONS: dict[str, Excuse] = {
    "-s": lambda difference: difference.what in ("mode", "acl", "xattr"),
    "-o": lambda difference: difference.what == "owner" or _set_id(difference),
}

_OTHERS = re.compile(r"(.*?) and (\d+) others?: (.*)", re.DOTALL)
_MORE = re.compile(r"(\d+) more paths? (were|was) refused")


class Excuses:
    """What the client said of one run."""

    def __init__(
        self, notes: Iterable[str], errors: Iterable[str], options: Iterable[str], dest: Path, names: dict[str, str]
    ) -> None:
        """`names`: by first name in the copy, the path that was asked for."""
        self._names = names
        self._kinds = [OPTIONS[option] for option in options if option in OPTIONS]
        self._paths: list[str] = []
        self._more = 0
        self.unknown: list[str] = []
        for note in notes:
            self._add(note, NOTES)
        for error in errors:
            if more := _MORE.fullmatch(error):
                self._more += int(more[1])
            elif not self._add(error, ERRORS, is_note=False):
                path = error.partition(": ")[0]
                if others := _OTHERS.match(error):
                    path, count, _ = others.groups()
                    self._more += int(count)
                elif error.startswith(printable(bytes(dest)) + ": "):
                    path = error.removeprefix(printable(bytes(dest)) + ": ").partition(": ")[0]
                self._paths.append(path.removeprefix(printable(bytes(dest)) + "/"))

    def _add(self, line: str, table: tuple[tuple[str, Excuse], ...], *, is_note: bool = True) -> bool:
        for pattern, excuse in table:
            if re.search(pattern, line):
                self._kinds.append(excuse)
                return True
        if is_note:
            self.unknown.append(line)
        return False

    def remaining(self, found: Iterable[Difference]) -> list[str]:
        """The differences without an excuse."""
        left = [each for each in found if not any(kind(each) for kind in self._kinds) and not self._named(each)]
        if len({self._at(each) for each in left}) <= self._more:
            return []
        return [str(each) for each in left]

    def _at(self, difference: Difference) -> bytes:
        return difference.path

    def _named(self, difference: Difference) -> bool:
        """Whether an error names its path, or a directory above, or another name of the same file."""
        paths = [printable(difference.path), *_other_names(difference)]
        top, slash, rest = paths[0].partition("/")
        paths.append(self._names.get(top, top) + slash + rest)
        if difference.what == "extra" and any(at.startswith(f"{paths[0]}/") for at in self._paths):
            return True  # a directory with something that could not be removed
        return any(path == at or path.startswith(at + "/") for at in self._paths for path in paths)

    @property
    def is_partial(self) -> bool:
        """Whether something could not be placed."""
        return bool(self._paths or self._more)

    def names(self, path: bytes) -> bool:
        """Whether an error names this path, or a directory above it, or leaves paths unnamed."""
        text = printable(path)
        return bool(self._more) or any(text == at or text.startswith(at + "/") for at in self._paths)


def _other_names(difference: Difference) -> list[str]:
    """The other names of a file of the source, as far as they are near."""
    try:
        status = difference.original.lstat()
    except OSError:
        return []
    if status.st_nlink < 2 or stat.S_ISDIR(status.st_mode):
        return []
    top = difference.original
    root = Path(str(top)[: len(str(top)) - len(os.fsdecode(difference.path))]) if difference.path else top
    command = ["find", str(root), "-xdev", "-inum", str(status.st_ino), "-printf", "%P\\0"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    return [printable(name) for name in done.stdout.split(b"\0") if name]
