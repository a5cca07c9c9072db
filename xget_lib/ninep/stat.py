"""Directory entries: what Tstat answers, and what a directory consists of when it is read.

9P2000 and 9P2000.u write a `Stat`, in two ways: `StatFormat`. 9P2000.L has `DirectoryEntry`. A directory is read like a
file, and its bytes are its entries one after another. A read gives whole entries only, and the next one must start
where it ended; so reading needs no more memory than one entry, however large the directory.

This module does not import annotations from __future__: `Layout.of` reads them as objects.
"""

import errno
from collections.abc import Callable, Iterable, Iterator

from xget_lib.dataclass import dataclass, replace
from xget_lib.errors import NinepError, ProtocolViolation
from xget_lib.ninep.wire import Buffer, Layout, Qid, Unix, qid13, text, u8, u16, u32, u64

# Mode, above the permission bits: stat(5).
DMDIR = 0x80000000
# These in 9P2000.u alone.
DMSYMLINK = 0x02000000
DMDEVICE = 0x00800000
DMNAMEDPIPE = 0x00200000
DMSOCKET = 0x00100000
DMSETUID = 0x00080000
DMSETGID = 0x00040000
DMSETVTX = 0x00010000
DMSPECIAL = DMSYMLINK | DMDEVICE | DMNAMEDPIPE | DMSOCKET
"""Neither a file nor a directory: plain 9P2000 cannot express them."""
_DM_UNIX = DMSPECIAL | DMSETUID | DMSETGID | DMSETVTX

NO_ID = 0xFFFFFFFF  # an owner without a number

DIRECTORY_READ = 64 * 1024
"""Bytes of a directory in one reply, at most: each entry costs an lstat(2), and other clients wait meanwhile."""

_SIZE = 2  # bytes of size[2], which counts the bytes that follow it and is no field
_LAST_SECOND = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """A file's directory entry. Times are seconds since the epoch; `length` is bytes, 0 for a directory.

    `extension` is the target of a symbolic link, or which device it is: `b 8 1`, `c 1 3`.
    """

    type: u16 = 0  # for kernel use, as dev
    dev: u32 = 0
    qid: qid13
    mode: u32
    atime: u32
    mtime: u32
    length: u64
    name: text
    uid: text
    gid: text
    muid: text
    extension: Unix[text] = ""
    n_uid: Unix[u32] = NO_ID
    n_gid: Unix[u32] = NO_ID
    n_muid: Unix[u32] = NO_ID

    def pack(self, form: "StatFormat") -> bytes:
        """The entry with its size in front. A time that 32 bits do not hold becomes the nearest that they do.

        Raises NinepError for names that are not UTF-8, or too long.
        """
        atime, mtime = (min(max(time, 0), _LAST_SECOND) for time in (self.atime, self.mtime))
        entry = self if (atime, mtime) == (self.atime, self.mtime) else replace(self, atime=atime, mtime=mtime)
        body = b"".join(form.layout.pack(entry))
        if len(body) > 0xFFFF - _SIZE:  # it travels as stat[n], and n counts the size too
            raise NinepError(errno.EMSGSIZE)
        return len(body).to_bytes(_SIZE, "little") + body

    @staticmethod
    def unpack(data: Buffer, form: "StatFormat") -> "Stat":
        """The entry that takes all of `data`. Raises ProtocolViolation."""
        if len(data) < _SIZE or _SIZE + int.from_bytes(data[:_SIZE], "little") != len(data):
            raise ProtocolViolation(f"malformed stat: its size field does not match its {len(data)} bytes")
        return Stat(**dict(zip(form.layout.names, form.layout.unpack(data, _SIZE), strict=True)))


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """A name in a directory as Rreaddir of 9P2000.L has it: `cookie` is where reading can continue after it (called
    offset there), `type` is that of readdir(3): DT_REG and so on."""

    qid: qid13
    cookie: u64
    type: u8
    name: text


class StatFormat:
    """How 9P2000, or with `unix` 9P2000.u, writes directory entries."""

    def __init__(self, *, unix: bool) -> None:
        self.layout = Layout.of(Stat, unix=unix)
        self.hidden_kinds = 0 if unix else DMSPECIAL
        """Mode bits of files that it cannot express, and which therefore do not exist for its clients."""
        self._hidden_bits = 0 if unix else _DM_UNIX

    def pack_shown(self, stat: Stat) -> bytes:
        """The entry as a client sees it: without the mode bits that this format cannot express. Raises NinepError."""
        hidden = stat.mode & self._hidden_bits
        return (replace(stat, mode=stat.mode & ~hidden) if hidden else stat).pack(self)


PLAIN_STAT = StatFormat(unix=False)
UNIX_STAT = StatFormat(unix=True)

# A wstat of nothing but "don't touch" values: a request to bring the file to stable storage, stat(5).
DONT_TOUCH = Stat(
    type=0xFFFF,
    dev=0xFFFFFFFF,
    qid=Qid(0xFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF),
    mode=0xFFFFFFFF,
    atime=0xFFFFFFFF,
    mtime=0xFFFFFFFF,
    length=0xFFFFFFFFFFFFFFFF,
    name="",
    uid="",
    gid="",
    muid="",
)


class DirectoryReader:
    """One opened directory: answers its reads from `children`, which gives the entries from the first one on."""

    def __init__(self, children: Callable[[], Iterable[Stat]], form: StatFormat) -> None:
        self._children = children
        self._form = form
        self._entries: Iterator[bytes] = iter(())
        self._next = b""  # an entry for which the last read had no room
        self._end: int | None = None  # where the last read ended; None: only offset 0 is right
        self._room = 0  # bytes of the last read's count that it left unused

    def read(self, offset: int, count: int) -> bytes:
        """Whole entries, at most `count` bytes; none at the end. Offset 0 starts over, any other must be where the
        last read ended: read(5). Raises NinepError, and whatever `children` raises; only offset 0 is right after that.

        A read of exactly the room that the last one left is filling a buffer, as Linux does (p9_client_read): no bytes
        tell it that no further entry fits.
        """
        if offset == 0:
            self._entries, self._next = self._packed(), b""
        elif offset != self._end:
            raise NinepError(errno.ESPIPE, "bad offset in directory read")
        filling = count == self._room and offset > 0
        self._end = None
        entries: list[bytes] = []
        used, most = 0, min(count, DIRECTORY_READ)
        entry = self._next or next(self._entries, b"")
        while entry and used + len(entry) <= most:
            entries.append(entry)
            used += len(entry)
            entry = next(self._entries, b"")
        if entry and not entries and not filling:
            # No bytes would mean the end of the directory: intro(5) wants an error instead.
            raise NinepError(errno.EINVAL, f"a directory entry of {len(entry)} bytes does not fit into {count} bytes")
        self._next = entry
        self._end, self._room = offset + used, count - used
        return b"".join(entries)

    def _packed(self) -> Iterator[bytes]:
        """The entries that this format can express: names that are text, kinds of files that it has."""
        for stat in self._children():
            if stat.mode & self._form.hidden_kinds:
                continue
            try:
                yield self._form.pack_shown(stat)
            except NinepError as error:
                if error.errno != errno.EILSEQ:
                    raise
