"""`--delete`: what the master does not have, counted before anything is removed, and what is in the way of something.

Only the selected directories are compared with the manifest. These stay, with the directories that lead to them:

    the directories `.xget`, at any depth: another download, into a directory below, may need its own
    what the master left out of its manifest, and all below it, as nobody knows what it should be
    what a pattern excludes, and all below it
    mount points, and what is immutable or append-only

A subvolume is no mount point. Symbolic links are never followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress

from xget_lib.dataclass import dataclass, field
from xget_lib.download.access import SWAP
from xget_lib.download.destination import Destination
from xget_lib.download.folding import other_spellings
from xget_lib.errors import printable
from xget_lib.fs.inode import NamedInode
from xget_lib.fs.rooted import Root
from xget_lib.fs.syscalls import Statx
from xget_lib.manifest import manifest
from xget_lib.manifest.entry import DIRECTORY, joined
from xget_lib.manifest.selection import STAGING

FIXED = "it is immutable or append-only (see lsattr)"
MOUNTED = "a file system is mounted there"
OF_A_DOWNLOAD = "it belongs to another download"
OMITTED = "the master could not read it"
EXCLUDED = "it is excluded"


@dataclass
class Surplus:
    """What a destination has and its manifest has not."""

    paths: list[bytes] = field(default_factory=list)
    """What to remove, with all below it; none is below another."""
    names: int = 0
    """How many names that removes, those below the paths included."""
    there: int = 0
    """How many names there are in the selected directories, with those to remove."""
    wanted: int = 0
    """How many names the master has in the selected directories."""
    kept: list[tuple[bytes, str]] = field(default_factory=list)
    """What stays, (path, reason), except what the master left out."""

    def add(self, dest: Destination, path: bytes, is_omitted: Callable[[bytes], bool]) -> bool:
        """Surveys a path that is not in the manifest. Returns whether all of it can go. Raises nothing."""
        root = dest.root
        # No recursion: directories may be deep.
        unvisited = [(path, _mount_of(root, path.rpartition(b"/")[0]))]
        stays: set[bytes] = set()  # what is kept, and the directories that lead to it
        kept: set[bytes] = set()
        names = 0
        while unvisited:
            at, mount = unvisited.pop()
            names += 1
            why, below = _survey(dest, at, mount, is_omitted)
            unvisited += below
            if why:
                kept.add(at)
                if why != OMITTED:
                    self.kept.append((at, why))
                while at not in stays and len(at) >= len(path):
                    stays.add(at)
                    at = at.rpartition(b"/")[0]
        self.there += names
        self.names += names - len(stays)
        undecided = [path]
        while undecided:
            at = undecided.pop()
            if at not in stays:
                self.paths.append(at)
            elif at not in kept:
                undecided += sorted((joined(at, name) for name in _names(root, at)), reverse=True)
        return not stays


_Visits = list[tuple[bytes, tuple[int, int]]]


def _survey(
    dest: Destination, path: bytes, mount: tuple[int, int], is_omitted: Callable[[bytes], bool]
) -> tuple[str, _Visits]:
    """Why a path stays, or "", and what else to look at: what is below it."""
    root = dest.root
    try:
        status, found = root.lstat(path), root.statx(path)
    except OSError:
        return "", []
    if is_omitted(path):
        return OMITTED, []
    if dest.selection.protects(path, is_directory=stat.S_ISDIR(status.st_mode)):
        return EXCLUDED, []
    if path.rpartition(b"/")[2] == STAGING:
        return OF_A_DOWNLOAD, []
    if is_mounted(found, mount):
        return MOUNTED, []
    if found.is_fixed:
        return FIXED, []
    if dest.access.is_swap(found.device, found.inode):
        return SWAP, []
    try:
        dest.access.check(path, status)
    except OSError as error:
        return error.strerror or str(error), []
    if not stat.S_ISDIR(found.mode):
        return "", []
    here = found.device, found.mount
    return "", [(joined(path, name), here) for name in _names(root, path)]


def surplus(dest: Destination, in_the_way: Iterable[bytes] = ()) -> Surplus:
    """Surveys a destination. `in_the_way`: directories that are replaced, which counts as removal. Raises OSError."""
    root, entries = dest.root, dest.manifest.entries
    found = Surplus(wanted=sum(map(len, dest.selection.runs)) - dest.selection.whole)
    try:
        top = _mount_of(root, b"")
    except FileNotFoundError:
        return found  # a dry run: the destination is still to be made
    if len(dest.manifest.omitted) >= manifest.OMITTED_LIMIT:
        dest.refusals.add(b"", OSError(errno.EPERM, "nothing was removed: the master left out too many paths to list"))
        return found
    omitted = _Omitted(each.path for each in dest.manifest.omitted)
    for number in dest.selection.of_kind(DIRECTORY):
        path, dest_path = entries.path(number), dest.selection.dest_path(number)
        try:
            if omitted.covers(path):
                continue
            names = set(root.names(dest_path))
            is_elsewhere = is_mounted(root.statx(dest_path), top)
        except (FileNotFoundError, NotADirectoryError):
            continue  # a dry run: the directory is still to be made
        except OSError as error:
            dest.refusals.add(dest_path, error)
            continue
        if STAGING in names:
            names.discard(STAGING)
            if dest_path and dest.workplaces.is_shared(root, dest_path):
                found.kept.append((joined(dest_path, STAGING), OF_A_DOWNLOAD))
        before = len(names)
        wanted = entries.names_in(entries.children_of(number))
        names.difference_update(wanted)
        names -= other_spellings(root, dest_path, names, wanted)
        found.there += before - len(names)
        is_omitted = omitted.below(path, dest_path)
        for name in sorted(names):
            if is_elsewhere:
                found.kept.append((joined(dest_path, name), MOUNTED))
            else:
                found.add(dest, joined(dest_path, name), is_omitted)
    replaced = Surplus()
    for path in in_the_way:
        replaced.add(dest, path, lambda at: False)
    found.names += replaced.names
    found.there += replaced.there
    return found


class _Omitted:
    """What the master left out."""

    def __init__(self, paths: Iterable[bytes]) -> None:
        self._paths = set(paths)

    def below(self, path: bytes, dest_path: bytes) -> Callable[[bytes], bool]:
        """Whether a path in the destination was left out, for all below `dest_path`, which is a copy of `path`."""
        if not self._paths:
            return lambda at: False
        start = len(dest_path) + 1 if dest_path else 0
        return lambda at: joined(path, at[start:]) in self._paths

    def covers(self, path: bytes) -> bool:
        """Whether a path is, or is below, something that was left out."""
        while self._paths and path:
            if path in self._paths:
                return True
            path = path.rpartition(b"/")[0]
        return b"" in self._paths


def is_mounted(found: Statx, above: tuple[int, int]) -> bool:
    """Whether something is on another mount than a directory further up, (device, mount number) of which is given.

    A subvolume has a device of its own, but is on the same mount.
    """
    return found.mount != above[1] if found.mount else found.device != above[0]


def _mount_of(root: Root, path: bytes) -> tuple[int, int]:
    found = root.statx(path)
    return found.device, found.mount


def _names(root: Root, path: bytes) -> list[bytes]:
    """The names in a directory; none where it cannot be read: a run tries to make it readable."""
    try:
        return root.names(path)
    except OSError:
        return []


class Remover:
    """Removes paths below one root. Lists what it cannot remove, and continues. For one thread only.

    `kept`: what stays because it is mounted, or belongs to another download. `refused`: all other failures. Both
    (path, reason).
    """

    def __init__(self, root: Root, on_removed: Callable[[bytes], None]) -> None:
        """`on_removed` is called with the path of each name that was removed."""
        self.removed = 0  # names
        self.refused: list[tuple[bytes, OSError]] = []
        self.kept: list[tuple[bytes, str]] = []
        self.forbidden = ""
        """Why nothing may be removed, where that is so."""
        self._root = root
        self._on_removed = on_removed

    def remove(self, path: bytes) -> bool:
        """Removes a path and all below it. Returns whether nothing is left. Raises nothing."""
        # No recursion: directories may be deep. A directory is popped twice; the second time all below it is done.
        unvisited: list[tuple[bytes, bool]] = [(path, False)]
        not_empty: set[bytes] = set()
        while unvisited:
            at, is_done = unvisited.pop()
            is_gone = False
            try:
                if is_done:
                    if at not in not_empty:
                        self._root.rmdir(at)
                        is_gone = True
                elif at.rpartition(b"/")[2] == STAGING:
                    self.kept.append((at, OF_A_DOWNLOAD))
                elif stat.S_ISDIR(self._root.lstat(at).st_mode):
                    below = [joined(at, name) for name in self._enter(at)]
                    unvisited.append((at, True))
                    unvisited += [(each, False) for each in below]
                    continue
                else:
                    self._root.unlink(at)
                    is_gone = True
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno == errno.EBUSY:
                    self.kept.append((at, MOUNTED))
                else:
                    self.refused.append((at, error))
            if is_gone:
                self.removed += 1
                self._on_removed(at)
            else:
                not_empty.add(at.rpartition(b"/")[0])
        return path.rpartition(b"/")[0] not in not_empty

    def make_way(self, path: bytes) -> None:
        """Removes what is at a path, or raises OSError with the reason why it cannot."""
        if self.forbidden:
            raise OSError(errno.EBUSY, self.forbidden)
        refused, kept = len(self.refused), len(self.kept)
        if not self.remove(path):
            why = str(self.refused[-1][1].strerror) if len(self.refused) > refused else self.kept[kept][1]
            del self.refused[refused:], self.kept[kept:]
            raise OSError(errno.EBUSY, cannot_make_way(why))

    def _enter(self, path: bytes) -> list[bytes]:
        """The names in a directory that is to be removed. Raises OSError; EBUSY where something is mounted on it."""
        if is_mounted(self._root.statx(path), _mount_of(self._root, path.rpartition(b"/")[0])):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        if not self._root.is_writable(path):
            with suppress(OSError):  # not ours: then the next call fails
                NamedInode(self._root, path).chmod(0o700)
        return self._root.names(path)


def note_what_stays(dest: Destination, kept: Iterable[tuple[bytes, str]]) -> None:
    """Notes what was not removed on purpose, once for each kind; what cannot be removed is refused."""
    for path, why in kept:
        if why == MOUNTED:
            dest.metadata.note("mounts", f"{printable(path)} was not removed: a file system is mounted there")
        elif why == OF_A_DOWNLOAD:
            dest.metadata.note("downloads", f"{printable(path)} was not removed: it belongs to another download")
        elif why != EXCLUDED:
            dest.refusals.add(path, OSError(errno.EPERM, f"cannot be removed: {why}"))


def cannot_make_way(why: str) -> str:
    return f"cannot be replaced, because what is there cannot be removed: {why}"
