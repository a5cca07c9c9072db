"""The life of a node: it stays connected to its master, downloads generations one after the other, and serves them."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any

import gevent
from blake3 import blake3
from gevent.event import Event

from xget_lib.config import Config
from xget_lib.dataclass import asdict, replace
from xget_lib.download.serial import check_serial
from xget_lib.errors import (
    Failed,
    Incomplete,
    Interrupted,
    LinkLost,
    MalformedManifest,
    NinepError,
    NotAdmitted,
    Outdated,
    XGetError,
    printable,
)
from xget_lib.manifest.decoding import decode_verified
from xget_lib.manifest.excluding import leave_out
from xget_lib.manifest.manifest import STILL_CHANGING, Manifest
from xget_lib.manifest.patterns import Patterns
from xget_lib.manifest.selection import Selection, select
from xget_lib.manifest.signature import Signed
from xget_lib.net.credentials import credentials_of, read_again
from xget_lib.net.listen import LocalSocket, listen_in
from xget_lib.net.receive_limit import ReceiveLimit
from xget_lib.net.sending_hosts import SendingHosts
from xget_lib.net.threads import in_thread, pool
from xget_lib.node.awake import now
from xget_lib.node.child import Child
from xget_lib.node.fetch_manifest import fetch_manifest
from xget_lib.node.former_manifest import FormerManifest
from xget_lib.node.generation import THREADS, Generation, NodeContext, dry_run, incomplete
from xget_lib.node.generation_restarts import GenerationRestarts
from xget_lib.node.master_link import Change, MasterLink
from xget_lib.node.own_master import check_dest, read_marks
from xget_lib.node.patience import CHECK_EVERY
from xget_lib.node.transfer import Transfer
from xget_lib.node.transfer_run import NewGeneration, TransferStats
from xget_lib.node.waits import Tell, Waits
from xget_lib.report.events import size
from xget_lib.report.log import LOGGER
from xget_lib.report.waiting import Wait
from xget_lib.serve.access import Access
from xget_lib.serve.served import EncodedManifest
from xget_lib.swarm.messages import (
    CURRENT,
    DONE,
    FAILED,
    INTERRUPTED,
    SETTLING_LIMIT,
    News,
    Registration,
    Scanning,
    host_name,
)

if TYPE_CHECKING:
    from xget_lib.node.trust import Trust

_OVERTAKEN = 3.0
"""Seconds to wait for news of a generation of which the master has already sent the manifest."""


class Node:
    """One run of the client, until its child server ends."""

    def __init__(self, config: Config, sources: Sequence[bytes], dest: bytes, tell: Tell) -> None:
        """`sources` are the paths to download into `dest`; `tell` is told what happens."""
        assert config.host is not None
        # Not the usual one: a master may be started on this machine later and want it.
        listening = listen_in(config.bind, config.ports)
        port = None if config.dry_run else listening.getsockname()[1]
        self._config = config
        self._sources = sources
        self._exclude = Patterns(map(os.fsencode, config.exclude))
        self._waits = Waits(tell)
        self.credentials = credentials_of(config)
        self._master = MasterLink(
            config.host,
            config.port,
            serving_port=port,
            follows=config.follow,
            credentials=self.credentials,
            allow=config.allow,
            name=host_name(os.uname().nodename),
            identity=_identity(dest),
            limit=ReceiveLimit(config.rate) if config.rate is not None else None,
        )
        self._transfer = Transfer(self._master, config.retries)
        access = Access.of(config, self.credentials)
        local = LocalSocket(config.socket) if config.socket is not None and not config.dry_run else None
        self.child = Child(
            listening,
            dest,
            config.debug,
            self._transfer,
            follows=config.follow,
            access=access,
            local=local,
            sending=SendingHosts(rate=config.rate_up),
        )
        self._context = NodeContext(config, dest, tell, self._transfer, self.child, self._waits)
        self._news: News | None = None
        """The last from the master."""
        self._scanning: Scanning | None = None
        """How far the master is with a scan, if there is no news because of that,"""
        self._scanning_heard: float | None = None
        """and when it said so, by `node.awake`."""
        self._freshness, self._freshness_received = CURRENT, 0.0
        """Of the generation in the last news, and when it was received, by `node.awake`."""
        self.newer = Event()
        """Set whenever the master names another generation than before."""
        self.incomplete: Incomplete | None = None
        """What the master could not read of the generation that is in place."""
        self.refused: list[XGetError] = []
        """What of it the destination refused, or was not safe to do; the worst first."""
        self._trust = _trust(config)
        self._stats = TransferStats()
        self._in_place: Generation | None = None
        self._trying: Generation | None = None
        """The one that is being downloaded, or was last."""
        self._former = FormerManifest(dest)
        self._repairing: gevent.Greenlet[..., None] | None = None
        self.hearing: gevent.Greenlet[..., None] | None = None
        """Acts on what the master says, from `download` on. If an error ends it, nothing is heard any more."""
        pool().most = THREADS

    def download(self) -> dict[str, Any]:
        """Connect to the master, then `update`."""
        with self._waits.on(self._expect_news):
            self._master.begin(self._config.timeout)
        self.hearing = gevent.spawn(self._handle_master_events)
        self.hearing.link_exception(lambda failed: self._transfer.fail(failed.exception or AssertionError()))
        done = self.update()
        settled = now() + SETTLING_LIMIT  # of all generations that the master names meanwhile
        while self._wait_until_settled(settled):
            done = self.update()
        return done

    def update(self) -> dict[str, Any]:
        """Download what was asked for, of the newest generation, and tell the master how that ended. Returns the fields
        of `done`. Raises XGetError."""
        begun = time.monotonic()
        self._master.run_begins()
        try:
            done = self._update()
        except XGetError as error:
            why = (INTERRUPTED, "") if isinstance(error, Interrupted) else (FAILED, str(error))
            self._master.run_ended(*why, time.monotonic() - begun, self._stats.reported)
            raise
        why = (FAILED, str(self.failures[0])) if self.failures else (DONE, "")
        self._master.run_ended(*why, time.monotonic() - begun, self._stats.reported)
        return done

    def _update(self) -> dict[str, Any]:
        self._stats = TransferStats()
        restarts = GenerationRestarts(random.Random(), now())
        while True:
            news, signed = self._trusted_news()
            self._check_dest()
            self._trying = None
            try:
                return self._get(self._read_manifest(news), signed)
            except NewGeneration:
                LOGGER.info("the master has a new generation; starting again with the pieces that are still valid")
            fetched, lacking = (self._trying.fetched, self._trying.lacking) if self._trying is not None else (0.0, inf)
            pause = restarts.pause(fetched, lacking, now())
            if pause:
                with self._waits.on(self._expect_quiet):
                    gevent.sleep(pause)

    def rebase(self) -> None:
        """Serve a part of the newest generation: the files in place that have not changed. Raises XGetError."""
        self.wait_until_repaired()  # only what is verified is carried over
        in_place = self._in_place
        if in_place is None:
            return
        try:
            manifest = self._read_manifest(self._trusted_news()[0])
        except NewGeneration:
            return  # `newer` is set
        selection = in_thread(_selected, manifest, self._sources, self._exclude)
        store = in_thread(in_place.held.rebased, manifest, selection)
        self._context.serve(store, selection)
        LOGGER.info(
            "serving %d unchanged chunks of %d in the new generation",
            store.held.count,
            store.layout.chunk_count,
        )

    @property
    def failures(self) -> list[XGetError]:
        """What could not be done of the generation that is in place, and what is wrong with it, the worst first."""
        problem = self._freshness.problem
        outdated = Outdated(problem) if problem else None
        return [*self.refused, *(error for error in (self.incomplete, outdated) if error is not None)]

    def fetched(self) -> dict[str, Any]:
        """What has arrived so far: fields of the event `done`."""
        stats = self._stats
        return {"fetched": stats.fetched, "from_master": stats.from_master, "peers": len(stats.peers)}

    @property
    def registration(self) -> Registration:
        """What this node says of itself now."""
        return replace(self._master.registration, **asdict(self._stats.reported))

    @property
    def outdated(self) -> bool:
        """Whether the master names another generation than the one that is in place, or it was signed anew."""
        news, in_place = self._news, self._in_place
        if news is None or in_place is None:
            return news is not None
        signature = in_place.signed.signature if in_place.signed is not None else news.signature
        return (news.generation, news.signature) != (in_place.manifest.generation, signature)

    def _get(self, manifest: Manifest, signed: Signed | None) -> dict[str, Any]:
        selection = in_thread(_selected, manifest, self._sources, self._exclude)
        self.refused = []
        if self._config.dry_run:
            refused: list[XGetError] = []
            done = dry_run(self._context, manifest, selection, refused)
        else:
            self.stop_repairing()
            if self._in_place is not None:
                self._in_place.stop_verifying()
            generation = self._trying = Generation(self._context, manifest, selection, signed)
            done = generation.run(self._in_place, self._stats)
            self._in_place = generation
            assert self.child.manifest is not None
            self._former.save(generation.held.store.root, self.child.manifest, manifest.generation)
            refused = generation.failures
            self._repairing = gevent.spawn(self._repair, generation)
        self.refused = refused
        self.incomplete = incomplete(selection)
        return done | {"age": self._freshness.age}

    def read_credentials(self) -> None:
        """The secret and the certificates may have changed."""
        if read_again(self._config, self.credentials).secret:
            self.child.secret_changed()
            self._master.secret_changed()

    def wait_until_repaired(self) -> None:
        """Return when all that is in place is verified, and what was wrong has been fetched again, or cannot be."""
        if self._repairing is not None:
            self._repairing.join()

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
            generation = Generation(self._context, generation.manifest, generation.selection, generation.signed, wrong)
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

    def _check_dest(self) -> None:
        timeout = self._config.timeout
        with self._waits.on(lambda: self._master.expect("an answer", "", "the download begins then", timeout)):
            marks = self._context.patience.run(lambda: read_marks(self._master, timeout), "an answer")
        check_dest(self._context.dest, marks)

    # The master.

    def _handle_master_events(self) -> None:
        for event in self._master.events():
            if isinstance(event, News):
                self._receive_news(event)
            elif isinstance(event, Scanning):
                self._receive_scanning(event)
            elif event is Change.CONNECTED:
                self._transfer.master_connected()
            else:
                self._transfer.master_lost()

    def _receive_scanning(self, scanning: Scanning) -> None:
        """A large directory takes hours: while the scan gets on it is waited for without a limit. Where it hangs for
        most of the time, that ends as silence does."""
        heard, self._scanning_heard = self._scanning_heard, now()
        self._scanning = scanning
        if scanning.problem:
            return
        if heard is None:
            self._waits.postpone()
        else:
            self._waits.recover(self._scanning_heard - heard)

    def _receive_news(self, news: News) -> None:
        former, self._news = self._news, news
        self._scanning = self._scanning_heard = None
        # A node that reads the news here downloads from here.
        if self._trust is None or self._trust.accepts(news):
            self.child.news = replace(news, master_first=True, freshness=CURRENT)
        if former is None or former.generation != news.generation:
            # The first news of a generation is the one that it was held back for.
            self._freshness, self._freshness_received = news.freshness, now()
            self.newer.set()
        elif self._trust is not None and former.signature != news.signature:
            self.newer.set()
        self._transfer.master_named(news)

    def _wait_for_news(self) -> News:
        with self._waits.on(self._expect_news):
            while self._news is None and not self.newer.wait(CHECK_EVERY):
                problem = self._scanning.problem if self._scanning is not None else ""
                if problem and self._waits.stalled > self._config.timeout:
                    raise self._master.unreachable(self._waits.stalled, f"it has nothing to serve: {problem}")
                self._context.patience.check(lambda: "its first news")
        self.newer.clear()
        assert self._news is not None
        return self._news

    def _trusted_news(self) -> tuple[News, Signed | None]:
        """The last news, and with `--trust` what was signed. Raises NotTrusted if this node may not take it."""
        news = self._wait_for_news()
        if self._trust is None:
            return news, None
        signed = self._trust.signed(news)
        in_thread(check_serial, self._context.dest, signed, allow_rollback=self._config.allow_rollback)
        return news, signed

    def _expect_news(self) -> Wait:
        """What is waited for until the master names a generation."""
        then, timeout = "the download begins as soon as that is done", self._config.timeout
        if self._scanning is None:
            return self._master.expect("its first news", "", then, timeout)
        if self._scanning.problem:
            return self._master.expect("its first news", self._scanning.problem, then, timeout)
        hashed = f"; {self._scanning.hashed} % of new content is hashed" if self._scanning.hashed else ""
        why = f"it has been scanning its directory for {self._scanning.seconds} s{hashed}"
        return self._master.expect("its first news", why, then, timeout)

    def _expect_quiet(self) -> Wait:
        why, then = "its directory keeps changing", "the download goes on then"
        return self._master.expect("a generation that lasts", why, then, self._config.timeout)

    def _wait_until_settled(self, latest: float) -> bool:
        """Wait for files that are left out because they are still changing, if they may be complete soon. `latest`:
        when to stop, by `node.awake`.

        Returns whether there is another generation, which may have them.
        """
        lacking = self.incomplete
        if not isinstance(lacking, Incomplete) or lacking.why != STILL_CHANGING or self._config.dry_run:
            return False
        deadline = self._freshness_received + self._freshness.settling
        what, then = f"{printable(lacking.path)}, which is still changing,", "everything else is in place"
        with self._waits.on(lambda: self._master.expect(what, "", then, self._config.timeout)):
            left = min(deadline, latest) - now()
            return left > 0 and self.newer.wait(left)

    def _read_manifest(self, news: News) -> Manifest:
        """The manifest of the generation that the master names; others can have it from now on. Raises XGetError, and
        NewGeneration where the master has another one by now."""
        timeout, what = self._config.timeout, f"the manifest ({size(news.manifest_size)})"

        known = self._former.parts(news.manifest_size, news.generation, self.child.manifest)

        def fetch() -> bytes | memoryview | None:
            attempts, progress = self._transfer.host_attempts, self._waits.progress
            return fetch_manifest(
                news, self._master.address, timeout, attempts, progress, self.credentials, self._master.limit, known
            )

        with self._waits.on(lambda: self._master.expect(what, "", "the download begins then", timeout)):
            try:
                encoded = self._context.patience.run(fetch, what)
            except NotAdmitted:
                raise
            except LinkLost as error:
                raise self._master.unreachable(self._waits.seconds, error.why) from None
            except NinepError as error:
                raise Failed(f"the manifest from {self._master.name}", str(error)) from None
        if encoded is None:
            if self._news == news and not self.newer.wait(_OVERTAKEN):
                raise MalformedManifest("its digest is not the generation that the master announced")
            raise NewGeneration
        manifest: Manifest = in_thread(decode_verified, encoded)
        self.child.manifest = EncodedManifest.of(encoded)
        return manifest


def _trust(config: Config) -> Trust | None:
    if not config.trust:
        return None
    from xget_lib.node.trust import Trust  # and the keys: few have --trust

    return Trust(config.trust)


def _identity(dest: bytes) -> str:
    """The same for each run of this host for the same destination: then the master knows that a node has come back."""
    return blake3(os.fsencode(os.uname().nodename) + b"\0" + dest).hexdigest(length=8)


def _selected(manifest: Manifest, sources: Sequence[bytes], exclude: Patterns) -> Selection:
    """The selection, with what is computed only once and takes seconds for millions of files."""
    selection = select(manifest, sources)
    if exclude:
        selection = leave_out(selection, exclude)
    _ = selection.size, manifest.layout.size
    return selection
