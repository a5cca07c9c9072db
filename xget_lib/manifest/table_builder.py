"""Builds a table entry by entry."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain

from xget_lib.manifest.entry import HARD_LINK, EntryMetadata
from xget_lib.manifest.table import Table


class TableBuilder:
    """Builds a table. The caller adds the entries in the order of the table."""

    def __init__(self) -> None:
        self._kinds = bytearray()
        self._names: list[bytes] = []
        self._children = array("I")
        self._distinct_metadata: dict[EntryMetadata, int] = {}
        self._metadata_numbers = array("I")
        self._mtimes = array("q")
        self._sizes = array("Q")
        self._first_names = array("I")
        self._targets: list[bytes] = []
        self._devices = array("I")
        self._extents: dict[int, Sequence[int]] = {}

    def __len__(self) -> int:
        return len(self._kinds)

    def add(self, kind: str, name: bytes, metadata: EntryMetadata, mtime_ns: int) -> None:
        """Adds an entry. The caller adds what only its kind has (size, target, device) right afterwards."""
        self._kinds.append(ord(kind))
        self._names.append(name)
        self._metadata_numbers.append(self._distinct_metadata.setdefault(metadata, len(self._distinct_metadata)))
        self._mtimes.append(mtime_ns)

    def add_hard_link(self, name: bytes, first_name: int) -> None:
        """Adds another name of an earlier entry."""
        self._kinds.append(ord(HARD_LINK))
        self._names.append(name)
        self._metadata_numbers.append(self._metadata_numbers[first_name])
        self._mtimes.append(self._mtimes[first_name])
        self._first_names.append(first_name)

    def add_size(self, size: int, extents: Sequence[int] | None) -> None:
        if extents is not None:
            self._extents[len(self._sizes)] = extents
        self._sizes.append(size)

    def add_target(self, target: bytes) -> None:
        self._targets.append(target)

    def add_device(self, major: int, minor: int) -> None:
        self._devices.extend((major, minor))

    def end_directory(self, entries: int) -> None:
        """The last `entries` entries are all that the next directory (in the order of directories) contains."""
        self._children.append(entries)

    def table(self) -> Table:
        return Table(
            kinds=bytes(self._kinds),
            names=_terminated(self._names),
            children=self._children,
            distinct_metadata=tuple(self._distinct_metadata),
            metadata_numbers=self._metadata_numbers,
            mtimes=self._mtimes,
            sizes=self._sizes,
            first_names=self._first_names,
            targets=_terminated(self._targets),
            devices=self._devices,
            extents=self._extents,
        )


def _terminated(names: list[bytes]) -> bytes:
    """The names, each followed by a NUL."""
    return b"\0".join(chain(names, (b"",)))
