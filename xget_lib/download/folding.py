"""Names that a destination does not tell apart: they differ in case, or in how an accent is written (Unicode).

exFAT, FAT, NTFS, some network file systems, and directories of ext4, f2fs and tmpfs with the attribute F (chattr(1))
take `README` and `readme` as one name. One of the two can be there, and the other would replace it in silence. The one
that comes first in the manifest stays, so that every run decides the same; each other one is left out and named.

Which names are one, only the destination knows. It is asked where a manifest has names that may be: a run makes them in
the staging directory, a dry run looks at names that are there.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from xget_lib.errors import printable
from xget_lib.fs.rooted import Root
from xget_lib.manifest.entry import DIRECTORY, is_within, joined
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import STAGING, Selection

_ASIDE = STAGING + b"/names"
_GETFLAGS = 0x80086601  # FS_IOC_GETFLAGS in linux/fs.h
_CASEFOLD = 0x40000000  # FS_CASEFOLD_FL

Same = Callable[[Sequence[bytes]], list[int | None]]
"""Of names in one directory: for each, the index of an earlier one that is the same name there, or None."""


def same_names(
    dest: bytes, root: Root | None, manifest: Manifest, selection: Selection, *, may_write: bool
) -> Mapping[int, int]:
    """The selected entries that cannot be in the destination: each with the entry that has its name there.

    Only the topmost ones: what is below them is not listed. `root`: the destination, None where it is still to be made.
    `may_write`: the staging directory is there, to ask with. Raises OSError.
    """
    found: dict[int, int] = {}
    for directory, numbers in _similar(manifest, selection):
        if any(is_within(directory, top) for top in map(selection.dest_path, found)):
            continue
        same = _asked(dest, root, directory, may_write=may_write)
        for number, first in zip(
            numbers, same([os.path.basename(selection.dest_path(each)) for each in numbers]), strict=True
        ):
            if first is not None:
                found[number] = numbers[first]
    return found


def collisions(selection: Selection, same: Mapping[int, int]) -> list[tuple[bytes, str]]:
    """(destination path, reason) for each of the `same_names`."""
    found = []
    for number, first in same.items():
        other = printable(os.path.basename(selection.dest_path(first)))
        why = f"this destination does not tell the name from {other}, which is there (rename one of them at the master)"
        found.append((selection.dest_path(number), why))
    return found


def other_spellings(root: Root, directory: bytes, surplus: Collection[bytes], wanted: Iterable[bytes]) -> set[bytes]:
    """The names in a directory, of `surplus`, that are a wanted name there: what they name must not be removed.

    `surplus` are names in a listing that are not wanted. Raises OSError.
    """
    by_key: dict[str, list[bytes]] = {}
    for name in surplus:
        by_key.setdefault(_key(name), []).append(name)
    found: set[bytes] = set()
    listed: set[bytes] = set()
    for name in wanted if by_key else ():
        if _key(name) in by_key:
            # Not by inode number: FUSE may give another one at each look.
            listed = listed or set(root.names(directory))
            with suppress(FileNotFoundError):
                root.lstat(joined(directory, name))
                if name not in listed:
                    found.update(by_key[_key(name)])
    return found


def _similar(manifest: Manifest, selection: Selection) -> Iterator[tuple[bytes, list[int]]]:
    """Selected entries whose names may be one: the destination path of their directory, and the entries, rising."""
    entries = manifest.entries
    if not selection.whole:
        sources = sorted((number, path) for path, number in selection.sources.items())
        yield from ((b"", group) for group in _groups(*zip(*sources, strict=True)))
    for number in selection.of_kind(DIRECTORY):
        children = entries.children_of(number)
        names = entries.names_in(children)
        if len({name.lower().rstrip(b". ") for name in names}) == len(names) and all(map(bytes.isascii, names)):
            continue  # as most are
        yield from ((selection.dest_path(number), group) for group in _groups(children, names))


def _groups(numbers: Iterable[int], names: Iterable[bytes]) -> list[list[int]]:
    by_key: dict[str, list[int]] = {}
    for number, name in zip(numbers, names, strict=True):
        by_key.setdefault(_key(name), []).append(number)
    return [group for group in by_key.values() if len(group) > 1]


def _key(name: bytes) -> str:
    """Equal for names that any file system may take as one."""
    if name.isascii():
        return name.lower().rstrip(b". ").decode()
    text = unicodedata.normalize("NFKD", os.fsdecode(name)).casefold()
    return unicodedata.normalize("NFKD", text).rstrip(". ")


# Asking.


def _asked(dest: bytes, root: Root | None, directory: bytes, *, may_write: bool) -> Same:
    """How to find out which names are one in a directory of the destination, by its path."""
    nearest = directory
    while root is not None and nearest and not _is_directory(root, nearest):
        nearest = nearest.rpartition(b"/")[0]
    path = os.path.join(dest, nearest) if root is not None else os.path.dirname(dest)
    if _is_casefolded(path):
        return lambda names: _by_key(names, lambda name: unicodedata.normalize("NFD", name).casefold())
    if root is not None and may_write and root.lstat(nearest).st_dev == root.lstat(STAGING).st_dev:
        return lambda names: _by_making(root, names)
    if _folds(path):
        return lambda names: _by_key(names, _upper)
    return lambda names: [None] * len(names)


def _is_directory(root: Root, path: bytes) -> bool:
    with suppress(OSError), root.opened(path, os.O_PATH | os.O_DIRECTORY):
        return True
    return False


def _is_casefolded(path: bytes) -> bool:
    """Whether a directory has the attribute F."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = fcntl.ioctl(descriptor, _GETFLAGS, bytes(8))
            return bool(struct.unpack("=q", flags)[0] & _CASEFOLD)
        finally:
            os.close(descriptor)
    return False


def _by_key(names: Sequence[bytes], key: Callable[[str], str]) -> list[int | None]:
    firsts: dict[str, int] = {}
    found = [firsts.setdefault(key(os.fsdecode(name)), index) for index, name in enumerate(names)]
    return [first if first != index else None for index, first in enumerate(found)]


def _upper(name: str) -> str:
    """As exFAT folds: character by character."""
    return "".join(upper if len(upper := each.upper()) == 1 else each for each in name)


def _by_making(root: Root, names: Sequence[bytes]) -> list[int | None]:
    """Makes files of these names in the staging directory, and removes them."""
    with suppress(FileExistsError):
        root.mkdir(_ASIDE, 0o700)
    for name in root.names(_ASIDE):  # of a run that was killed
        root.unlink(joined(_ASIDE, name))
    found: list[int | None] = []
    try:
        for index, name in enumerate(names):
            path = joined(_ASIDE, name)
            try:
                with root.opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
                    os.write(descriptor, b"%d" % index)
                found.append(None)
            except FileExistsError:
                with root.opened(path, os.O_RDONLY) as descriptor:
                    found.append(int(os.read(descriptor, 20)))
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                # It is not a name here: then it is refused by itself, later.
                found.append(None)
    finally:
        for name in root.names(_ASIDE):
            root.unlink(joined(_ASIDE, name))
        root.rmdir(_ASIDE)
    return found


def _folds(path: bytes) -> bool:
    """Whether a directory, or the nearest one above it on the same file system, finds a name that is there when it is
    written in the other case. False where there is nothing to look at."""
    with suppress(OSError):
        device = os.stat(path).st_dev
        while True:
            names = os.listdir(path)
            for name in names:
                other = name.swapcase()
                if other != name and other not in names:
                    return os.path.lexists(os.path.join(path, other))
            above = os.path.dirname(path)
            if above == path or os.stat(above).st_dev != device:
                return False
            path = above
    return False
