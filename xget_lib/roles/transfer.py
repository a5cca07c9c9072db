"""Getting the content of one generation: from the master what it offers, from peers what they have.

One loop owns the state; greenlets do one thing each and report back: one reads each peer's `have`, a few hold slots at
the master, one puts whole files in place. Verifying and writing happen in threads. Which chunk is asked of whom is
the picker's decision (`swarm.picker`); what is done about it stands here.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import gevent
from gevent.event import AsyncResult

from xget_lib.content.bitmap import Bitmap
from xget_lib.content.manifest import DIGEST_SIZE, Manifest
from xget_lib.content.partial import Partial
from xget_lib.errors import LinkLost, NinepError, NoGoodSource, PieceMismatch, ProtocolViolation, XGetError
from xget_lib.net.link import Link, Remote
from xget_lib.net.waiting import in_thread
from xget_lib.ninep import messages
from xget_lib.ninep.messages import ORDWR
from xget_lib.report.log import LOGGER
from xget_lib.roles.fetch import Buffers, Fetch, Supplier
from xget_lib.roles.membership import ANSWER, Membership, pauses
from xget_lib.swarm.picker import Picker
from xget_lib.swarm.tuning import TUNING
from xget_lib.tree.swarm import News

_MASTER = "master"
_IN_FLIGHT = 32 * 1024 * 1024
"""Bytes on their way or being written, at most (but always some buffers)."""
_MEET = 10.0
"""Seconds to connect to a peer."""
_SILENT = 30.0
"""Seconds after which a server that was asked and sends nothing is left."""
_TICK = 0.25


@dataclass
class Account:
    """What has come, for the summary. Bytes of content."""

    fetched: int = 0
    from_master: int = 0
    peers: set[Hashable] = field(default_factory=set)

    def count(self, fetch: Fetch) -> None:
        """A fetch has come. Counted at once: what comes last must be in the account when the run ends."""
        self.fetched += fetch.length
        if fetch.supplier.key == _MASTER:
            self.from_master += fetch.length
        else:
            self.peers.add(fetch.supplier.key)

    def take_back(self, fetch: Fetch) -> None:
        """What has come was not content."""
        self.fetched -= fetch.length
        if fetch.supplier.key == _MASTER:
            self.from_master -= fetch.length


class Transfer:
    """One generation on its way into a `Partial`. `run` returns when every chunk that was lacking is written."""

    def __init__(
        self,
        membership: Membership,
        partial: Partial,
        manifest: Manifest,
        lacking: Bitmap,
        *,
        retries: int,
        account: Account,
        on_held: Callable[[int], None],
    ) -> None:
        """`lacking` are the chunks to get; `on_held` is called with each of which all is on disk and verified."""
        self._membership = membership
        self._partial = partial
        self._layout = manifest.layout
        self._generation = manifest.generation
        self._retries = retries
        self._account = account
        self._on_held = on_held
        self._picker = Picker(lacking.as_int(), random.Random())
        count = max(4, min(64, _IN_FLIGHT // self._layout.chunk_size))
        self._buffers = Buffers(count, self._layout.chunk_size)
        self._flights = TUNING.flights_of(self._layout.chunk_size)
        self._suppliers: dict[Hashable, Supplier] = {}
        self._wanted_peers: set[tuple[str, int]] = set()
        self._bad: set[tuple[str, int]] = set()
        self._failures: dict[int, int] = {}
        self._told = -1
        self._outcome: AsyncResult[None] = AsyncResult()
        self._tasks: list[gevent.Greenlet[..., None]] = []

    @property
    def suppliers(self) -> int:
        """Servers that content can be taken from now."""
        return len(self._suppliers)

    def run(self) -> None:
        """Get everything. Raises what made that impossible: XGetError."""
        if not self._picker.lacking:
            return
        try:
            self._spawn(self._tick)
            self._membership.on_link = lambda link: self._spawn(self._attend_master, link)
            if self._membership.link is not None:
                self._spawn(self._attend_master, self._membership.link)
            self._outcome.get()
        finally:
            self._membership.on_link = lambda link: None
            gevent.killall(self._tasks)
            for supplier in list(self._suppliers.values()):
                self._part(supplier)

    def news(self, news: News) -> None:
        """Who else serves this generation: meet those that are new."""
        self._meet_all(set(news.peers))

    def _meet_all(self, peers: set[tuple[str, int]]) -> None:
        new = peers - self._wanted_peers - self._bad
        self._wanted_peers = peers
        for peer in new:
            self._spawn(self._meet, peer)

    def fail(self, error: BaseException) -> None:
        """End the run with an error."""
        if not self._outcome.ready():
            self._outcome.set_exception(error)

    def _spawn(self, task: Callable[..., None], *arguments: object) -> None:
        self._tasks = [other for other in self._tasks if not other.ready()]
        greenlet = gevent.spawn(task, *arguments)
        # What is not expected must end the run, not stop it in silence.
        greenlet.link_exception(lambda failed: self.fail(failed.exception or AssertionError()))
        self._tasks.append(greenlet)

    # Peers.

    def _meet(self, peer: tuple[str, int]) -> None:
        """Know a peer's news for as long as it is one."""
        for pause in pauses(random.Random()):
            if peer not in self._wanted_peers or peer in self._bad or peer in self._suppliers:
                return
            try:
                self._read_have(peer)
            except (LinkLost, NinepError, ProtocolViolation) as error:
                LOGGER.debug("peer %s:%d: %s", *peer, error)
            gevent.sleep(1 + pause)

    def _read_have(self, peer: tuple[str, int]) -> None:
        link = Link.connect(*peer, "swarm", _MEET)
        control = link
        turns: gevent.Greenlet[..., None] | None = None
        try:
            control = Link.connect(*peer, "swarm", _MEET)
            supplier = Supplier(peer, link, link.open("data", ANSWER), control)
            turn = _open_turn(control)
            have = control.open("have", ANSWER)
            self._suppliers[peer] = supplier
            turns = gevent.spawn(self._take_turns, supplier, turn)
            length = DIGEST_SIZE + (self._layout.chunk_count + 7) // 8
            while True:
                news = b""
                while len(news) < length:
                    part = have.read(0, length - len(news), None)
                    if not part:
                        raise ProtocolViolation("a bitmap of another generation")
                    news += part
                if news[:DIGEST_SIZE] != self._generation:
                    raise ProtocolViolation("serves another generation")
                held = Bitmap.from_bytes(news[DIGEST_SIZE:], self._layout.chunk_count)
                self._picker.peer_has(peer, held.as_int())
                self._fill(supplier)
        finally:
            if peer in self._suppliers:
                self._part(self._suppliers[peer])
            if turns is not None:
                turns.kill()
            control.close()
            link.close()

    def _take_turns(self, supplier: Supplier, turn: Remote | None) -> None:
        """Get a chunk of a peer in each turn that it gives; ask for one whenever it has something."""
        try:
            while not supplier.link.lost:
                supplier.wanted.wait()
                if turn is not None:
                    turn.read(0, 32, None)
                supplier.asking = False
                fetch = self._use_turn(supplier)
                if fetch is not None:
                    fetch.ended.wait()
                supplier.wanted.clear()
                self._fill(supplier)
                if turn is not None and not supplier.asking:
                    turn.write(0, b"pass\n", ANSWER)
        except (LinkLost, NinepError) as error:
            LOGGER.debug("turns of %s: %s", supplier.name, error)
        assert supplier.control is not None
        supplier.control.close()

    def _use_turn(self, supplier: Supplier) -> Fetch | None:
        """What is fetched in a turn that has come: chosen now, not when it was asked for."""
        if supplier.link.lost or self._picker.flights >= self._flights:
            return None
        buffer = self._buffers.take(wait=False)
        if buffer is None:
            return None
        chunk = self._picker.pick(supplier.key, time.monotonic())
        if chunk is None:
            self._buffers.give_back(buffer)
            return None
        return self._fetch(supplier, chunk, buffer)

    def _fill(self, supplier: Supplier) -> None:
        """Ask a peer for a turn, if it would be used."""
        if supplier.wanted.is_set() or supplier.link.lost or not self._may_ask():
            return
        if self._picker.wants(supplier.key, time.monotonic()):
            supplier.asking = True
            supplier.wanted.set()

    def _may_ask(self) -> bool:
        asking = sum(supplier.asking for supplier in self._suppliers.values())
        return asking < TUNING.asks * (self._flights - self._picker.flights)

    def _fill_all(self) -> None:
        if self._may_ask():
            suppliers = [supplier for key, supplier in self._suppliers.items() if key != _MASTER]
            random.shuffle(suppliers)
            for supplier in suppliers:
                self._fill(supplier)

    def _part(self, supplier: Supplier) -> None:
        """Take nothing more from a server."""
        if self._suppliers.get(supplier.key) is supplier:
            del self._suppliers[supplier.key]
        for fetch in list(supplier.fetches):
            fetch.cancel()
            self._give_up(fetch)
        if supplier.key != _MASTER:
            self._picker.peer_gone(supplier.key)
        supplier.link.close()
        if supplier.control is not None:
            supplier.control.close()

    # The master.

    def _attend_master(self, control: Link) -> None:
        """Take what the master offers, for as long as its connection for small messages lasts."""
        for pause in pauses(random.Random()):
            if control.lost:
                return
            try:
                self._take_offers(control)
            except (LinkLost, ValueError) as error:
                LOGGER.debug("content from the master: %s", error)
            except NinepError as error:
                # What was given to us as the master offers nothing: it is a child, as good as any peer.
                LOGGER.info("%s: %s", control.name, error)
                self._meet_all(self._wanted_peers | {(self._membership.host, self._membership.port)})
            gevent.sleep(pause)

    def _take_offers(self, control: Link) -> None:
        """Hold slots at the master until either connection ends."""
        membership = self._membership
        link = Link.connect(membership.host, membership.port, "swarm", ANSWER)
        supplier = Supplier(_MASTER, link, link.open("data", ANSWER))
        self._suppliers[_MASTER] = supplier
        offers = [control.open("offer", ANSWER, ORDWR) for _ in range(TUNING.slots)]
        # Of a node that has said nothing yet the master believes that it lacks everything.
        everything = (1 << self._layout.chunk_count) - 1
        self._told = everything if self._picker.lacking == everything else -1
        slots = [gevent.spawn(self._hold_slot, supplier, offer) for offer in offers]
        try:
            while not control.lost and not link.lost:
                self._tell_takes(offers[0])
                gevent.joinall(slots, timeout=TUNING.takes_pause, count=1)
        finally:
            gevent.killall(slots)
            self._part(supplier)
            for offer in offers:
                if not control.lost:
                    offer.close(ANSWER)

    def _hold_slot(self, supplier: Supplier, offer: Remote) -> None:
        """Take the chunks that the master offers to one slot."""
        try:
            while not supplier.link.lost:
                chunk = int(offer.read(0, 32, None))
                if not self._picker.take(chunk, _MASTER, time.monotonic()):
                    continue
                buffer = self._buffers.take(wait=True)
                assert buffer is not None
                fetch = self._fetch(supplier, chunk, buffer)
                fetch.ended.wait()
        except (LinkLost, NinepError, ValueError) as error:
            LOGGER.debug("slot at the master: %s", error)

    def _tell_takes(self, offer: Remote) -> None:
        """Tell the master what is to be had nowhere else, where that has changed."""
        unavailable = self._picker.unavailable
        if unavailable == self._told:
            return
        if self._told < 0 or not self._picker.flights or TUNING.tells(unavailable, self._layout.chunk_count):
            self._told = unavailable
            offer.write(0, unavailable.to_bytes((self._layout.chunk_count + 7) // 8, "little"), ANSWER)

    # Chunks.

    def _fetch(self, supplier: Supplier, chunk: int, buffer: memoryview) -> Fetch:
        """Ask a server for what is lacking of a chunk. The picker counts it as on its way already."""
        fetch = Fetch(supplier, chunk, self._partial.lacking(chunk), buffer, self._ended)
        try:
            fetch.start(self._layout)
        except LinkLost as error:
            fetch.cancel()
            self._ended(fetch, error)
        return fetch

    def _ended(self, fetch: Fetch, why: messages.Rerror | LinkLost | None) -> None:
        """A fetch got all, or did not."""
        if why is None:
            self._account.count(fetch)
            self._spawn(self._keep, fetch)
        else:
            LOGGER.debug("chunk %d from %s: %s", fetch.chunk, fetch.supplier.name, why)
            self._give_up(fetch)
            if isinstance(why, messages.Rerror) and fetch.supplier.key != _MASTER:
                # It does not hold that any more, whatever its last news said.
                self._picker.peer_lost(fetch.supplier.key, fetch.chunk)
        if fetch.supplier.key != _MASTER:
            self._fill(fetch.supplier)

    def _give_up(self, fetch: Fetch) -> None:
        self._picker.failed(fetch.chunk, fetch.supplier.key)
        self._buffers.give_back(fetch.buffer)
        if fetch.supplier.key == _MASTER:
            # The master takes the next question for a sign that it has arrived.
            self._told = -1

    def _keep(self, fetch: Fetch) -> None:
        """Verify and write what has come, then say that it is held."""
        supplier = fetch.supplier
        try:
            in_thread(self._write, fetch)
        except PieceMismatch as error:
            self._account.take_back(fetch)
            self._picker.failed(fetch.chunk, supplier.key)
            self._distrust(supplier, fetch.chunk, error)
            return
        except XGetError as error:
            self.fail(error)
            return
        finally:
            self._buffers.give_back(fetch.buffer)
        if self._partial.lacking(fetch.chunk):
            # Another fetch of the same chunk is just writing a part of it, and will see to the rest.
            self._picker.failed(fetch.chunk, supplier.key)
            return
        if self._partial.chunk_whole(fetch.chunk):
            self._on_held(fetch.chunk)
        self._stop_others(fetch)
        if not self._picker.lacking and not self._outcome.ready():
            self._outcome.set(None)
        self._fill_all()

    def _write(self, fetch: Fetch) -> None:
        """In a thread."""
        position = 0
        for run in fetch.runs:
            first, last = self._layout.piece(run.start), self._layout.piece(run.stop - 1)
            length = last.stream_offset + last.length - first.stream_offset
            self._partial.write_run(run, fetch.buffer[position : position + length], fetch.supplier.name)
            position += length

    def _stop_others(self, kept: Fetch) -> None:
        """A chunk that was asked for twice is here: what else brings it may stop."""
        for key in self._picker.done(kept.chunk, time.monotonic()):
            supplier = self._suppliers.get(key)
            for fetch in list(supplier.fetches) if supplier is not None else ():
                if fetch.chunk == kept.chunk:
                    fetch.cancel()
                    self._buffers.give_back(fetch.buffer)

    def _distrust(self, supplier: Supplier, chunk: int, error: PieceMismatch) -> None:
        """A server sent something wrong: a peer is not asked again in this run, the master so many times."""
        LOGGER.warning("%s", error)
        if supplier.key != _MASTER:
            self._bad.add(supplier.key)  # type: ignore[arg-type]  # a peer's key is its address
            self._membership.remark(f"wrong content: {error}")
            self._part(supplier)
            return
        self._told = -1
        self._failures[chunk] = self._failures.get(chunk, 0) + 1
        if self._failures[chunk] > self._retries:
            self.fail(NoGoodSource(error.path, supplier.name))

    def _tick(self) -> None:
        """What nobody reports: a chunk that takes too long, a server that sends nothing any more."""
        while True:
            gevent.sleep(_TICK)
            now = time.monotonic()
            for supplier in list(self._suppliers.values()):
                asked = min((fetch.begun for fetch in supplier.fetches), default=now)
                if now - max(asked, supplier.link.heard) > _SILENT:
                    LOGGER.warning("%s sends nothing", supplier.name)
                    self._part(supplier)
            self._fill_all()


def _open_turn(control: Link) -> Remote | None:
    """A peer's `turn`; None where it has none and may be read at any time."""
    try:
        return control.open("turn", ANSWER, ORDWR)
    except NinepError:
        return None
