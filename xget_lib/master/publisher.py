"""Keeps what the master serves as new as its directory, and holds clients back as long as it is not.

It scans when the RescanSchedule says so, publishes what it finds, and lets the clients go on that have waited for it.
Where the directory cannot be scanned, or seems to be another one, the former generation stays. Then the reason is in
the log once a minute, in the status, and in what new clients are told.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from typing import Any

import gevent
from gevent.queue import Queue

from xget_lib import ipc
from xget_lib.config import Config
from xget_lib.dataclass import replace
from xget_lib.errors import Exit, Failed, NotTrusted, SourceSuspect, StillChanging, XGetError, printable
from xget_lib.ipc import jobs
from xget_lib.ipc.jobs import ScanTree
from xget_lib.manifest.signature import Signature
from xget_lib.master import events
from xget_lib.master.arrivals import Arrivals
from xget_lib.master.commands import Reload
from xget_lib.master.digest_saver import DigestCacheSaver, cache_path
from xget_lib.master.doubts import Doubts
from xget_lib.master.own_files import own_files
from xget_lib.master.rescan import ChangeMonitor, RescanSchedule, ScanReason
from xget_lib.master.scan_progress import Progress
from xget_lib.master.signatures import Signatures
from xget_lib.master.snapshotter import Snapshot, take_snapshot
from xget_lib.master.tracker_io import TrackerIO
from xget_lib.master.worker_process import WorkerProcess
from xget_lib.master.workers import Vital, WorkerPool
from xget_lib.process.channel import close_all
from xget_lib.report.log import LOGGER
from xget_lib.signing.keys import SigningKey
from xget_lib.swarm.messages import Scanning

_SETTLING = 30.0
"""Seconds after which a file that is still changing is not expected to become complete soon."""
_TELL_EVERY = 2.0
"""Seconds between two lines to a client that waits for a scan."""
_WATCH_WAIT = 1.0
"""Seconds that the first scan waits until the directory is watched."""
_DISTRUSTED_SIZE = 48 * 1024
"""Bytes of the paths of wrong files that one scan hashes again."""
_WRONG_SHOWN = 10
"""Log lines about wrong files of one chunk."""
_LOG_EVERY = 60.0
"""Seconds between two log lines about the same problem."""


class Publisher:
    """Owned by the master, which passes on what happens, and calls `advance` afterwards."""

    def __init__(
        self,
        config: Config,
        root: bytes,
        pool: WorkerPool,
        tracker: TrackerIO,
        queue: Queue[events.Event],
        key: SigningKey | None,
    ) -> None:
        """`key`: signs what is published."""
        names, own = not config.no_owners, own_files(config, root)
        exclude = tuple(map(os.fsencode, config.exclude))
        self._scan = ScanTree(root, config.one_file_system, names, config.public_only, own, exclude)
        self._is_open = not config.auth and not config.tls and not config.public_only
        self._port = config.port
        self._pool = pool
        self._tracker = tracker
        self._events = queue
        self._snapshot: Snapshot | None = None
        """What is published."""
        self._newest: Snapshot | None = None
        """What was scanned last. Not the same while it is not signed, and has to be."""
        self._signature: Signature | None = None
        """Of what is published."""
        signature_file = os.fsencode(config.signature or "")
        self._signatures = Signatures(pool, root, signature_file, key, needed=config.signed_only)
        self._schedule = RescanSchedule()
        self._monitor = ChangeMonitor(pool, self._schedule, root, one_file_system=config.one_file_system)
        self._arrivals: Arrivals[int | Reload] = Arrivals()
        self._admitted: list[int] = []
        """Clients that go on as soon as there is something to serve."""
        self._cache_path = cache_path(config.cache, root)
        self._rehash = config.rehash
        self._digest_saver = DigestCacheSaver(pool, self._cache_path)
        self._progress = Progress()
        self._doubts = Doubts()
        self._distrusted: set[bytes] = set()
        """Files that the next scan hashes whatever their stamps say."""
        self._force = False
        """Whether the next scan is published whatever is there."""
        self._scan_begun = 0.0
        """When the last scan began, in monotonic seconds."""
        self._problem: XGetError | None = None
        """Why the former generation is served, and not what the last scan found."""
        self._problem_logged = 0.0
        self._changing_since: float | None = None
        """Since when some file has been left out because it is still changing."""

    def start(self) -> list[Vital]:
        self._schedule.request(ScanReason.REQUEST)
        return [gevent.spawn(self._scan_when_due), gevent.spawn(self._tell_waiting)]

    # What happens.

    def arrived(self, connection: int) -> None:
        """A client opened `peers` and waits for news."""
        self._arrivals.arrived(connection)

    def left(self, connection: int) -> None:
        """A client is gone."""
        self._arrivals.left(connection)
        if connection in self._admitted:
            self._admitted.remove(connection)

    def worker_started(self) -> None:
        self._monitor.worker_started()

    def reload(self, reload: Reload) -> None:
        """`xget.py reload`."""
        reload.former = self._generation
        self._force = self._force or reload.force
        self._arrivals.arrived_for_scan(reload)
        self._monitor.retry(asked=True)

    def is_stale(self, generation: bytes) -> bool:
        """A file was found changed when it was to be sent. Returns whether this generation is served still."""
        if generation != self._generation:
            return False
        self._arrivals.changed()
        self._schedule.request(ScanReason.FILE_CHANGED)
        return True

    def wrong_reported(self, host: str, generation: bytes, chunk: int) -> None:
        """A node says that the master sent it a chunk that does not match its digests."""
        snapshot = self._snapshot
        if snapshot is None or generation != snapshot.facts.generation or chunk >= snapshot.facts.chunks:
            return
        if self._doubts.accept(host, generation, chunk, time.monotonic()):
            gevent.spawn(self._check, snapshot, chunk)

    def _check(self, snapshot: Snapshot, chunk: int) -> None:
        """Read a chunk. If it is wrong, hash its files in a new scan, whatever their stamps say."""
        wrong: tuple[bytes, ...] = ()
        descriptors: list[int] = []
        try:
            if snapshot is not self._snapshot:
                raise Failed("check", "the generation has been replaced")  # and its descriptors are closed
            descriptors.append(os.dup(snapshot.manifest))
            descriptors.append(os.dup(snapshot.base))
            request = jobs.CheckChunk(chunk, snapshot.facts.location)
            checked, _ = self._pool.work("check", request, jobs.ChunkChecked, descriptors)
            wrong = checked.wrong
            if not wrong:
                LOGGER.info("%s is right on disk, although a node got other content from here", printable(checked.path))
        except (Failed, OSError) as error:
            LOGGER.warning("cannot check what a node reports: %s", error)
        finally:
            close_all(descriptors)
            self._doubts.checked(true=bool(wrong), now=time.monotonic())
        for path in wrong[:_WRONG_SHOWN]:
            LOGGER.warning(
                "%s: content changed without a change of size or time; making a new generation", printable(path)
            )
        if wrong:
            # What does not fit in a message is reported again.
            room = sum(map(len, self._distrusted)) + sum(map(len, wrong)) <= _DISTRUSTED_SIZE
            self._distrusted = self._distrusted.union(wrong) if room else set(wrong)
            self._arrivals.changed()
            self._schedule.request(ScanReason.FILE_CHANGED)

    def watch_reported(self, worker: WorkerProcess, report: ipc.Changed | ipc.Checked | ipc.WatchFailed) -> None:
        """The worker that watches the directory reports."""
        if not self._monitor.is_watcher(worker):
            return
        match report:
            case ipc.Changed():
                self._monitor.changed(worker)
                self._arrivals.changed()
            case ipc.Checked(changed):
                self._arrivals.checked(changed)
                if changed:
                    self._monitor.changed(worker)
            case ipc.WatchFailed(why):
                self._monitor.failed(worker, why)
                self._arrivals.checked(changed=True)

    def advance(self) -> None:
        """Act on what has happened."""
        self._monitor.set_followed(self._tracker.followed)
        if self._monitor.lost():
            self._arrivals.checked(changed=True)
        if self._arrivals.check_wanted:
            if self._schedule.trusts_watch and self._monitor.check():
                self._arrivals.check_begun()
            else:
                self._arrivals.changed()
        if self._arrivals.scan_wanted:
            self._schedule.request(ScanReason.CLIENT_ARRIVED if self._schedule.is_cheap else ScanReason.REQUEST)
        for client in self._arrivals.admit():
            if isinstance(client, Reload):
                client.answer.set(self._reload_answer(client))
            else:
                self._admitted.append(client)
        if self._snapshot is not None:
            admitted, self._admitted = self._admitted, []
            for connection in admitted:
                self._tracker.peers_opened(connection)

    # Scans.

    def _scan_when_due(self) -> None:
        # If the directory is watched before the first scan, no second one is needed for what may have changed in it.
        self._monitor.wait(_WATCH_WAIT)
        while True:
            self._schedule.wait()
            force, self._force = self._force, False
            distrusted = frozenset(self._distrusted)
            begun = self._scan_begun = time.monotonic()
            self._arrivals.scan_begun()
            try:
                taken = take_snapshot(
                    self._pool,
                    self._scan,
                    self._newest,
                    self._cache_path,
                    progress=self._progress,
                    rehash=self._rehash,
                    force=force,
                    distrusted=distrusted,
                )
                self._distrusted -= distrusted
                newest = self._take(taken.snapshot)
                signature = self._signatures.of(newest.facts.generation)
            except XGetError as error:
                if self._snapshot is None and not isinstance(error, StillChanging | SourceSuspect | NotTrusted):
                    self._events.put(events.CannotGoOn(error))
                    return
                self._failed(error)
            else:
                self._succeeded(changing=taken.changing)
                is_signed_anew, self._signature = signature != self._signature, signature
                if newest is not self._snapshot:
                    self._publish(newest, time.monotonic() - begun)
                if is_signed_anew:
                    self._tracker.signed(signature)
            finally:
                self._schedule.done(self._progress.scan_seconds)
            self._scan_again_if_needed()
            self._tell_tracker()
            self._arrivals.scan_ended()
            self.advance()

    def _take(self, snapshot: Snapshot | None) -> Snapshot:
        """Keep what was scanned. None: nothing has changed. Returns what is in the directory now."""
        if snapshot is not None:
            former, self._newest = self._newest, snapshot
            if former is not None and former is not self._snapshot:
                former.close()
        assert self._newest is not None
        return self._newest

    def _scan_again_if_needed(self) -> None:
        since = self._changing_since
        if self._problem is not None or (since is not None and time.monotonic() < since + _SETTLING):
            self._schedule.request(ScanReason.STILL_CHANGING)
        elif since is not None:
            self._schedule.request(ScanReason.ALWAYS_CHANGING)

    def _failed(self, error: XGetError) -> None:
        now = time.monotonic()
        if str(error) != str(self._problem) or now > self._problem_logged + _LOG_EVERY:
            LOGGER.error("cannot publish what is in the directory now: %s", error)
            self._problem_logged = now
        self._problem = error

    def _succeeded(self, *, changing: bool) -> None:
        if self._problem is not None:
            LOGGER.warning("the directory can be scanned again")
        self._problem = None
        if not changing:
            self._changing_since = None
        elif self._changing_since is None:
            self._changing_since = time.monotonic()
        self._monitor.retry(asked=False)

    def _publish(self, snapshot: Snapshot, seconds: float) -> None:
        facts, former, self._snapshot = snapshot.facts, self._snapshot, snapshot
        is_new = former is None or former.facts.generation != facts.generation
        LOGGER.log(
            logging.INFO if is_new else logging.DEBUG,
            "generation %s: %d files, %d bytes, in %.1f s, %d pieces hashed",
            facts.generation.hex()[:16],
            facts.files,
            facts.size,
            seconds,
            snapshot.hashed,
        )
        self._pool.serve(ipc.Serve(facts.base, facts.location), [snapshot.manifest, snapshot.stamps, snapshot.base])
        if former is not None:
            former.close()
        if is_new:
            self._tell_tracker()
            size = os.fstat(snapshot.manifest).st_size
            self._tracker.published(facts.generation, size, facts.chunks, self._signature)
        if former is None:
            self._events.put(events.StateDue())
        if former is None and self._is_open and snapshot.scanned.private:
            LOGGER.warning(
                "%d files that not every user of this machine may read are served to everybody who reaches port %d "
                "(--secret: only to members; --public-only: leave them out)",
                snapshot.scanned.private,
                self._port,
            )
        self._digest_saver.save(snapshot.digest_cache)

    def _tell_tracker(self) -> None:
        settled = self._changing_since + _SETTLING if self._changing_since is not None else 0.0
        problem = str(self._problem) if self._problem is not None else ""
        self._tracker.scanned(self._scan_begun, watched=self._monitor.watching, problem=problem, settled=settled)

    def scan_got_on(self) -> None:
        """A worker reports that it has read something."""
        self._progress.got_on()

    def _tell_waiting(self) -> None:
        """Tell clients that wait for a scan how far it is, and whether it gets on: silence would mean that the master
        hangs."""
        warned = False
        while True:
            gevent.sleep(_TELL_EVERY)
            self.advance()  # the worker that watches may be late
            hangs = self._progress.hangs
            problem = f"nothing was read for {hangs} s (does the disk hang?)" if hangs else ""
            if problem and not warned:
                LOGGER.error("scan: nothing was read for %d s (does the disk hang?)", hangs)
            warned = bool(problem)
            if problem:
                self._refuse_reloads(Failed("scan", problem))
            scanning = Scanning(int(time.monotonic() - self._scan_begun), self._progress.percent, problem)
            self._tell([client for client in self._arrivals.waiting if not isinstance(client, Reload)], scanning)
            self._tell(self._admitted, replace(scanning, problem=str(self._problem or problem)))

    def _tell(self, connections: Iterable[int], scanning: Scanning) -> None:
        for connection in connections:
            self._pool.send_to(connection, ipc.NewsLine(connection, scanning.encode()))

    def _refuse_reloads(self, problem: XGetError) -> None:
        for client in self._arrivals.waiting:
            if isinstance(client, Reload):
                self._arrivals.left(client)
                client.answer.set(self._reload_answer(client, problem))

    # For others to read.

    @property
    def serves(self) -> bool:
        """Whether there is a generation that clients can have."""
        return self._snapshot is not None

    @property
    def scan_gets_on(self) -> bool:
        """Whether no problem is known that keeps the next generation from being published."""
        return self._problem is None and not self._progress.hangs

    @property
    def percent_hashed(self) -> int:
        """Of the content that the present scan must hash."""
        return self._progress.percent

    @property
    def _generation(self) -> bytes:
        return self._snapshot.facts.generation if self._snapshot is not None else b""

    @property
    def _serial(self) -> int | None:
        return self._signature.serial if self._signature is not None else None

    def _reload_answer(self, reload: Reload, problem: XGetError | None = None) -> dict[str, Any]:
        facts, problem = self._snapshot.facts if self._snapshot is not None else None, problem or self._problem
        return {
            "generation": self._generation.hex(),
            "new": self._generation != reload.former,
            "files": facts.files if facts is not None else 0,
            "bytes": facts.size if facts is not None else 0,
            "omitted": list(facts.omitted) if facts is not None else [],
            "serial": self._serial,
            "credentials_problem": reload.credentials_problem,
            "problem": str(problem) if problem is not None else None,
            "exit": int(problem.exit_status) if problem is not None else int(Exit.OK),
        }

    @property
    def size(self) -> int:
        """Bytes of what is served."""
        return self._snapshot.facts.size if self._snapshot else 0

    def status(self) -> dict[str, Any]:
        """The part of the master's status about what it serves."""
        snapshot = self._snapshot
        return {
            "generation": snapshot.facts.generation.hex() if snapshot else None,
            "files": snapshot.facts.files if snapshot else None,
            "bytes": snapshot.facts.size if snapshot else None,
            "chunks": snapshot.facts.chunks if snapshot else None,
            "scanned": round(time.monotonic() - self._scan_begun, 1) if snapshot else None,
            "problem": str(self._problem) if self._problem is not None else None,
            "serial": self._serial,
            "omitted": list(snapshot.facts.omitted) if snapshot else [],
            "notices": self._monitor.watching,
        }
