"""`xget.py list`: what a master serves at a path, as `ls -l` shows it, from the manifest of its generation."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Mapping
from typing import Any

from xget_lib.config import Config
from xget_lib.control.remote import TIMEOUT, read_file
from xget_lib.dataclass import replace
from xget_lib.errors import Exit, LinkLost, MasterUnreachable, NinepError, NotAdmitted, printable
from xget_lib.manifest.decoding import decode
from xget_lib.manifest.entry import BLOCK, CHARACTER, DIRECTORY, FIFO, FILE, HARD_LINK, LINK, Entry
from xget_lib.manifest.index import MANIFEST_LIMIT
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.sources import find_source
from xget_lib.net.credentials import credentials_of
from xget_lib.report.columns import columns
from xget_lib.report.output import print_line

_TYPES = {
    DIRECTORY: stat.S_IFDIR,
    FILE: stat.S_IFREG,
    HARD_LINK: stat.S_IFREG,
    LINK: stat.S_IFLNK,
    CHARACTER: stat.S_IFCHR,
    BLOCK: stat.S_IFBLK,
    FIFO: stat.S_IFIFO,
}
_KINDS = {DIRECTORY: "directory", FILE: "file", HARD_LINK: "file", LINK: "link", FIFO: "fifo"}
_RIGHT = frozenset({3})
_OLD = 182 * 86400
"""Seconds after which `ls` shows the year of a time, and no hour."""


def run(config: Config, source: bytes) -> int:
    """Print what is in a directory, or a line for anything else. Returns the exit status.

    Raises MasterUnreachable, NotAdmitted, MalformedManifest, NotServed, and UsageError for an invalid path.
    """
    manifest = decode(_read_manifest(config))
    found = find_source(manifest, source)
    entries = manifest.entries
    numbers = entries.children_of(found) if entries.kind(found) == DIRECTORY else range(found, found + 1)
    if config.json:
        for number in numbers:
            print_line(json.dumps(_facts(manifest, number)))
        return Exit.OK
    for line in columns([_row(manifest, number, time.time()) for number in numbers], _RIGHT):
        print_line(line)
    return Exit.OK


def _read_manifest(config: Config) -> bytes:
    assert config.host is not None
    begun = time.monotonic()
    where = config.host, config.port
    # A child is asked too: its certificate need not contain the name by which it is asked for.
    seconds, credentials = min(config.timeout, TIMEOUT), credentials_of(replace(config, host=None))
    try:
        return read_file(*where, "manifest", "its manifest", seconds, credentials, MANIFEST_LIMIT)
    except NotAdmitted:
        raise
    except (LinkLost, NinepError, ValueError) as error:
        why = error.why if isinstance(error, LinkLost) else str(error)
        raise MasterUnreachable(*where, time.monotonic() - begun, why) from None


def _row(manifest: Manifest, number: int, now: float) -> tuple[str, ...]:
    entry = manifest.entries[number]
    mode = stat.filemode(_TYPES[entry.kind] | entry.mode)
    size = f"{entry.device[0]}, {entry.device[1]}" if entry.kind in (CHARACTER, BLOCK) else str(_size(manifest, entry))
    to = f" -> {printable(entry.target)}" if entry.kind == LINK else ""
    return (
        mode,
        _owner(manifest.users, entry.uid),
        _owner(manifest.groups, entry.gid),
        size,
        _time(entry, now),
        _name(entry) + to,
    )


def _facts(manifest: Manifest, number: int) -> dict[str, Any]:
    """An entry as an object of JSON."""
    entry = manifest.entries[number]
    facts: dict[str, Any] = {
        "path": printable(entry.path or b"."),
        "type": _KINDS.get(entry.kind, "device"),
        "mode": f"{entry.mode:04o}",
        "user": _owner(manifest.users, entry.uid),
        "group": _owner(manifest.groups, entry.gid),
        "size": _size(manifest, entry),
        "mtime": entry.mtime_ns / 1e9,
    }
    if entry.kind in (LINK, HARD_LINK):
        facts["target" if entry.kind == LINK else "same_file_as"] = printable(entry.target)
    if entry.kind in (CHARACTER, BLOCK):
        facts["device"] = list(entry.device)
    return facts


def _size(manifest: Manifest, entry: Entry) -> int:
    if entry.kind == HARD_LINK:
        first = manifest.entries.find(entry.target)
        return manifest.entries[first].size if first is not None else 0
    return entry.size


def _owner(names: Mapping[int, str], number: int) -> str:
    return printable(names.get(number, str(number)))


def _name(entry: Entry) -> str:
    return printable(entry.path.rpartition(b"/")[2] or b".")


def _time(entry: Entry, now: float) -> str:
    seconds = entry.mtime_ns / 1e9
    try:
        form = "%b %e %H:%M" if abs(now - seconds) < _OLD else "%b %e  %Y"
        return time.strftime(form, time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        return str(entry.mtime_ns // 10**9)
