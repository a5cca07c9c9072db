"""The life of a node: it keeps in touch with its master, downloads generations one after the other, and serves them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gevent
from gevent import get_hub
from gevent.event import Event

from xget_lib.config import Config
from xget_lib.errors import Incomplete, MalformedManifest, XGetError
from xget_lib.manifest.decoding import decode
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import select
from xget_lib.net.listen import listen
from xget_lib.net.waiting import in_thread
from xget_lib.node.backend import Child
from xget_lib.node.content import NewGeneration, TransferStats
from xget_lib.node.fetch_manifest import fetch_manifest
from xget_lib.node.generation import STALLED, THREADS, Generation, NodeContext, Tell, dry_run, incomplete
from xget_lib.node.master_link import Change, MasterLink
from xget_lib.node.transfer import Transfer
from xget_lib.report.log import LOGGER
from xget_lib.serve.served import EncodedManifest
from xget_lib.swarm.messages import News

_OVERTAKEN = 3.0
"""Seconds within which the master names a new generation after it has sent the manifest of that one already."""


class Node:
    """One run of the client, until its child server ends."""

    def __init__(self, config: Config, sources: Sequence[bytes], dest: bytes, tell: Tell) -> None:
        """`sources` are the paths to download into `dest`; `tell` is told what happens."""
        assert config.host is not None
        # Any free port: a master may be started on this machine later and want the usual one.
        listening = listen(config.bind, 0)
        port = None if config.dry_run else listening.getsockname()[1]
        self._config = config
        self._sources = sources
        self._tell = tell
        self._master = MasterLink(config.host, config.port, serving_port=port, follows=config.follow)
        self._transfer = Transfer(self._master, config.retries)
        self.child = Child(listening, dest, config.debug, self._transfer, follows=config.follow)
        self._context = NodeContext(config, dest, tell, self._transfer, self.child)
        self._news: News | None = None
        """The last from the master."""
        self.newer = Event()
        """Set whenever the master names another generation than before."""
        self.incomplete: Incomplete | None = None
        """What the master could not read of the generation that is in place."""
        self.refused: list[XGetError] = []
        """What of it the destination refused, or was not safe to do; the worst first."""
        self._stats = TransferStats()
        self._in_place: Generation | None = None
        self._repairing: gevent.Greenlet[..., None] | None = None
        get_hub().threadpool.maxsize = THREADS

    def download(self) -> dict[str, Any]:
        """Connect to the master, then `update`."""
        self._master.begin(self._config.timeout)
        gevent.spawn(self._handle_master_events)
        return self.update()

    def update(self) -> dict[str, Any]:
        """Download all that was asked for, of the newest generation. Returns what `done` says. Raises XGetError."""
        self._stats = TransferStats()
        while True:
            news = self._wait_for_news()
            try:
                return self._get(self._read_manifest(news))
            except NewGeneration:
                LOGGER.info("the master has a new generation; starting again with the pieces that are still valid")

    def rebase(self) -> None:
        """Serve what is in place, and the same in the newest generation, as a part of that. Raises XGetError."""
        if self._repairing is not None:
            self._repairing.join()  # only what is verified is carried over
        in_place = self._in_place
        if in_place is None:
            return
        try:
            manifest = self._read_manifest(self._wait_for_news())
        except NewGeneration:
            return  # `newer` is set
        selection = select(manifest, self._sources)
        store = in_thread(in_place.held.rebased, manifest, selection)
        self._context.serve(store, selection)
        LOGGER.info(
            "serving %d unchanged chunks of %d in the new generation",
            store.held.count,
            store.layout.chunk_count,
        )

    @property
    def failures(self) -> list[XGetError]:
        """What could not be done of the generation that is in place, the worst first."""
        return [*self.refused, *([self.incomplete] if self.incomplete is not None else [])]

    def fetched(self) -> dict[str, Any]:
        """What has arrived so far, as `done` says it."""
        stats = self._stats
        return {"fetched": stats.fetched, "from_master": stats.from_master, "peers": len(stats.peers)}

    @property
    def outdated(self) -> bool:
        """Whether the master names another generation than the one that is in place."""
        in_place = self._in_place.manifest.generation if self._in_place is not None else b""
        return self._news is not None and self._news.generation != in_place

    def _get(self, manifest: Manifest) -> dict[str, Any]:
        selection = select(manifest, self._sources)
        self.refused = []
        if self._config.dry_run:
            done = dry_run(self._context, manifest, selection, self.refused)
        else:
            self.stop_repairing()
            if self._in_place is not None:
                self._in_place.stop_verifying()
            generation = Generation(self._context, manifest, selection)
            done = generation.run(self._in_place, self._stats)
            self._in_place = generation
            self.refused = generation.failures
            self._repairing = gevent.spawn(self._repair, generation)
        self.incomplete = incomplete(selection)
        return done

    def stop_repairing(self) -> None:
        """Leave it to the next update, or run, to repair files."""
        if self._repairing is not None:
            self._repairing.kill()

    def _repair(self, generation: Generation) -> None:
        """Fetch again the files that were accepted by size and time, and turn out to have other content."""
        while True:
            generation.wait_until_verified()
            wrong = frozenset(generation.wrong)
            if not wrong:
                return
            generation = Generation(self._context, generation.manifest, generation.selection, wrong)
            try:
                generation.run(self._in_place, TransferStats())
            except NewGeneration:
                LOGGER.error("cannot repair files: the master has a new generation (run the client again)")
                return
            except XGetError as error:
                LOGGER.error("cannot repair files: %s (run the client again)", error)
                return
            self._in_place = generation
            LOGGER.warning("repaired %d of the files that had the right size and time, but other content", len(wrong))

    # The master.

    def _handle_master_events(self) -> None:
        for event in self._master.events():
            if isinstance(event, News):
                self._receive_news(event)
            elif event is Change.CONNECTED:
                self._transfer.master_connected()
            else:
                self._transfer.master_lost()

    def _receive_news(self, news: News) -> None:
        former, self._news = self._news, news
        # A node that reads the news here downloads from here.
        self.child.news = replace(news, direct=True)
        if former is None or former.generation != news.generation:
            self.newer.set()
        self._transfer.master_named(news)

    def _wait_for_news(self) -> News:
        begun = time.monotonic()
        while self._news is None:
            if self.newer.wait(STALLED):
                break
            waited = time.monotonic() - begun
            if self._master.link is None and waited > self._config.timeout:
                raise self._master.unreachable(waited)
            what = "the master is taking its snapshot" if self._master.link else "no connection to the master"
            self._tell("stall", message=f"{what} (waiting for {waited:.0f} s)")
        self.newer.clear()
        assert self._news is not None
        return self._news

    def _read_manifest(self, news: News) -> Manifest:
        """The manifest of the generation that the master names; others can have it from now on. Raises XGetError, and
        NewGeneration where the master has another one by now."""
        encoded, right = fetch_manifest(news, self._master.address, self._config.timeout)
        if not right:
            if self._news == news and not self.newer.wait(_OVERTAKEN):
                raise MalformedManifest("its digest is not the generation that the master announced")
            raise NewGeneration
        manifest: Manifest = in_thread(decode, encoded)
        self.child.manifest = EncodedManifest.of(encoded)
        return manifest
