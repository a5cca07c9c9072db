"""A small content with one of everything that a destination may not keep, and a real download of it.

So what a file system can do is found out by the code that will ask it to, and said in the same words (`Metadata`).
The content is made here; no network is needed.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress

from blake3 import blake3

from xget_lib.download.download import Download
from xget_lib.errors import PartlyRefused, XGetError
from xget_lib.fs import xattrs
from xget_lib.manifest import acl
from xget_lib.manifest.entry import CHARACTER, DIRECTORY, FIFO, FILE, LINK, EntryMetadata, Xattrs
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import select
from xget_lib.manifest.table_builder import TableBuilder

_SOMEBODY = 1
"""The uid and gid of all of it: they are not root's, and every system has them."""
_HOLE_AFTER, _SPARSE_SIZE = 4096, 1 << 20
_SMALL = 100
"""Bytes."""
# linux/posix_acl_xattr.h: version 2; then owner, a named user, group, mask, others.
_UNDEFINED = 0xFFFFFFFF
_LIST = (2).to_bytes(4, "little") + b"".join(
    tag.to_bytes(2, "little") + permissions.to_bytes(2, "little") + name.to_bytes(4, "little")
    for tag, permissions, name in (
        (1, 6, _UNDEFINED),
        (2, 4, 1),
        (4, 4, _UNDEFINED),
        (16, 4, _UNDEFINED),
        (32, 4, _UNDEFINED),
    )
)
# linux/capability.h, struct vfs_cap_data: revision 2, cap_net_bind_service permitted.
_CAPABILITY = (0x02000000).to_bytes(4, "little") + (1 << 10).to_bytes(4, "little") + bytes(12)
_ODD_NAMES = {
    b"README": "",
    b"a:b?": "names with characters that Windows does not allow, such as `:` and `?`, are refused here",
    b"caf\xe9": "names that are not UTF-8 are refused here",
    b"readme": "names that differ only in case cannot be beside each other: of two, one is left out",
}
"""Files, and what it means if this one cannot be there."""
_SPARSE = b"sparse"


def specimen(moment_ns: int) -> Manifest:
    """`moment_ns`: the time of modification of all of it."""
    files: dict[bytes, tuple[int, EntryMetadata, list[int] | None]] = {
        b"access": (_SMALL, _metadata(0o644, ((acl.ACCESS, _LIST),)), None),
        b"attribute": (_SMALL, _metadata(0o644, ((b"user.xget", b"1"),)), None),
        b"capability": (_SMALL, _metadata(0o755, ((xattrs.CAPABILITY, _CAPABILITY),)), None),
        b"modes": (_SMALL, _metadata(0o4751), None),
        _SPARSE: (_SPARSE_SIZE, _metadata(0o640), [0, _HOLE_AFTER]),
        **{name: (_SMALL, _metadata(0o604), None) for name in _ODD_NAMES},
    }
    others = {b"device": CHARACTER, b"fifo": FIFO, b"link": LINK, b"second": "second"}
    builder, numbers = TableBuilder(), {}
    builder.add(DIRECTORY, b"", EntryMetadata(0o700, os.geteuid(), os.getegid()), moment_ns)
    names = sorted((*files, *others))
    for name in names:
        numbers[name] = len(builder)
        if name in files:
            size, metadata, extents = files[name]
            builder.add(FILE, name, metadata, moment_ns)
            builder.add_size(size, extents)
        elif name == b"second":
            builder.add_hard_link(name, numbers[b"modes"])
        else:
            builder.add(others[name], name, _metadata(0o777 if name == b"link" else 0o600), moment_ns)
            if name == b"link":
                builder.add_target(b"modes")
            elif name == b"device":
                builder.add_device(1, 3)  # null(4)
    builder.end_directory(len(names))
    table = builder.table()
    layout = table.layout
    digests = b"".join(blake3(bytes(layout.piece(number).length)).digest() for number in range(layout.piece_count))
    return Manifest(table, digests, {}, {})


def _metadata(mode: int, attributes: Xattrs = ()) -> EntryMetadata:
    return EntryMetadata(mode, _SOMEBODY, _SOMEBODY, attributes)


def try_out(dest: bytes, *, permissions: bool, owners: bool, devices: bool, set_id: bool) -> Iterator[str]:
    """Download it into a new directory of ours, which the caller removes; yield what does not come out as it should.

    The options are those of `Download`. Raises XGetError where nothing can be put there, and OSError.
    """
    manifest = specimen(time.time_ns() // 10**9 * 10**9 + 123_456_789)
    selection = select(manifest, [b"."])
    with Download(
        dest, manifest, selection, permissions=permissions, owners=owners, devices=devices, set_id=set_id
    ) as download:
        download.inspect_files(download.files, lambda file: False)
        download.check_free_space()
        layout = manifest.layout
        for chunk in range(layout.chunk_count):
            for run in download.missing(chunk):
                length = sum(layout.piece(number).length for number in run)
                download.writer.write_run(run, memoryview(bytes(length)), "itself")
        download.install_files(download.take_complete())
        download.finish()
        yield from download.notes
        yield from _refused(dest, download.failures)
    with suppress(OSError):
        status = os.stat(os.path.join(dest, _SPARSE))
        if stat.S_ISREG(status.st_mode) and status.st_blocks * 512 >= _SPARSE_SIZE:
            yield "holes in files take space here, as if they were filled with zeros"


def _refused(dest: bytes, failures: list[XGetError]) -> Iterator[str]:
    for failure in failures:
        if not isinstance(failure, PartlyRefused):
            yield str(failure)
            continue
        for path, why in failure.refused:
            name = os.path.relpath(path, dest)
            yield _ODD_NAMES.get(name) or f"cannot be put here: {os.fsdecode(name)}: {why}"
