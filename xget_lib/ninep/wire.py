"""The bytes of 9P: integers, strings, qids, and messages as sequences of them.

A field's type annotation says both what Python holds and how it travels: `fid: u32` is an int for the type checker and
four little-endian bytes for `Layout`, which reads the annotations of a class once and then packs and unpacks its
fields. In the notation of the manual, section 5 (intro(5)):

    u8, u16, u32, u64   name[1], name[2], name[4], name[8]
    text                name[s]: the length in 2 bytes, then UTF-8 without NUL
    data2               name[n]: the length in 2 bytes, then bytes
    data4               count[4] name[count]
    qid13               name[13]: type[1] version[4] path[8]
    texts, qids         nname[2] nname*(name[s]), nname[2] nname*(name[13]); at most MAXWELEM
    tail                all bytes up to the end of the message

Input comes from untrusted peers: each length is compared with the bytes that are there before it is used, and anything
malformed raises ProtocolViolation. Output comes from us; only a value that 9P cannot carry (a file name may be any
bytes) raises NinepError, because that spoils one reply and not the connection.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from operator import attrgetter
from struct import Struct
from typing import Annotated, Any, Protocol, TypeVar

from xget_lib.dataclass import dataclass, fields
from xget_lib.errors import NinepError, ProtocolViolation

Buffer = bytes | bytearray | memoryview

NOTAG = 0xFFFF
NOFID = 0xFFFFFFFF
MAXWELEM = 16  # names in one Twalk, qids in one Rwalk: walk(5)

# The type of a qid: the high 8 bits of a stat's mode, intro(5).
QTDIR = 0x80
QTAUTH = 0x08
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
        """Return the value that starts at `at`, and where it ends. Raises ProtocolViolation."""

    def put(self, value: Any, parts: list[bytes]) -> None:
        """Append the bytes of `value` to `parts`. Raises NinepError for a value that 9P cannot carry."""


def _end(data: Buffer, at: int, length: int) -> int:
    """Return where `length` bytes from `at` end. Raises ProtocolViolation if they are not all there."""
    end = at + length
    if end > len(data):
        raise ProtocolViolation(f"truncated: {length} bytes announced, {max(len(data) - at, 0)} present")
    return end


class Integer:
    """An unsigned integer of 1, 2, 4 or 8 bytes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.code = {1: "B", 2: "H", 4: "I", 8: "Q"}[size]
        self._struct = Struct("<" + self.code)

    def get(self, data: Buffer, at: int) -> tuple[int, int]:
        end = _end(data, at, self.size)
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
    """Bytes after their count, which takes 2 or 4 bytes."""

    def __init__(self, size: int) -> None:
        self._count = Integer(size)
        self._limit = 256**size - 1

    def get(self, data: Buffer, at: int) -> tuple[bytes, int]:
        length, at = self._count.get(data, at)
        end = _end(data, at, length)
        return bytes(data[at:end]), end

    def put(self, value: bytes, parts: list[bytes]) -> None:
        if len(value) > self._limit:
            raise NinepError(errno.EMSGSIZE, f"{len(value)} bytes exceed the limit of {self._limit}")
        self._count.put(len(value), parts)
        parts.append(value)


class Tail:
    """All bytes up to the end of the message."""

    def get(self, data: Buffer, at: int) -> tuple[bytes, int]:
        return bytes(data[at:]), len(data)

    def put(self, value: bytes, parts: list[bytes]) -> None:
        parts.append(value)


class String:
    """A text; or with `errors` "surrogateescape" a Linux file name, which may be any bytes, as os.fsdecode gives it."""

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
    """At most MAXWELEM fields of one kind after their count[2]."""

    _count = Integer(2)

    def __init__(self, each: Field) -> None:
        self.each = each

    def get(self, data: Buffer, at: int) -> tuple[tuple[Any, ...], int]:
        count, at = self._count.get(data, at)
        if count > MAXWELEM:
            raise ProtocolViolation(f"{count} elements in a walk (allowed: {MAXWELEM})")
        values = []
        for _ in range(count):
            value, at = self.each.get(data, at)
            values.append(value)
        return tuple(values), at

    def put(self, value: tuple[Any, ...], parts: list[bytes]) -> None:
        if len(value) > MAXWELEM:
            raise NinepError(errno.E2BIG, f"{len(value)} elements in a walk (allowed: {MAXWELEM})")
        self._count.put(len(value), parts)
        for each in value:
            self.each.put(each, parts)


TEXT, NAME = String(), String("surrogateescape")
_TEXTS, _NAMES = Repeated(TEXT), Repeated(NAME)
_AS_LINUX_NAMES: dict[Field, Field] = {TEXT: NAME, _TEXTS: _NAMES}
_UNIX_ONLY = "not in plain 9P2000"

T = TypeVar("T")

u8 = Annotated[int, Integer(1)]
u16 = Annotated[int, Integer(2)]
u32 = Annotated[int, Integer(4)]
u64 = Annotated[int, Integer(8)]
text = Annotated[str, TEXT]
texts = Annotated[tuple[str, ...], _TEXTS]
data2 = Annotated[bytes, Datum(2)]
data4 = Annotated[bytes, Datum(4)]
qid13 = Annotated[Qid, QidField()]
qids = Annotated[tuple[Qid, ...], Repeated(QidField())]
tail = Annotated[bytes, Tail()]
Unix = Annotated[T, _UNIX_ONLY]
"""A field that only 9P2000.u and 9P2000.L have: `n_uname: Unix[u32]`. It must be the last and have a default."""


class Layout:
    """The fields of one class, packed and unpacked in their order.

    The module of the class must not import annotations from __future__: they are read here as objects. A field that is
    not annotated with one of the types above does not travel.
    """

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self.fields = fields
        self.names = tuple(fields)
        # Integers alone are one struct: there is one Tread for each piece of data served.
        codes = [field.code for field in fields.values() if isinstance(field, Integer)]
        self._struct = Struct("<" + "".join(codes)) if len(codes) == len(fields) else None
        self._values = attrgetter(*fields) if len(fields) > 1 else None

    @staticmethod
    def of(kind: type, *, unix: bool, linux: bool = False) -> Layout:
        """The layout of a dataclass, in plain 9P2000 or with the fields of `unix`. With `linux`, strings are Linux file
        names, so any bytes but NUL."""
        found: dict[str, Field] = {}
        for each in fields(kind):
            how, *marks = getattr(each.type, "__metadata__", (None,))
            if how is not None and (unix or _UNIX_ONLY not in marks):
                found[each.name] = _AS_LINUX_NAMES.get(how, how) if linux else how
        return Layout(found)

    def unpack(self, data: Buffer, at: int = 0) -> Sequence[Any]:
        """Return the values from `at` to the end of `data`. Raises ProtocolViolation, also for bytes left over."""
        if self._struct is not None:
            if len(data) - at != self._struct.size:
                raise ProtocolViolation(f"{len(data) - at} bytes instead of {self._struct.size}")
            return self._struct.unpack_from(data, at)
        values = []
        for field in self.fields.values():
            value, at = field.get(data, at)
            values.append(value)
        if at != len(data):
            raise ProtocolViolation(f"{len(data) - at} extra bytes at the end")
        return values

    def pack(self, source: object) -> list[bytes]:
        """Return the bytes of the fields of `source`, in parts to be joined. Raises NinepError."""
        if self._struct is not None and self._values is not None:
            return [self._struct.pack(*self._values(source))]
        parts: list[bytes] = []
        for name, field in self.fields.items():
            field.put(getattr(source, name), parts)
        return parts
