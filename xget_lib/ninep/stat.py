"""Directory entries: what Tstat answers, and what a directory consists of when it is read.

A directory is read like a file, and its bytes are its entries one after another. A read gives whole entries only, and
the next one must go on where it ended; so reading needs no more memory than one entry, however large the directory.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from xget_lib.errors import NinepError, ProtocolViolation
from xget_lib.ninep.messages import NINEP2000, NINEP2000_U
from xget_lib.ninep.wire import Buffer, Layout, Qid

# Mode, above the permission bits: stat(5).
DMDIR = 0x80000000
DMAPPEND = 0x40000000
DMEXCL = 0x20000000
DMAUTH = 0x08000000
DMTMP = 0x04000000
# These in 9P2000.u alone.
DMSYMLINK = 0x02000000
DMDEVICE = 0x00800000
DMNAMEDPIPE = 0x00200000
DMSOCKET = 0x00100000
DMSETUID = 0x00080000
DMSETGID = 0x00040000
DMSETVTX = 0x00010000
DMSPECIAL = DMSYMLINK | DMDEVICE | DMNAMEDPIPE | DMSOCKET
"""Neither a file nor a directory: plain 9P2000 has no word for them."""
_DM_UNIX = DMSPECIAL | DMSETUID | DMSETGID | DMSETVTX

NO_ID = 0xFFFFFFFF  # an owner without a number

DIRECTORY_READ = 64 * 1024
"""Bytes of a directory in one reply, at most: each entry costs a look at the disk, and others are waiting meanwhile."""

_PLAIN = "type[2] dev[4] qid[13] mode[4] atime[4] mtime[4] length[8] name[s] uid[s] gid[s] muid[s]"
_LAYOUTS = {  # without size[2], which counts the bytes that follow it
    NINEP2000: Layout(_PLAIN),
    NINEP2000_U: Layout(_PLAIN + " extension[s] n_uid[4] n_gid[4] n_muid[4]"),
}
_SIZE = 2
_LAST_SECOND = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """A file's directory entry. Times are seconds since the epoch; `length` is bytes, 0 for a directory.

    `extension` is what a symbolic link leads to, or which device it is: `b 8 1`, `c 1 3`.
    """

    type: int = 0  # for kernel use, as dev
    dev: int = 0
    qid: Qid
    mode: int
    atime: int
    mtime: int
    length: int
    name: str
    uid: str
    gid: str
    muid: str
    extension: str = ""
    n_uid: int = NO_ID
    n_gid: int = NO_ID
    n_muid: int = NO_ID

    def pack(self, dialect: str) -> bytes:
        """The entry with its size in front. A time that 32 bits do not hold becomes the nearest that they do.

        Raises NinepError for names that are not UTF-8, or too long.
        """
        atime, mtime = (min(max(time, 0), _LAST_SECOND) for time in (self.atime, self.mtime))
        entry = self if (atime, mtime) == (self.atime, self.mtime) else replace(self, atime=atime, mtime=mtime)
        body = b"".join(_LAYOUTS[dialect].pack(entry))
        if len(body) > 0xFFFF - _SIZE:  # it travels as stat[n], and n counts the size too
            raise NinepError(errno.EMSGSIZE)
        return len(body).to_bytes(_SIZE, "little") + body

    def seen_in(self, dialect: str) -> Stat:
        """The entry as a file's is shown: without the bits of its mode for which plain 9P2000 has no word."""
        return replace(self, mode=self.mode & ~_DM_UNIX) if dialect == NINEP2000 and self.mode & _DM_UNIX else self

    @classmethod
    def unpack(cls, data: Buffer, dialect: str) -> Stat:
        """The entry that takes all of `data`. Raises ProtocolViolation."""
        if len(data) < _SIZE or _size(data, 0) != len(data):
            raise ProtocolViolation(f"malformed stat: it gives another size than its {len(data)} bytes")
        layout = _LAYOUTS[dialect]
        return cls(**dict(zip(layout.names, layout.unpack(data, _SIZE), strict=True)))


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


def _size(data: Buffer, at: int) -> int:
    """Bytes of the entry that begins at `at`, its size field included."""
    return _SIZE + int.from_bytes(data[at : at + _SIZE], "little")


def unpack_directory(data: Buffer, dialect: str) -> list[Stat]:
    """The entries that a read of a directory gave. Raises ProtocolViolation."""
    stats = []
    at = 0
    while at < len(data):
        end = at + _size(data, at)
        stats.append(Stat.unpack(data[at:end], dialect))
        at = end
    return stats


class DirectoryReader:
    """One opened directory: answers its reads from `children`, which gives the entries from the first one on."""

    def __init__(self, children: Callable[[], Iterable[Stat]], dialect: str) -> None:
        self._children = children
        self._dialect = dialect
        self._entries: Iterator[bytes] = iter(())
        self._next = b""  # an entry for which the last read had no room
        self._end: int | None = None  # where the last read ended; None: only offset 0 is right
        self._room = 0  # bytes of the last read's count that it left

    def read(self, offset: int, count: int) -> bytes:
        """Whole entries, at most `count` bytes; none at the end. Offset 0 starts over, any other must be where the
        last read ended: read(5). Raises NinepError, and whatever `children` raises; only offset 0 is right after that.

        Who asks for just the room that the last read has left is filling a buffer, as Linux does (p9_client_read), and
        is told by no bytes that nothing more fits in.
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
            raise NinepError(errno.EINVAL, f"a directory entry of {len(entry)} bytes does not fit {count}")
        self._next = entry
        self._end, self._room = offset + used, count - used
        return b"".join(entries)

    def _packed(self) -> Iterator[bytes]:
        """The entries that this dialect has words for: names that are text, files that it knows the kind of."""
        for stat in self._children():
            if self._dialect == NINEP2000 and stat.mode & DMSPECIAL:
                continue
            try:
                yield stat.seen_in(self._dialect).pack(self._dialect)
            except NinepError as error:
                if error.errno != errno.EILSEQ:
                    raise
