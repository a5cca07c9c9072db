"""A node at work: finds out what is served, gets what is lacking, puts it in place, and serves on.

What must be right before a piece is written, served, or called done stands here; how pieces come is `transfer`'s.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

import gevent
from gevent import get_hub
from gevent.event import Event
from gevent.lock import Semaphore
from gevent.pool import Pool as GreenletPool

from xget_lib.config import Config
from xget_lib.download.download import Download
from xget_lib.download.plan import ACTIONS, DryRun
from xget_lib.errors import Incomplete, MalformedManifest, printable
from xget_lib.fs.rooted import Root
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.decoding import decode
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import Selection, select
from xget_lib.net.listen import listen
from xget_lib.net.waiting import in_thread
from xget_lib.node.backend import Child
from xget_lib.node.chunk_receiver import TransferStats
from xget_lib.node.fetch_manifest import obtain
from xget_lib.node.master_link import MasterLink
from xget_lib.node.transfer import INTRODUCED, Transfer
from xget_lib.report.log import LOGGER
from xget_lib.serve.files import Files
from xget_lib.serve.held import HeldContent
from xget_lib.serve.served import Encoded, Served
from xget_lib.serve.store import Store
from xget_lib.swarm.messages import News

_THREADS = min(4, max(2, os.cpu_count() or 1))
"""More than processors only take the interpreter from each other."""
_SURVEY_SLICE = 2000
"""Files that one call into a thread looks at."""
_SURVEY_WAITS = 30e-6
"""Seconds a file from which looking at files is seen to wait for a disk, or to hash: then several threads do it."""
_PROGRESS_EVERY = 0.5
_STALLED = 10.0
"""Seconds without anything arriving after which people are told."""
_OVERTAKEN = 3.0
"""Seconds in which the news of a new generation come after its manifest was read instead of the one that was named."""
_FINISH_EVERY = 0.5


class Tell(Protocol):
    """Where a node says what happens: an event and its facts."""

    def __call__(self, event: str, **facts: Any) -> None: ...


class NewGeneration(Exception):
    """The master serves something else now."""


class Node:
    """One run of the client."""

    def __init__(self, config: Config, sources: Sequence[bytes], dest: bytes, tell: Tell) -> None:
        self._config = config
        self._sources = sources
        self._dest = dest
        self._tell = tell
        self._news: News | None = None
        self.newer = Event()
        """Set whenever the master names another generation than before."""
        self.incomplete: Incomplete | None = None
        """What the master could not read of the generation that is in place."""
        self._offered: Store | None = None
        """What the child serves."""
        self._in_place: HeldContent | None = None
        self._confirming: gevent.Greenlet[[], None] | None = None
        self._account = TransferStats()
        self._transfer: Transfer | None = None
        self._introduced: dict[tuple[str, int], bytes] = {}
        """Peers that introduced themselves, and what they serve."""
        assert config.host is not None
        # Any free port: the master's may be wanted by a master, on this very machine and later than we start.
        self.child = Child(listen(config.bind, 0), dest, config.debug, follows=config.follow)
        self.child.on_introduced = self._meet
        port = None if config.dry_run else self.child.port
        self._membership = MasterLink(config.host, config.port, serving_port=port, follows=config.follow)
        self._membership.on_news = self._hear
        get_hub().threadpool.maxsize = _THREADS

    def download(self) -> dict[str, Any]:
        """Connect to the master, then `update`."""
        self._membership.begin(self._config.timeout)
        return self.update()

    @property
    def outdated(self) -> bool:
        """Whether the master names another generation than the one that is in place."""
        in_place = self._in_place.generation if self._in_place is not None else b""
        return self._news is not None and self._news.generation != in_place

    def update(self) -> dict[str, Any]:
        """Everything that was asked for, of the newest generation, in place and verified. Returns what `done` says of
        it. Raises XGetError."""
        self._account = TransferStats()
        while True:
            news = self._wait_for_news()
            try:
                return self._get(news)
            except NewGeneration:
                LOGGER.info("the master serves a new generation; starting over with what is still right")

    def _hear(self, news: News) -> None:
        former, self._news = self._news, news
        # Who asks here is to take from here.
        self.child.news = replace(news, direct=True)
        if self._transfer is not None:
            self._transfer.news(news)
        if former is None or former.generation != news.generation:
            self.newer.set()

    def _meet(self, peer: tuple[str, int], generation: bytes) -> None:
        """A peer introduces itself, maybe before this node knows what there is to get."""
        self._introduced.pop(peer, None)
        self._introduced[peer] = generation
        if len(self._introduced) > INTRODUCED:
            del self._introduced[next(iter(self._introduced))]
        if self._transfer is not None:
            self._transfer.introduced(peer, generation)

    def _wait_for_news(self) -> News:
        begun = time.monotonic()
        while self._news is None:
            if self.newer.wait(_STALLED):
                break
            waited = time.monotonic() - begun
            if self._membership.link is None and waited > self._config.timeout:
                raise self._membership.unreachable(waited)
            what = "is taking its snapshot" if self._membership.link else "is lost"
            self._tell("stall", message=f"the master {what}, waiting for {waited:.0f} s")
        self.newer.clear()
        assert self._news is not None
        return self._news

    # One generation.

    def _get(self, news: News) -> dict[str, Any]:
        manifest = self._read_manifest(news)
        selection = select(manifest, self._sources)
        if self._config.dry_run:
            return self._rehearse(manifest, selection)
        partial = Download(self._dest, manifest, selection, **self._manner)
        self._tell(
            "start",
            generation=news.generation.hex(),
            files=len(selection.files),
            bytes=selection.size,
            message=f"{len(selection.files)} files, {selection.size} bytes to have",
        )
        if self._confirming is not None:
            # What it has not read yet is as doubtful in the new generation.
            self._confirming.kill()
        with partial:
            try:
                self._survey(manifest, partial, selection)
                holding = self._serve(manifest, partial, selection)
                self._fill(partial, holding)
                in_thread(partial.finish)
            finally:
                # Threads that still write must be done before what they write to is closed.
                get_hub().threadpool.join()
        self._membership.report_now()
        self._in_place = holding
        self.incomplete = _incomplete(selection)
        self._confirming = gevent.spawn(lambda: self._verify(holding))
        return {
            "generation": manifest.generation.hex(),
            "files": len(selection.files),
            "bytes": selection.size,
            "reused": partial.reused,
            "removed": partial.removed,
            "notes": [*partial.notes, *_skipped(selection)],
        }

    @property
    def _manner(self) -> dict[str, bool]:
        """In which way a download, or the rehearsal of one, treats the destination."""
        config = self._config
        return {"permissions": not config.no_permissions, "owners": not config.no_owners, "delete": config.delete}

    def _rehearse(self, manifest: Manifest, selection: Selection) -> dict[str, Any]:
        """Tell what would be done. Returns what `done` says of it."""
        rehearsal = DryRun(self._dest, manifest, selection, checksum=self._config.checksum, **self._manner)
        steps = iter(rehearsal)
        would = dict.fromkeys(ACTIONS, 0)
        size = 0
        while told := in_thread(list, islice(steps, _SURVEY_SLICE)):
            for step in told:
                would[step.action] += 1
                size += step.size
                self._tell("step", action=step.action, path=printable(step.path), bytes=step.size)
        self.incomplete = _incomplete(selection)
        return {
            "generation": manifest.generation.hex(),
            "files": len(selection.files),
            "bytes": selection.size,
            "would": {**would, "bytes": size},
        }

    def fetched(self) -> dict[str, Any]:
        """What has come so far, as `done` says it."""
        account = self._account
        return {"fetched": account.fetched, "from_master": account.from_master, "peers": len(account.peers)}

    def _read_manifest(self, news: News) -> Manifest:
        """The manifest of the generation that the master names; others can have it from now on. Raises NewGeneration
        where the master has another by now."""
        master = self._membership.host, self._membership.port
        encoded, right = obtain(news, master, self._config.timeout)
        if not right:
            if self._news == news and not self.newer.wait(_OVERTAKEN):
                raise MalformedManifest("it is not that of the generation that the master names")
            raise NewGeneration
        manifest: Manifest = in_thread(decode, encoded)
        self.child.manifest = Encoded.of(encoded)
        return manifest

    def _survey(self, manifest: Manifest, partial: Download, selection: Selection) -> None:
        """Find out what is right already, in threads."""
        files = list(selection.files)
        slices = [files[first : first + _SURVEY_SLICE] for first in range(0, len(files), _SURVEY_SLICE)]
        known = in_thread(self._in_place.known, manifest, selection.places) if self._in_place is not None else None
        verified = in_thread(known.verified, files) if known is not None else set()

        def trusts_times(file: int) -> bool:
            if self._config.checksum:
                return file in verified
            return known is None or file not in known.changed

        # Where all is in memory, and so is the same, a second thread only takes the interpreter from the first.
        permits = Semaphore(1)
        alone = True

        def survey_in_thread(numbers: list[int]) -> None:
            nonlocal alone
            with permits:
                begun = time.monotonic()
                in_thread(partial.survey_files, numbers, trusts_times)
                if alone and time.monotonic() - begun > _SURVEY_WAITS * len(numbers):
                    alone = False
                    for _ in range(_THREADS - 1):
                        permits.release()

        for _ in GreenletPool(_THREADS).imap_unordered(survey_in_thread, slices):
            pass
        partial.check_room()
        partial.believed -= verified

    def carry_over(self) -> None:
        """Serve what is in place, and the same in the newest generation, as a part of that. Raises XGetError."""
        holding = self._in_place
        if holding is None:
            return
        if self._confirming is not None:
            self._confirming.join()  # what is not verified is not carried over
        try:
            manifest = self._read_manifest(self._wait_for_news())
        except NewGeneration:
            return  # and its news is there
        selection = select(manifest, self._sources)
        store = in_thread(holding.carried_over, manifest, selection)
        self._offer(store, selection)
        LOGGER.info("%d of %d chunks are the same in the new generation", store.held.count, store.layout.chunk_count)

    def _serve(self, manifest: Manifest, partial: Download, selection: Selection) -> HeldContent:
        """Serve what is right from now on, and all that comes."""
        if self._offered is not None:
            # What it lacks does not come any more; and its files will change, which is no surprise.
            self._offered.growing, self._offered.on_stale = False, None
        holding = HeldContent(self._dest, manifest, partial)
        self._offer(holding.store, selection)
        return holding

    def _offer(self, store: Store, selection: Selection) -> None:
        """Show others what is in a store, and tell the master of it."""

        def changed(path: bytes) -> None:
            LOGGER.warning("%s was changed here and is not served any more", printable(path))
            self._held_changed(store)

        store.on_stale = changed
        self._offered = store
        manifest = store.manifest
        assert self.child.manifest is not None
        self.child.serve(
            Served(self.child.manifest, store, selection.shown()),
            Files(Root(self._dest), selection.lands, manifest.users, manifest.groups),
        )
        self._membership.report(manifest.generation, store.held.count)

    def _held_changed(self, store: Store) -> None:
        """More is held than before, or less. Of an older generation nobody needs to know."""
        if store is self._offered:
            self.child.changed()
            self._membership.report(store.manifest.generation, store.held.count)

    def _verify(self, holding: HeldContent) -> None:
        """Read the files that were accepted by size and times, and serve those that are right."""
        try:
            with Root(self._dest) as root:
                for file in sorted(holding.unverified):
                    if not in_thread(holding.file_is_right, root, file):
                        path = printable(holding.store.path_of(file))
                        LOGGER.error("%s: size and time are right, but the content is wrong; not serving it", path)
                    elif holding.file_verified(file):
                        self._held_changed(holding.store)
        finally:
            holding.store.growing = False
            self._held_changed(holding.store)  # whoever waits for more must be told that none comes

    def _fill(self, partial: Download, holding: HeldContent) -> None:
        """Get what is lacking, and put each file in place when it is whole."""
        store = holding.store
        lacking = Bitmap(store.layout.chunk_count)
        for chunk in range(store.layout.chunk_count):
            if not partial.chunk_whole(chunk) and partial.lacking(chunk):
                lacking.add(chunk)

        def written(chunk: int) -> None:
            if holding.chunk_written(chunk):
                self._held_changed(store)

        transfer = Transfer(
            self._membership,
            partial,
            store.manifest,
            lacking,
            retries=self._config.retries,
            account=self._account,
            on_held=written,
        )
        self._transfer = transfer
        if self._news is not None:
            transfer.news(self._news)
        for peer, generation in self._introduced.items():
            transfer.introduced(peer, generation)
        filled = Event()
        finisher = gevent.spawn(self._finish_files, partial, store, filled)
        finisher.link_exception(lambda failed: transfer.fail(failed.exception or AssertionError()))
        progress = gevent.spawn(self._watch_progress, transfer, partial)
        news = gevent.spawn(self._watch_news, transfer)
        try:
            transfer.run()
        finally:
            self._transfer = None
            gevent.killall([progress, news])
            filled.set()
            finisher.join()
        self._put_in_place(partial, store)

    def _finish_files(self, partial: Download, store: Store, filled: Event) -> None:
        """Put files in place as they become whole: what waits for the disk overlaps with what waits for the net."""
        while not filled.wait(_FINISH_EVERY):
            self._put_in_place(partial, store)

    def _put_in_place(self, partial: Download, store: Store) -> None:
        files = partial.take_whole()
        if files:
            in_thread(partial.finish_files, files)

    def _watch_news(self, transfer: Transfer) -> None:
        self.newer.wait()
        transfer.fail(NewGeneration())

    def _watch_progress(self, transfer: Transfer, partial: Download) -> None:
        """Say how far it is, and when nothing comes any more."""
        last, since = self._account.fetched, time.monotonic()
        while True:
            gevent.sleep(_PROGRESS_EVERY)
            fetched, now = self._account.fetched, time.monotonic()
            if fetched != last:
                last, since = fetched, now
            self._tell("progress", bytes=partial.reused + fetched, fetched=fetched, peers=transfer.suppliers)
            silence = now - since
            if silence < _STALLED:
                continue
            reached = self._membership.link is not None
            where = "" if reached else ", the master is not reached"
            self._tell(
                "stall", message=f"nothing has come for {silence:.0f} s, {transfer.suppliers} servers known{where}"
            )
            if not reached and silence > self._config.timeout:
                transfer.fail(self._membership.unreachable(silence))


def _incomplete(selection: Selection) -> Incomplete | None:
    lacking = [each for each in selection.omitted if not each.expected]
    return Incomplete(lacking[0].path, lacking[0].why, len(lacking) - 1) if lacking else None


def _skipped(selection: Selection) -> list[str]:
    """What is not meant to be copied: a line for each kind."""
    kinds: dict[str, list[bytes]] = {}
    for each in selection.omitted:
        if each.expected:
            kinds.setdefault(each.why, []).append(each.path)
    return [
        f"{printable(paths[0])}{f' and {len(paths) - 1} others' if len(paths) > 1 else ''} skipped: {why}"
        for why, paths in kinds.items()
    ]
