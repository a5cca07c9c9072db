"""The bytes of 9P: integers, strings and qids, and whole layouts of them.

Section 5 of the Plan 9 manual gives every message as one line, such as

    fid[4] newfid[4] nwname[2] nwname*(wname[s])

and so does this package: `Layout` compiles that line, so that what a message looks like stands in one place, in the
manual's own notation. The number in brackets is a field's size in bytes (little-endian, unsigned), and

    name[s]                    a string: its length in 2 bytes, then UTF-8 without NUL
    name[n]                    a datum: its length in 2 bytes, then bytes
    qid[13]                    type[1] version[4] path[8]
    count[4] data[count]       bytes, as many as `count` says; the count is no field of its own
    nwname[2] nwname*(wname[s])  at most MAXWELEM strings (or qids), likewise

What is read comes from a stranger: no length is believed before it is compared with the bytes that are there, and
whatever is wrong is a ProtocolViolation. What is written comes from us; only a string that 9P cannot carry (a file's
name may be any bytes) is an error of its own, a NinepError, because it spoils one reply and not the connection.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Protocol

from xget_lib.errors import NinepError, ProtocolViolation

Buffer = bytes | bytearray | memoryview

NOTAG = 0xFFFF
NOFID = 0xFFFFFFFF
MAXWELEM = 16  # names in one Twalk, qids in one Rwalk: walk(5)

# The type of a qid: the high 8 bits of a stat's mode, intro(5).
QTDIR = 0x80
QTAPPEND = 0x40
QTEXCL = 0x20
QTAUTH = 0x08
QTTMP = 0x04
QTSYMLINK = 0x02  # not in plain 9P2000
QTFILE = 0x00

HEADER = Struct("<IBH")  # size[4] type[1] tag[2]: how every message begins; size counts itself


@dataclass(frozen=True, slots=True)
class Qid:
    """The server's unique identification of a file: two files are the same if and only if their qids are."""

    type: int
    version: int
    path: int


class Field(Protocol):
    """How one field is read and written."""

    def get(self, data: Buffer, at: int) -> tuple[Any, int]:
        """The value that begins at `at`, and where the next field begins. Raises ProtocolViolation."""

    def put(self, value: Any, parts: list[bytes]) -> None:
        """Appends the bytes of `value` to `parts`. Raises NinepError for what 9P cannot carry."""


def _end(data: Buffer, at: int, length: int) -> int:
    """Where `length` bytes from `at` end, if they are all there."""
    end = at + length
    if end > len(data):
        raise ProtocolViolation(f"too short: {length} bytes announced, {max(len(data) - at, 0)} there")
    return end


class Integer:
    """An unsigned integer of 1, 2, 4 or 8 bytes."""

    def __init__(self, size: int) -> None:
        self.code = {1: "B", 2: "H", 4: "I", 8: "Q"}[size]
        self._struct = Struct("<" + self.code)

    def get(self, data: Buffer, at: int) -> tuple[int, int]:
        end = _end(data, at, self._struct.size)
        return self._struct.unpack_from(data, at)[0], end

    def put(self, value: int, parts: list[bytes]) -> None:
        parts.append(self._struct.pack(value))


class QidField:
    _struct = Struct("<BIQ")

    def get(self, data: Buffer, at: int) -> tuple[Qid, int]:
        end = _end(data, at, self._struct.size)
        return Qid(*self._struct.unpack_from(data, at)), end

    def put(self, value: Qid, parts: list[bytes]) -> None:
        parts.append(self._struct.pack(value.type, value.version, value.path))


class Datum:
    """Bytes behind their count, which takes 2 or 4 bytes."""

    def __init__(self, size: int) -> None:
        self._count = Integer(size)
        self._limit = 256**size - 1

    def get(self, data: Buffer, at: int) -> tuple[bytes, int]:
        length, at = self._count.get(data, at)
        end = _end(data, at, length)
        return bytes(data[at:end]), end

    def put(self, value: bytes, parts: list[bytes]) -> None:
        if len(value) > self._limit:
            raise NinepError(errno.EMSGSIZE, f"{len(value)} bytes where 9P has room for {self._limit}")
        self._count.put(len(value), parts)
        parts.append(value)


class String:
    """Text; or a Linux file name, which may be any bytes, as Python has it: `os.fsdecode` made it from these."""

    _datum = Datum(2)

    def __init__(self, errors: str = "strict") -> None:
        self._errors = errors

    def get(self, data: Buffer, at: int) -> tuple[str, int]:
        raw, end = self._datum.get(data, at)
        try:
            text = raw.decode(errors=self._errors)
        except UnicodeDecodeError:
            raise ProtocolViolation("a string is not UTF-8") from None
        if "\0" in text:
            raise ProtocolViolation("a string contains NUL")
        return text, end

    def put(self, value: str, parts: list[bytes]) -> None:
        try:
            raw = value.encode(errors=self._errors)
        except UnicodeEncodeError:
            raise NinepError(errno.EILSEQ, f"not UTF-8: {value!a}") from None
        if "\0" in value:
            raise NinepError(errno.EILSEQ, f"contains NUL: {value!a}")
        self._datum.put(raw, parts)


class Repeated:
    """At most MAXWELEM fields of one kind behind their count[2]."""

    _count = Integer(2)

    def __init__(self, each: Field) -> None:
        self._each = each

    def get(self, data: Buffer, at: int) -> tuple[tuple[Any, ...], int]:
        count, at = self._count.get(data, at)
        if count > MAXWELEM:
            raise ProtocolViolation(f"{count} elements in a walk, {MAXWELEM} are allowed")
        values = []
        for _ in range(count):
            value, at = self._each.get(data, at)
            values.append(value)
        return tuple(values), at

    def put(self, value: tuple[Any, ...], parts: list[bytes]) -> None:
        if len(value) > MAXWELEM:
            raise NinepError(errno.E2BIG, f"{len(value)} elements in a walk, {MAXWELEM} are allowed")
        self._count.put(len(value), parts)
        for each in value:
            self._each.put(each, parts)


_SYNOPSIS = re.compile(
    r"""(?P<count>\w+)\[(?P<size>[24])\]\ (?P<data>\w+)\[(?P=count)\]
      | (?P<number>\w+)\[2\]\ (?P=number)\*\((?P<element>\w+)\[(?P<kind>s|13)\]\)
      | (?P<name>\w+)\[(?P<sort>[1248sn]|13)\]""",
    re.VERBOSE,
)
_FIELDS: dict[str, Field] = {
    **{str(size): Integer(size) for size in (1, 2, 4, 8)},
    "13": QidField(),
    "s": String(),
    "n": Datum(2),
}
_LINUX_FIELDS: dict[str, Field] = {**_FIELDS, "s": String("surrogateescape")}


def _parse(synopsis: str, kinds: dict[str, Field]) -> list[tuple[str, Field]]:
    fields: list[tuple[str, Field]] = []
    at = 0
    while at < len(synopsis):
        match = _SYNOPSIS.match(synopsis, at)
        if match is None:
            raise ValueError(f"not in the notation of the manual: {synopsis[at:]}")
        if match["data"]:
            fields.append((match["data"], Datum(int(match["size"]))))
        elif match["element"]:
            fields.append((match["element"], Repeated(kinds[match["kind"]])))
        else:
            fields.append((match["name"], kinds[match["sort"]]))
        at = match.end() + 1
    return fields


class Layout:
    """The fields behind one another, compiled from the manual's line. `names` are those of the values, in order.

    With `linux`, strings are file names of Linux, so any bytes but NUL.
    """

    def __init__(self, synopsis: str, *, linux: bool = False) -> None:
        self.synopsis = synopsis
        fields = _parse(synopsis, _LINUX_FIELDS if linux else _FIELDS)
        self.names = tuple(name for name, _ in fields)
        self._fields = tuple(field for _, field in fields)
        # Integers alone are one struct: Tread comes once for every piece of data served.
        codes = [field.code for field in self._fields if isinstance(field, Integer)]
        self._struct = Struct("<" + "".join(codes)) if len(codes) == len(fields) else None

    def unpack(self, data: Buffer, at: int = 0) -> Sequence[Any]:
        """The values from `at` to the very end of `data`. Raises ProtocolViolation, also for bytes left over."""
        if self._struct is not None:
            if len(data) - at != self._struct.size:
                raise ProtocolViolation(f"{len(data) - at} bytes where {self._struct.size} belong")
            return self._struct.unpack_from(data, at)
        values = []
        for field in self._fields:
            value, at = field.get(data, at)
            values.append(value)
        if at != len(data):
            raise ProtocolViolation(f"{len(data) - at} bytes left over")
        return values

    def pack(self, source: object) -> list[bytes]:
        """The bytes of `source`'s attributes of these names, in parts, to be joined. Raises NinepError."""
        parts: list[bytes] = []
        for name, field in zip(self.names, self._fields, strict=True):
            field.put(getattr(source, name), parts)
        return parts
