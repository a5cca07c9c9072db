"""The file `xget.sig` beside a served directory: what was signed there, one line of JSON for each, the newest first.

It has the last generations of all directories beside it. So a link that is switched to another release, and a second
master, find theirs, and the highest serial in the file is that of everything that goes out from here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence

from xget_lib.errors import Failed, UsageError, printable
from xget_lib.fs.lock_file import locked
from xget_lib.manifest.entry import is_within
from xget_lib.manifest.selection import STAGING
from xget_lib.manifest.signature import NUMBER_LIMIT, Signed

NAME = b"xget.sig"
LINES_KEPT = 64
FILE_LIMIT = 1 << 15
"""Bytes: a line has some 250, and all of it goes into a message between processes."""
TRIES = 16
"""How often to sign again because somebody else has signed meanwhile."""
_LOCK_SECONDS = 10.0
"""Whoever locks the file only writes one of this size."""


def usual_path(root: bytes) -> bytes | None:
    """The signature file of what is served: in the directory that has it, links in its path followed. So it comes with
    a link that is switched. None for `/`, which nothing is beside."""
    at = os.path.realpath(root)
    return None if at == b"/" else os.path.join(os.path.dirname(at), NAME)


def path_of(root: bytes, option: str | None, *, one_file_system: bool) -> bytes:
    """The signature file of what is served: that of `--signature`, or the usual one. Raises UsageError.

    It must not be served itself: each signature would make a generation that is not signed.
    """
    path = os.fsencode(option) if option else usual_path(root)
    if path is None:
        raise UsageError("nothing is beside the directory / (give --signature FILE, and the same to the master)")
    if _is_served(os.path.realpath(path), os.path.realpath(root), one_file_system=one_file_system):
        raise UsageError(f"--signature {printable(path)}: is in what it signs (name a file outside)")
    return path


def _is_served(path: bytes, root: bytes, *, one_file_system: bool) -> bool:
    if not is_within(path, root.rstrip(b"/")) or STAGING in path.split(b"/"):
        return False
    try:
        return not one_file_system or os.stat(os.path.dirname(path)).st_dev == os.stat(root).st_dev
    except OSError:
        return False  # nothing can be written there, and the error says so


def read(path: bytes) -> list[Signed]:
    """What the file has; nothing if there is none. Raises Failed, also where only a part is valid."""
    signed, trouble = read_valid(path)
    if trouble is not None:
        raise trouble
    return signed


def read_valid(path: bytes) -> tuple[list[Signed], Failed | None]:
    """What can be read, and why the rest cannot."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            text = file.read(FILE_LIMIT + 1) or b""
    except FileNotFoundError:
        return [], None
    except OSError as error:
        return [], Failed(printable(path), error.strerror or str(error))
    if len(text) > FILE_LIMIT:
        return [], Failed(printable(path), f"more than {FILE_LIMIT} bytes")
    signed, trouble = [], None
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            signed += decode(line)
        except ValueError as error:
            trouble = trouble or Failed(f"{printable(path)} line {number}", f"not a signature ({error})")
    return signed, trouble


def encode(lines: Sequence[Signed]) -> bytes:
    return b"".join(json.dumps(each.fields).encode() + b"\n" for each in lines)


def decode(text: bytes) -> list[Signed]:
    """Empty lines, as editors leave them, are skipped. Raises ValueError."""
    try:
        return [Signed.of_fields(json.loads(line)) for line in text.splitlines() if line.strip()]
    except RecursionError:
        raise ValueError("too deep") from None


def newest(signed: Sequence[Signed]) -> Signed | None:
    """The one with the highest serial."""
    return max(signed, key=lambda each: each.signature.serial, default=None)


def highest_serial(signed: Iterable[Signed]) -> int:
    """0 if nothing is signed."""
    return max((each.signature.serial for each in signed), default=0)


def add(path: bytes, signed: Signed) -> bool:
    """Adds a line, durably, and drops those of the same generation, and the oldest beyond LINES_KEPT. Raises Failed.

    Returns False, and writes nothing, if the file has its serial by now, or a higher one: somebody else has signed
    meanwhile. Then sign again, with a higher one. A line that is there already is not added again.

    The lock is a file of its own: every user who can read the directory could lock that, and nobody could sign. A link
    stays, and the file that it leads to gets the line.
    """
    path = os.path.realpath(path)
    try:
        with locked(path + b".lock", _LOCK_SECONDS):
            there = read(path)
            if signed in there:
                return True
            if highest_serial(there) >= signed.signature.serial:
                return False
            others = [each for each in there if each.generation != signed.generation]
            _write(path, encode([signed, *others][:LINES_KEPT]))
    except OSError as error:
        raise Failed(printable(path), error.strerror or str(error)) from None
    return True


def _write(path: bytes, text: bytes) -> None:
    new = path + b".new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    os.rename(new, path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def next_serial(former: int, now: float) -> int:
    """The serial of a new signature. `former`: the highest that is known; 0 if none is. `now`: seconds since 1970.

    The time makes it higher than those of signers that this one knows nothing of, and `former` higher than its own if
    the clock goes back. Raises Failed where none can follow.
    """
    if former >= NUMBER_LIMIT:
        raise Failed(f"serial {former}", "no higher one can be given (use a new key, and another signature file)")
    return max(former + 1, int(now))
