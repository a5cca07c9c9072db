"""A download in a destination directory: what is right there already, what arrives, and putting it in place.

The order is always the same: verify a piece, write it, mark it; when a file has all its pieces, give it its
attributes, get it on disk, rename it. So a final name is never anything but what was there before or the whole
file, and whatever ends the run, the next one finds the pieces that were written, and hashes them.

    open            lock the destination, make the directories
    survey_files    each file once, in any threads: what is right already
    check_room
    write_run       the pieces of a chunk when it has come, in any threads
    take_whole, finish_files    now and then, in any one thread: put in place what became whole
    finish          when every file is in place: symbolic links, directories' attributes, no trace of `.xget`
    close           always; before `finish` it keeps what there is for the next run

The disk refusing anything is DestinationRefused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from threading import Lock

from blake3 import blake3

from xget_lib.download.delete import Surplus
from xget_lib.download.free_space import Room
from xget_lib.download.install import SYNC_EACH, Installer, opening, refusing
from xget_lib.download.inventory import Found, Inventory, write_parts
from xget_lib.download.metadata import Attributes
from xget_lib.download.pieces import Ledger
from xget_lib.download.small_files import SmallFiles
from xget_lib.download.staging import Parts, Staging, part_path
from xget_lib.errors import DestinationRefused, PieceMismatch, printable
from xget_lib.fs import syscalls
from xget_lib.fs.inode import OpenInode
from xget_lib.fs.rooted import Root
from xget_lib.fs.stamp import no_stamps, put_stamp
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.layout import SMALLEST_GRANULE, Piece
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import Selection, Siblings

OTHERS = "lcbp"  # kinds of entries that are neither regular file nor directory
LARGE_PIECE = 1024 * 1024  # bytes of a piece from which it is written out by itself
WRITE_BACK_FROM = 256 * 1024  # bytes of a file from which it is written out when it is whole, before anyone waits

# Where the content of a file is; it only moves on to a later state. _STAYS: it was right under its final name, and
# finish_files has not looked at it yet. _MOVING: it is just being renamed, and _moving held until that is done.
_IN_PART, _STAYS, _MOVING, _IN_PLACE = range(4)


class Download:
    """The download of a selection of a manifest into the directory `dest`.

    `permissions`: keep permission bits (not -s). `owners`: keep owners, where we are root (not -o). `delete`: remove
    what the master does not have, and what is in the way.
    """

    def __init__(
        self,
        dest: bytes,
        manifest: Manifest,
        selection: Selection,
        *,
        permissions: bool = True,
        owners: bool = True,
        delete: bool = False,
    ) -> None:
        self.dest = dest
        self.unchanged = 0  # files that the survey found whole under their final names
        self.reused = 0  # bytes of content that the survey found right
        self.believed: set[int] = set()  # files among the unchanged that the survey did not read
        self._manifest = manifest
        self._layout = manifest.layout
        self._selection = selection
        self._whole_root = selection.whole
        self._permissions = permissions
        self._delete = delete
        self.stamps = no_stamps(manifest.layout.file_count)  # of the files that are in place
        self._dressed: set[int] = set()  # whole files in parts that have their attributes already
        self._attributes = Attributes(manifest, permissions=permissions, owners=owners)
        self._ledger = Ledger(manifest.layout)
        self._where = bytearray(manifest.layout.file_count)
        self._lock = Lock()
        self._moving = Lock()
        self._whole: list[int] = []  # became whole, not yet taken
        self._resources = ExitStack()

    # The run, from its beginning to its end.

    def open(self) -> None:
        """Makes the destination where it is missing, locks it, makes the directories. Raises DestinationRefused."""
        try:
            self._root = self._open_root()
            self._resources.callback(self._root.close)
            with refusing(self._root, b""):
                self._open_workplace()
            for landing, entry in self._selection.entries_of("d"):
                with refusing(self._root, landing):
                    self._placer.make_directory(landing, entry)
            for landing, _ in self._selection.entries_of(OTHERS):
                with refusing(self._root, landing):
                    self._placer.look(landing)  # better refused now than when all is fetched
        except BaseException:
            self.close()
            raise
        self._survey = Inventory(self._root, self._manifest, self._workplace.leftovers)

    def _open_root(self) -> Root:
        with opening(self.dest):
            with suppress(FileExistsError):
                os.mkdir(self.dest, 0o700 if self._whole_root and self._permissions else 0o777)
            return Root(self.dest)

    def _open_workplace(self) -> None:
        self._placer = Installer(self._root, self._attributes, delete=self._delete)
        self._resources.callback(self._placer.close)
        if self._whole_root:
            self._placer.make_directory(b"", self._manifest.entries[0])
        self._workplace = Staging(self._root)
        self._resources.callback(self._workplace.close)
        self._workplace.open()
        if self._workplace.resumed:
            self._placer.sync_all()  # names that the earlier run gave may not be on disk
        self._parts = Parts(self._root, self._part_path, self._manifest.entries.sizes.__getitem__)
        self._resources.callback(self._parts.close_all)
        self._small = SmallFiles(self._root, self._manifest, self._attributes, self.stamps)
        self._resources.callback(self._small.close)

    def finish(self) -> None:
        """Every selected file is in place: puts the rest in place, removes the workplace, and syncs.

        When it returns, all that was asked for is there and on disk. A file that is not in place raises ValueError;
        what could not be removed, at the very end, DestinationRefused.
        """
        if any(self._where[file] != _IN_PLACE for file in self.files):
            raise ValueError("not every file is in place")
        self._place_others()
        self._remove_surplus()
        self._placer.settle_directories(
            [(landing, entry) for landing, entry in self._selection.entries_of("d") if landing]
        )
        with refusing(self._root, b""):
            self._parts.close_all()
            self._workplace.remove()
            self._placer.settle_root(self._manifest.entries[0] if self._whole_root else None)
        if self._placer.remover is not None and self._placer.remover.refused:
            (path, why), *others = self._placer.remover.refused
            more = f" (nor {len(others)} others; all else is in place)" if others else " (all else is in place)"
            raise DestinationRefused(os.path.join(self._root.path, path), f"could not be removed: {why}{more}")

    def _remove_surplus(self) -> None:
        """What the master does not have, where that is wanted."""
        remover = self._placer.remover
        if remover is None:
            return
        with refusing(self._root, b""):
            for path in Surplus(self._root, self._manifest, self._selection):
                remover.remove(path)
        for path in remover.mounted[:1]:
            self._attributes.note("mounts", f"{printable(path)} is not removed: something is mounted there")

    @property
    def removed(self) -> int:
        """How many names were removed."""
        return self._placer.remover.removed if self._placer.remover is not None else 0

    def _place_others(self) -> None:
        """Puts what is neither file nor directory in place, and all its names."""
        entries, names = self._manifest.entries, self._selection.link_groups
        for number in self._selection.of_kind(OTHERS):
            first = entries.first_name(number)
            landing = self._selection.dest_path(number)
            with refusing(self._root, landing):
                placed = self._placer.place(landing, entries[first])
            for other in names.get(first, [number])[1:] if placed else ():
                with refusing(self._root, self._selection.dest_path(other)):
                    self._placer.hard_link(landing, self._selection.dest_path(other), entries[first])

    def close(self) -> None:
        """Gives everything back. What is not finished is kept for the next run. May be called twice."""
        self._resources.close()

    def __enter__(self) -> Download:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What is there, and what is to be fetched.

    def survey_file(self, file: int, *, trust_times: bool = True) -> list[int]:
        """Finds out which pieces of a selected file are right, marks them and returns their numbers, rising.

        To be called once for each selected file, an empty one too, before anything of it is written. `trust_times`:
        a file with the right size and modification time under the final name is right without reading it.
        """
        found = self._find(file, trust_times=trust_times)
        _, whole_size = self._layout.file_range(file)
        size = whole_size if found.in_place else sum(self._layout.piece(number).length for number in found.pieces)
        with self._lock:
            self.reused += size
            if found.believed:
                self.believed.add(file)
            if found.in_place:
                self.unchanged += 1
                self._where[file] = _STAYS
        whole = self._ledger.mark(file, found.pieces)
        if whole or whole_size == 0:
            self._became_whole(file)
        return found.pieces

    def survey_files(self, files: Sequence[int], trusts_times: Callable[[int], bool]) -> None:
        """As survey_file, for many files, rising: what is small, and the same or not there at all, is dealt with by
        directory."""
        groups, alone = self._selection.siblings(files)
        for siblings in groups:
            with refusing(self._root, siblings.directory):
                seen = self._small.look(siblings, trusts_times)
            self._stay([siblings.files[index] for index in seen.settled])
            for index in seen.absent:
                if not self._is_new(siblings.files[index]):
                    alone.append(siblings.files[index])
            alone.extend(siblings.files[index] for index in seen.others)
        for file in alone:
            self.survey_file(file, trust_times=trusts_times(file))

    def _is_new(self, file: int) -> bool:
        """Whether a file that is not under its final name has nothing to be found elsewhere, nor to be done for it."""
        _, size = self._layout.file_range(file)
        return 0 < size < SMALLEST_GRANULE and not self._workplace.leftovers

    def _stay(self, files: list[int]) -> None:
        """These are in place, and as they should be, as far as size and time tell."""
        with self._lock:
            self.reused += sum(self._layout.file_range(file)[1] for file in files)
            self.believed.update(files)
            self.unchanged += len(files)
            for file in files:
                self._where[file] = _IN_PLACE
        self._ledger.mark_files(files)

    def _find(self, file: int, *, trust_times: bool) -> Found:
        """Also under further names: where only those are right, the first is made anew from one of them."""
        landing = self._selection.file_dest_path(file)
        with refusing(self._root, landing):
            old = self._placer.look(landing)
            found = self._survey.stays(file, landing, old, trust_times=trust_times)
        for link in self._selection.other_dest_paths(file):
            with refusing(self._root, link):
                there = self._placer.look(link)
                if found is None:
                    found = self._survey.stays(file, link, there, trust_times=trust_times)
                    if found is not None:
                        self._placer.hard_link(link, landing, self._manifest.file(file))
        if found is None:
            with refusing(self._root, landing):
                found = self._survey.search(file, landing, old, self._parts)
        return found

    def check_room(self) -> None:
        """Raises DestinationRefused where the file system has not enough room for what is to be written yet."""
        with refusing(self._root, b""):
            available = self._root.statvfs()
        room = Room(available.f_frsize)
        for file in self.files:
            pieces = self._layout.file_pieces(file)
            lacking = self._ledger.lacks(file)
            if lacking == len(pieces):
                room.add(self._layout.file_range(file)[1])
            elif lacking:
                room.add(sum(self._layout.piece(n).length for n in pieces if n not in self._ledger))
        room.check(self.dest, available)

    def right(self) -> Bitmap:
        """Which pieces are right, as of now."""
        return self._ledger.right()

    def chunk_whole(self, chunk: int) -> bool:
        """Whether all of a chunk is on disk and right. It may be served when none of its files is only `believed`."""
        return self._ledger.chunk_whole(chunk)

    def lacking(self, chunk: int) -> list[range]:
        """The pieces of a chunk that are asked for and not right, as rising ranges that do not touch."""
        runs: list[range] = []
        for number in self._layout.chunk_pieces(chunk):
            if number in self._ledger or not self._selection.has_file(self._layout.file_of_piece(number)):
                continue
            if runs and runs[-1].stop == number:
                runs[-1] = range(runs[-1].start, number + 1)
            else:
                runs.append(range(number, number + 1))
        return runs

    def path_of(self, file: int) -> bytes:
        """Where a selected file is now, relative to the destination: for a Store that serves while this downloads."""
        where = self._where[file]
        if where == _IN_PART:
            return self._part_path(file)
        if where == _MOVING:
            with self._moving:  # so that who found no part there finds the file, and not what it replaces
                pass
        return self._selection.file_dest_path(file)

    @property
    def files(self) -> Sequence[int]:
        """The numbers of the selected files, rising."""
        return self._selection.files

    @property
    def notes(self) -> list[str]:
        """What could not be preserved, one line a kind."""
        return self._attributes.notes

    # What arrives.

    def write(self, number: int, data: memoryview | bytes, source: str) -> bool:
        """Verifies a piece of a selected file and writes it. Returns whether its file became whole.

        False also where the piece is right already or another thread is just writing it. Wrong content raises
        PieceMismatch, which names `source`, and nothing is written.
        """
        piece = self._layout.piece(number)
        landing = self._selection.file_dest_path(piece.file)
        self._verify(number, data, source)
        if not self._ledger.claim(number):
            return False
        try:
            with refusing(self._root, landing), self._parts.opened(piece.file) as fd:
                write_parts(fd, memoryview(data), self._layout.parts(piece))
                self._write_back(fd, piece)
        except BaseException:
            self._ledger.release(number)
            raise
        whole = self._ledger.mark(piece.file, (number,))
        if whole:
            self._became_whole(piece.file)
        return whole

    def _verify(self, number: int, data: memoryview | bytes, source: str) -> None:
        if blake3(data).digest() != self._manifest.digest(number):
            piece = self._layout.piece(number)
            raise PieceMismatch(self._manifest.file(piece.file).path, piece.file_offset, source)

    def _write_back(self, fd: int, piece: Piece) -> None:
        """Has the disk begin early with what the last fsync would wait for: a large piece, or a file's last one."""
        if piece.length >= LARGE_PIECE:
            syscalls.start_writeback(fd, piece.file_offset, piece.length)
        elif self._ledger.lacks(piece.file) == 1:
            size = self._manifest.entries.sizes[piece.file]
            if size >= WRITE_BACK_FROM:
                syscalls.start_writeback(fd, 0, size)

    def write_run(self, pieces: range, data: memoryview, source: str) -> None:
        """Writes pieces that follow one another, of which `data` is the content; those not selected are left out.

        Raises as write does; some of the others are written then.
        """
        small: dict[int, tuple[int, memoryview]] = {}
        for number in pieces:
            piece = self._layout.piece(number)
            content, data = data[: piece.length], data[piece.length :]
            if not self._selection.has_file(piece.file):
                continue
            if len(pieces) > SYNC_EACH and self._manifest.entries.sizes[piece.file] == piece.length:
                small[piece.file] = number, content
            else:
                self.write(number, content, source)
        groups, alone = self._selection.siblings(list(small))
        for file in alone:
            self.write(*small[file], source)
        for siblings in groups:
            self._write_small(siblings, [small[file] for file in siblings.files], source)

    def _write_small(self, siblings: Siblings, pieces: list[tuple[int, memoryview]], source: str) -> None:
        """Writes whole files of one piece each, given with its number, those of one directory."""
        for number, content in pieces:
            self._verify(number, content, source)
        free = set(self._ledger.claim_all(number for number, _ in pieces))
        siblings = siblings.subset([index for index, (number, _) in enumerate(pieces) if number in free])
        try:
            with refusing(self._root, siblings.directory):
                self._small.write(siblings, [content for number, content in pieces if number in free])
        except BaseException:
            for number in free:
                self._ledger.release(number)
            raise
        self._ledger.mark_files(siblings.files)
        with self._lock:
            self._dressed.update(siblings.files)
            self._whole.extend(siblings.files)

    def take_whole(self) -> list[int]:
        """The files that became whole since the last call: each is given out once, to be given to finish_files."""
        with self._lock:
            whole, self._whole = self._whole, []
        return whole

    def finish_files(self, files: Iterable[int]) -> None:
        """Puts whole files in place, durably, and notes in `stamps` how they look there, which no later step changes.

        Many at once are much cheaper than one by one. Their names are on disk only after `finish`.
        """
        files = sorted(files)
        self._workplace.worth_keeping = True
        dressed = [file for file in files if file in self._dressed]
        fresh = [file for file in files if self._where[file] == _IN_PART and file not in self._dressed]
        for file in fresh:
            if self._ledger.lacks(file):
                raise ValueError(f"file {file} is not whole")
            with refusing(self._root, self._selection.file_dest_path(file)):
                self._complete(file, sync=not dressed and len(fresh) <= SYNC_EACH)
        if dressed or len(fresh) > SYNC_EACH:
            with refusing(self._root, b""):
                self._placer.sync_filesystem()
        self._put_small_in_place(dressed)
        for file in files:
            if self._where[file] != _IN_PLACE:
                put_stamp(self.stamps, file, self._put_in_place(file))

    def _put_small_in_place(self, files: list[int]) -> None:
        """Of files that are in their parts with all attributes, those in whose place there is no directory."""
        groups, _ = self._selection.siblings(files)
        for siblings in groups:
            with refusing(self._root, siblings.directory), self._moving:
                try:
                    for file in siblings.files:
                        self._where[file] = _MOVING
                    for file in self._small.place(siblings):
                        self._where[file] = _IN_PLACE
                finally:
                    for file in siblings.files:
                        if self._where[file] == _MOVING:
                            self._where[file] = _IN_PART
            self._placer.touch(siblings.directory)
        with self._lock:
            self._dressed.difference_update(files)

    def _complete(self, file: int, *, sync: bool) -> None:
        """Gives a part, which has its content, what else it should have under its final name."""
        with self._parts.opened(file) as fd:
            self._attributes.put(OpenInode(fd), os.fstat(fd), self._manifest.file(file), new=True)
            if sync:
                os.fsync(fd)
        self._parts.close(file)

    def _put_in_place(self, file: int) -> os.stat_result:
        landing = self._selection.file_dest_path(file)
        entry = self._manifest.file(file)
        links = self._selection.other_dest_paths(file)
        with refusing(self._root, landing):
            if self._where[file] == _IN_PART:
                self._move(file, landing)
                status = self._root.lstat(landing)
            else:
                status = self._placer.settle(landing, entry)
                self._where[file] = _IN_PLACE
            for link in links:
                with refusing(self._root, link):
                    self._placer.hard_link(landing, link, entry)
            return self._root.lstat(landing) if links else status

    def _move(self, file: int, landing: bytes) -> None:
        with self._moving:
            self._where[file] = _MOVING
            try:
                self._placer.rename(self._part_path(file), landing)
            except BaseException:
                self._where[file] = _IN_PART
                raise
            self._where[file] = _IN_PLACE

    def _became_whole(self, file: int) -> None:
        with self._lock:
            self._whole.append(file)

    def _part_path(self, file: int) -> bytes:
        return part_path(self._selection.file_dest_path(file))
