"""A download into a destination directory: decide what to do, write what arrives, install it.

The order is always the same: verify a piece, write it, mark it; when a file has all its pieces, give it its metadata,
sync it, rename it. So a final name has the old file or all of the new one, and whatever ends the run, the next one
finds the pieces that were written.

    with download       lock the destination, make the directories; a run without `finish` leaves its parts to the next
    inspect_files       each file once, in any threads: what is there already
    check_free_space
    writer              writes the pieces of a chunk that has arrived, in any threads
    take_complete, install_files    now and then, in one thread
    finish              when every file is in place: links, devices, `--delete`, metadata of directories

What the operating system refuses raises DestinationRefused.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from threading import Lock

from xget_lib.download.destination import Destination
from xget_lib.download.directories import Directories
from xget_lib.download.folding import collisions, same_names
from xget_lib.download.free_space import check_free_space
from xget_lib.download.install import Installer
from xget_lib.download.last_run import LastRun, load_run, path_for, save_run, shortfalls
from xget_lib.download.metadata import Metadata
from xget_lib.download.plan import FETCH, LINK_TO, UNCHANGED, FileDecision, Planner, Step
from xget_lib.download.progress import Progress
from xget_lib.download.refusal import refusing, refusing_dest
from xget_lib.download.reuse import Reuse
from xget_lib.download.small_files import SmallFiles
from xget_lib.download.staging import Parts, Staging
from xget_lib.download.write import PieceWriter
from xget_lib.errors import DestinationRefused, PartlyRefused, XGetError, printable
from xget_lib.fs.rooted import Root
from xget_lib.fs.stamp import put_stamp
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import Selection


class Download:
    """The download of a selection of a manifest into the directory `dest`. A node owns one for each generation.

    `permissions`: keep permission bits (not -s). `owners`: keep owners, where we are root (not -o). `delete`: remove
    what the master does not have, and what is in the way. `remembers`: knows what the last run left, and tells the next
    one (`last_run`).
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
        remembers: bool = False,
    ) -> None:
        self._path = dest
        self.reused = 0  # bytes of content that need not be fetched
        self.unverified: set[int] = set()  # files whose content was accepted by size and time alone
        self._manifest = manifest
        self._layout = manifest.layout
        self._selection = selection
        self._permissions = permissions
        self._delete = delete
        self._remembers = remembers
        self._last_run: LastRun | None = None
        self._metadata = Metadata(manifest, permissions=permissions, owners=owners)
        self._lock = Lock()
        self._to_correct: dict[int, FileDecision] = {}  # files with the right content that are to be changed
        self._specials: list[Step] = []
        self._failures: list[XGetError] = []
        self._resources = ExitStack()

    # The run, from its beginning to its end.

    def __enter__(self) -> Download:
        """Makes the destination if it is missing, locks it, makes the directories."""
        try:
            root = self._open_root()
            self._resources.callback(root.close)
            with refusing(self._path):
                self._open_staging(root)
            for step in self._planner.directories():
                self._directories.prepare(step)
            # Decided now: better refused before everything is fetched.
            self._specials = [step for step in self._planner.specials() if step.action != UNCHANGED]
        except BaseException:
            self._resources.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Closes everything. Keeps for the next run what is not finished."""
        self._resources.close()

    def _open_root(self) -> Root:
        with refusing_dest(self._path):
            with suppress(FileExistsError):
                os.mkdir(self._path, 0o700 if self._selection.whole and self._permissions else 0o777)
            return Root(self._path)

    def _destination(self, root: Root) -> Destination:
        if self._remembers:
            self._last_run = load_run(self._record_path, root, self._manifest, self._metadata)
        return Destination(root, self._manifest, self._selection, self._metadata, self._delete, self._last_run)

    @property
    def _record_path(self) -> bytes:
        return path_for(self._path, self._selection, self._manifest)

    def _open_staging(self, root: Root) -> None:
        """Opens the staging directory, and makes everything that works in the destination."""
        self._root = root
        dest = self._destination(root)
        directories = self._directories = Directories(dest)
        self._resources.callback(directories.close)
        if dest.selection.whole:
            directories.open_up(b"")
        self._staging = Staging(dest.root)
        self._resources.callback(self._staging.close)
        self._staging.open()
        if self._staging.resumed:
            directories.sync_everything()  # names that the earlier run gave may not be on disk
        same = same_names(self._path, root, self._manifest, self._selection, may_write=True)
        if same:
            self._failures.append(PartlyRefused(collisions(self._path, self._manifest, self._selection, same)))
            self._selection = self._selection.without(same)
            dest = replace(dest, selection=self._selection)
            directories.select(self._selection)
        self._progress = Progress(self._selection, self._layout)
        parts = self._parts = Parts(dest)
        self._resources.callback(parts.close_all)
        small_files = SmallFiles(dest, self._progress.stamps)
        self._planner = Planner(dest, Reuse(dest, self._staging.leftovers, parts), small_files)
        self.writer = PieceWriter(dest, self._progress, parts, small_files)
        self._installer = Installer(dest, directories, self._progress, parts, small_files)

    def inspect_files(self, files: Sequence[int], trusts_times: Callable[[int], bool]) -> None:
        """Finds out what the destination has of selected files (rising), and what to do about them.

        To be called once for each selected file, also for an empty one, before anything of it is written. A file for
        which `trusts_times` is true is unchanged if its size and modification time are right; any other file is read.
        """
        plan = self._planner.files(files, trusts_times)
        self._accept(plan.unchanged, unverified=True)
        for decision in plan.others:
            if decision.step.action != FETCH:
                self._keep(decision)
                continue
            with self._lock:
                self.reused += self._layout.file_range(decision.file)[1] - decision.step.size
            self._progress.add(decision.file, decision.pieces)

    def _keep(self, decision: FileDecision) -> None:
        """The content of a file is right at its final path, or at a further path."""
        file, step, links, _, status, unverified = decision
        if step.action == LINK_TO:
            self._staging.worth_keeping = True
            self._installer.link(step)
        self._accept((file,), unverified=unverified)
        if step.action == UNCHANGED and not links and status is not None:
            put_stamp(self.stamps, file, status)
        else:
            with self._lock:
                self._to_correct[file] = decision
            self._progress.to_install(file)

    def _accept(self, files: Sequence[int], *, unverified: bool) -> None:
        """These files are in place, with all their content."""
        with self._lock:
            self.reused += sum(self._layout.file_range(file)[1] for file in files)
            if unverified:
                self.unverified.update(files)
        self._progress.add_in_place(files)

    def check_free_space(self) -> None:
        """Raises DestinationRefused where the file system has not enough space for what is still to be written."""
        with refusing(self._path):
            available = self._root.statvfs()
        check_free_space(self._path, available, self._sizes_to_write())

    def _sizes_to_write(self) -> Iterator[int]:
        """Bytes still to be written, of each file that lacks any or has no content at all."""
        for file in self.files:
            pieces = self._layout.file_pieces(file)
            missing = self._progress.missing(file)
            if missing == len(pieces):
                yield self._layout.file_range(file)[1]
            elif missing:
                yield sum(self._layout.piece(n).length for n in pieces if n not in self._progress)

    def take_complete(self) -> list[int]:
        """The files that became complete since the last call, to be given to `install_files`."""
        return self._progress.take_complete()

    def install_files(self, files: Sequence[int]) -> None:
        """Puts complete files in place, durably. Many at once are much cheaper than one by one.

        Their names are on disk only after `finish`. A file that is not complete raises ValueError.
        """
        self._staging.worth_keeping = True
        incomplete = [file for file in files if self._progress.missing(file)]
        if incomplete:
            raise ValueError(f"file {incomplete[0]} is not complete")
        self._installer.install_files(sorted(file for file in files if not self._progress.is_in_place(file)))
        for file in files:
            if file in self._to_correct:
                self._installer.correct_file(self._to_correct[file])
                del self._to_correct[file]

    def finish(self) -> None:
        """To be called when every selected file is in place: does the rest, removes the staging directory, and syncs.

        When it returns, everything selected is in place and on disk. Raises ValueError if a file is not in place, and
        DestinationRefused, at the very end, for what could not be removed.
        """
        if self._to_correct or not all(map(self._progress.is_in_place, self.files)):
            raise ValueError("not every file is in place")
        self._install_specials()
        for step in self._planner.surplus():
            self._directories.remover.remove(step.path)
        self._directories.finish()
        with refusing(self._path):
            self._parts.close_all()
            self._staging.remove()
        self._directories.finish_root()
        self._report_what_stays()
        self._remember()  # only after a run in which nothing failed, but for names

    def _remember(self) -> None:
        """Saves what the next run should know."""
        if self._last_run is None or (self._last_run.is_current and not self._metadata.limited):
            return
        with refusing(self._path):
            arguments = self._root, self._manifest, self._selection, self._metadata
            left = shortfalls(*arguments) if self._metadata.limited else {}
            save_run(self._record_path, self._last_run, *arguments, left)

    def _install_specials(self) -> None:
        impossible: set[int] = set()  # entries: devices that this process may not make
        for step in self._specials:
            if step.action == LINK_TO:
                if step.entry not in impossible:
                    self._installer.link(step)
            elif not self._installer.special(step):
                impossible.add(step.entry)

    def _report_what_stays(self) -> None:
        """Notes what was not removed because it is mounted. Raises DestinationRefused for what could not be removed."""
        remover = self._directories.remover
        for path in remover.mounted[:1]:
            self._metadata.note("mounts", f"{printable(path)} was not removed: a file system is mounted there")
        if remover.refused:
            (path, why), *others = remover.refused
            rest = f"and {len(others)} others; " if others else ""
            why = f"cannot be removed: {why} ({rest}everything else is in place)"
            raise DestinationRefused(os.path.join(self._path, path), why)

    # What a node reads during the download.

    @property
    def selection(self) -> Selection:
        """What is selected, without what the destination cannot have (`failures`)."""
        return self._selection

    @property
    def failures(self) -> list[XGetError]:
        """What could not be done. Everything else is in place after `finish`."""
        return list(self._failures)

    @property
    def files(self) -> Sequence[int]:
        """The numbers of the selected files, rising."""
        return self._selection.files

    @property
    def stamps(self) -> array[int]:
        """The stamps of the files that are in place; see `fs.stamp`."""
        return self._progress.stamps

    @property
    def notes(self) -> list[str]:
        """What could not be preserved, one line for each kind."""
        return self._metadata.notes

    @property
    def removed(self) -> int:
        """How many names were removed."""
        return self._directories.remover.removed

    def path_of(self, file: int) -> bytes:
        """The current path of a selected file, relative to the destination."""
        return self._progress.path_of(file)

    def chunk_complete(self, chunk: int) -> bool:
        """Whether all of a chunk is on disk and right. It may be served when none of its files is `unverified`."""
        return self._progress.chunk_complete(chunk)

    def missing(self, chunk: int) -> list[range]:
        """The pieces of a chunk that are selected and not present, as rising ranges that do not touch."""
        runs: list[range] = []
        for number in self._layout.chunk_pieces(chunk):
            if number in self._progress or not self._selection.has_file(self._layout.file_of_piece(number)):
                continue
            if runs and runs[-1].stop == number:
                runs[-1] = range(runs[-1].start, number + 1)
            else:
                runs.append(range(number, number + 1))
        return runs
