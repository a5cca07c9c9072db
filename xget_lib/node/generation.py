"""One generation, from its manifest to all files in place."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Set
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import islice
from math import inf
from typing import Any

import gevent
from gevent.event import Event
from gevent.lock import Semaphore
from gevent.pool import Pool as GreenletPool

from xget_lib.config import Config
from xget_lib.dataclass import dataclass
from xget_lib.download.download import Download
from xget_lib.download.last_run import doubt
from xget_lib.download.plan import ACTIONS
from xget_lib.errors import DestinationRefused, Incomplete, XGetError, printable
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import Selection
from xget_lib.manifest.signature import Signed
from xget_lib.net.threads import in_thread, pool
from xget_lib.node.child import Child
from xget_lib.node.content_watch import DISK, ContentWatch
from xget_lib.node.patience import Patience
from xget_lib.node.transfer import Transfer
from xget_lib.node.transfer_run import TransferStats
from xget_lib.node.waits import Tell, Waits
from xget_lib.report.log import LOGGER
from xget_lib.report.waiting import Wait
from xget_lib.serve.files import Files
from xget_lib.serve.held import Compared, HeldContent, still_matches
from xget_lib.serve.served import Served
from xget_lib.serve.store import Store

THREADS = min(4, max(2, os.cpu_count() or 1))
"""More threads than processors only wait for each other: one at a time runs Python."""
_SLICE = 2000
"""Files that one call in a thread inspects."""
_SLOW_INSPECTION = 30e-6
"""Seconds for one file, above which the inspection waits for a disk, or hashes: then several threads do it."""
_INSTALL_EVERY = 0.5


@dataclass(frozen=True)
class NodeContext:
    """What all generations of one node have in common."""

    config: Config
    dest: bytes
    tell: Tell
    transfer: Transfer
    child: Child
    waits: Waits

    @property
    def patience(self) -> Patience:
        """When to give up waiting."""
        return Patience(self.transfer.master, self.waits, self.config.timeout, self.config.stall_timeout)

    @property
    def options(self) -> dict[str, Any]:
        """How a download, or a dry run, treats the destination."""
        config = self.config
        return {
            "permissions": not config.no_permissions,
            "owners": not config.no_owners,
            "devices": config.devices,
            "set_id": config.set_id,
            "delete": config.delete,
            "max_delete": config.max_delete,
            "remembers": True,
            "strict": not config.insecure_dest,
        }

    def serve(self, store: Store, selection: Selection) -> None:
        """Serve the content of a store from now on, instead of the former store."""
        if self.child.served is not None:
            # What that one lacks does not arrive any more, and its files are expected to change.
            former = self.child.served.store
            former.more_may_come, former.on_stale = False, None

        def changed(path: bytes) -> None:
            LOGGER.warning("%s: changed on this node; not serving it any more", printable(path))
            self.child.held_changed(store)

        store.on_stale = changed
        manifest = store.manifest
        assert self.child.manifest is not None
        self.child.serve(
            Served(self.child.manifest, store, selection.visible()),
            Files(
                store.root.again(),
                selection.has_dest_path,
                manifest.users,
                manifest.groups,
                still_matches(store, selection),
            ),
        )


class Generation:
    """The download of one generation into the destination. Call `run` once; it also begins to serve the generation."""

    def __init__(
        self,
        context: NodeContext,
        manifest: Manifest,
        selection: Selection,
        signed: Signed | None = None,
        distrusted: Set[int] = frozenset(),
    ) -> None:
        """`signed`: the generation with its signature, where it needs one (`--trust`). `distrusted`: files, by number,
        that are read also if their size and time are right."""
        self.manifest = manifest
        self.selection = selection
        self.signed = signed
        self.wrong: set[int] = set()
        """Files that were accepted by size and time, and turned out to have other content."""
        self._context = context
        self._distrusted = distrusted
        self.failures: list[XGetError] = []
        """What `run` could not do, the worst first. Everything else is in place."""
        self.fetched, self.lacking = 0.0, inf
        """Bytes of content that `run` has received, and that lacked when it ended; inf: it did not come to that."""
        self._held: HeldContent | None = None
        self._verifying: gevent.Greenlet[..., None] | None = None

    def run(self, former: Generation | None, stats: TransferStats) -> dict[str, Any]:
        """Download everything. Returns the fields of the event `done`. Raises XGetError, NewGeneration.

        `former` is the generation that is in place, if there is one.
        """
        context, selection = self._context, self.selection
        context.tell(
            "start",
            generation=self.manifest.generation.hex(),
            files=len(selection.files),
            bytes=selection.size,
            message=f"requested: {len(selection.files)} files, {selection.size} bytes",
        )
        download = Download(context.dest, self.manifest, selection, **context.options)
        with _entered(download):
            try:
                if self.signed is not None:
                    in_thread(download.take_serial, self.signed, allow_rollback=context.config.allow_rollback)
                self._take_inventory(download, former)
                selection = self.selection = download.selection
                held = self._held = HeldContent(self.manifest, download)
                context.serve(held.store, selection)
                self._fetch(download, held, stats)
                then = "the download is complete then"
                with context.waits.on(lambda: Wait("the last files to be put in place", DISK, then)):
                    in_thread(download.finish)
                for file in download.refused:  # it may have been served from its part
                    held.store.drop(file)
                if download.refused:
                    context.child.held_changed(held.store)
            finally:
                # What threads still write to must not be closed before they are done.
                pool().join()
        self.failures = download.failures
        if context.config.linger:  # otherwise the node ends now
            self._verifying = gevent.spawn(self._verify, held)
        return {
            "generation": self.manifest.generation.hex(),
            "files": len(selection.files),
            "bytes": selection.size,
            "reused": download.reused,
            "unchanged": len(download.unverified),
            "removed": download.removed,
            "notes": [*download.notes, *_skipped(selection), *_links_alone(selection)],
        }

    @property
    def held(self) -> HeldContent:
        """What is on disk and verified. Available after `run` has begun to serve it."""
        assert self._held is not None
        return self._held

    def wait_until_verified(self) -> None:
        """Return when all files that were accepted by size and time have been read."""
        if self._verifying is not None:
            self._verifying.join()

    def stop_verifying(self) -> None:
        """Stop reading the files: the next generation has to read them anyway."""
        if self._verifying is not None:
            self._verifying.kill()

    def _verify(self, held: HeldContent) -> None:
        """Read the files that were accepted by size and time, and serve those that are right."""
        context = self._context
        try:
            with held.store.root.again() as root:
                for file in sorted(held.unverified):
                    if not in_thread(held.file_is_right, root, file):
                        self.wrong.add(file)
                        path = printable(held.store.path_of(file))
                        LOGGER.error("%s: size and time match, but the content does not; fetching it again", path)
                    elif held.file_verified(file):
                        context.child.held_changed(held.store)
            if self.wrong:
                in_thread(doubt, held.store.root, self.selection, self.wrong)
        finally:
            held.store.more_may_come = False
            context.child.held_changed(held.store)  # readers that wait for more get an answer: no more is verified

    def _take_inventory(self, download: Download, former: Generation | None) -> None:
        """Find out which files are already right, in threads."""
        files = list(self.selection.files)
        slices = [files[first : first + _SLICE] for first in range(0, len(files), _SLICE)]
        compared = Compared()
        if former is not None and download.root.is_same(former.held.store.root):
            compared = in_thread(former.held.compare, self.manifest, self.selection.file_dest_paths)

        def trusts_times(file: int) -> bool:
            if self._context.config.checksum:
                return file in compared.verified and file not in self._distrusted
            return file not in compared.changed and file not in self._distrusted

        # If all files are in memory, a second thread gains nothing: one thread at a time runs Python.
        permits = Semaphore(1)
        alone = True
        inspected = 0

        def inspect(numbers: list[int]) -> None:
            nonlocal alone, inspected
            with permits:
                begun = time.monotonic()
                in_thread(download.inspect_files, numbers, trusts_times)
                inspected += len(numbers)
                self._context.waits.progress()
                if alone and time.monotonic() - begun > _SLOW_INSPECTION * len(numbers):
                    alone = False
                    for _ in range(THREADS - 1):
                        permits.release()

        def describe() -> Wait:
            what = f"the comparison of files that are there already ({inspected} of {len(files)})"
            return Wait(what, DISK, "what differs is fetched then")

        with self._context.waits.on(describe):
            pool = GreenletPool(THREADS)
            inspections = pool.imap_unordered(inspect, slices)
            try:
                for _ in inspections:
                    pass
            finally:  # a run that is interrupted does not wait for millions of files
                inspections.kill()
                pool.kill()
            in_thread(download.plan_removals)
        download.check_free_space()
        in_thread(download.note_replaced)
        download.unverified.difference_update(compared.verified)

    def _fetch(self, download: Download, held: HeldContent, stats: TransferStats) -> None:
        """Download the chunks that are lacking, and put each file in place when it is whole."""
        layout, transfer = self.manifest.layout, self._context.transfer
        lacking = Bitmap(layout.chunk_count)
        for chunk in range(layout.chunk_count):
            if not download.chunk_complete(chunk) and download.missing(chunk):
                lacking.add(chunk)

        fetched, before = Event(), stats.fetched
        installer = gevent.spawn(_install_files, download, fetched)
        installer.link_exception(lambda failed: transfer.fail(failed.exception or AssertionError()))
        watch = ContentWatch(self._context.patience, transfer, self._context.tell, download, self.manifest, stats)
        progress = gevent.spawn(watch.run)
        # Also a bug ends the download: without the watch nobody would, and it could wait for ever.
        progress.link_exception(lambda failed: transfer.fail(failed.exception or AssertionError()))
        try:
            on_written = partial(self._context.child.chunk_written, held)
            transfer.run(download, self.manifest, lacking, stats=stats, on_written=on_written)
            self._context.child.completed()
        except DestinationRefused:
            with suppress(DestinationRefused):  # the disk is full: what is complete is put in place
                _install_complete_files(download)
            raise
        finally:
            self.fetched = stats.fetched - before
            self.lacking = max(0, self.selection.size - download.reused - self.fetched)
            progress.kill()
            fetched.set()
            installer.join()
        _install_complete_files(download)


def dry_run(
    context: NodeContext, manifest: Manifest, selection: Selection, failures: list[XGetError]
) -> dict[str, Any]:
    """Tell what a download would do. Returns what `done` says of it. `failures` gets what could not be done."""
    from xget_lib.download.dry_run import dry_run_steps

    checksum = context.config.checksum
    steps = dry_run_steps(context.dest, manifest, selection, checksum=checksum, failures=failures, **context.options)
    would = dict.fromkeys(ACTIONS, 0)
    size = 0
    while some := in_thread(list, islice(steps, _SLICE)):
        for step in some:
            would[step.action] += 1
            size += step.size
            context.tell("step", action=step.action, path=printable(step.path), bytes=step.size)
    return {
        "generation": manifest.generation.hex(),
        "files": len(selection.files),
        "bytes": selection.size,
        "would": {**would, "bytes": size},
    }


def incomplete(selection: Selection) -> Incomplete | None:
    """An error that names what the master could not read of a selection."""
    lacking = [each for each in selection.omitted if not each.expected]
    return Incomplete(lacking[0].path, lacking[0].why, len(lacking) - 1) if lacking else None


@contextmanager
def _entered(download: Download) -> Iterator[None]:
    """As `with download`, but makes the directories in a thread: there may be millions, and signals are handled
    meanwhile."""
    try:
        in_thread(download.__enter__)
    except gevent.GreenletExit:  # of a repair: the next download needs the destination
        pool().join()
        download.__exit__()
        raise
    with ExitStack() as stack:
        stack.push(download)
        yield


def _install_files(download: Download, fetched: Event) -> None:
    """Put files in place as they become whole, until all is fetched: waiting for the disk overlaps with waiting for the
    network."""
    while not fetched.wait(_INSTALL_EVERY):
        _install_complete_files(download)


def _install_complete_files(download: Download) -> None:
    files = download.take_complete()
    if files:
        in_thread(download.install_files, files)


def _skipped(selection: Selection) -> list[str]:
    """What is not meant to be copied: a line for each kind."""
    kinds: dict[str, list[bytes]] = {}
    for each in selection.omitted:
        if each.expected:
            kinds.setdefault(each.why, []).append(each.path)
    return [f"{printable(paths[0])}{_and_others(len(paths) - 1)} skipped: {why}" for why, paths in kinds.items()]


def _links_alone(selection: Selection) -> list[str]:
    """What may surprise somebody who named a link: a line for each."""
    return [
        f"{printable(name)}: copied as a symbolic link to {printable(target)} (to copy the directory that it leads to,"
        f" write {printable(name)}/)"
        for name, target in selection.links
    ]


def _and_others(count: int) -> str:
    return f" and {count} other{'s' * (count > 1)}" if count else ""
