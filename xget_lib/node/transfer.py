"""Getting the content of one generation: from the master what it offers, from peers what they have.

One greenlet reads each peer's `have`, one takes the turns that it gives; the slots at the master are in `slots`. Which
chunk is asked of whom is the picker's decision (`swarm.picker`); what becomes of it is the `intake`'s.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable

import gevent
from gevent.event import Event

from xget_lib.download.download import Download
from xget_lib.errors import LinkLost, NinepError, ProtocolViolation
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.manifest import DIGEST_SIZE, Manifest
from xget_lib.net.link import Link, Remote
from xget_lib.ninep.messages import ORDWR
from xget_lib.node.chunk_receiver import MASTER, ChunkReceiver, TransferStats
from xget_lib.node.fetch import Fetch, Supplier
from xget_lib.node.master_link import ANSWER, MasterLink, pauses
from xget_lib.node.master_slots import MasterSlots
from xget_lib.report.log import LOGGER
from xget_lib.swarm import first_tier
from xget_lib.swarm.messages import News
from xget_lib.swarm.tuning import TUNING

_MEET = 10.0
"""Seconds to connect to a peer."""
INTRODUCED = 64
"""Peers that are met because they introduced themselves, at most: those that the master names are always met."""
_TRIES = 5
"""After which such a peer is forgotten that is not reached any more."""


class Transfer:
    """One generation on its way into a `Download`. `run` returns when every chunk that was lacking is written."""

    def __init__(
        self,
        membership: MasterLink,
        partial: Download,
        manifest: Manifest,
        lacking: Bitmap,
        *,
        retries: int,
        account: TransferStats,
        on_held: Callable[[int], None],
    ) -> None:
        """`lacking` are the chunks to get; `on_held` is called with each of which all is on disk and verified."""
        self._membership = membership
        self._layout = manifest.layout
        self._generation = manifest.generation
        self._intake = ChunkReceiver(
            partial,
            manifest,
            lacking,
            retries=retries,
            account=account,
            on_held=on_held,
            on_wrong=self._distrust,
            on_room=self._fill,
        )
        self._wanted_peers: set[tuple[str, int]] = set()
        """Those that the master names."""
        self._introduced: set[tuple[str, int]] = set()
        """Those that introduced themselves, as long as they are reached."""
        self._bad: set[Hashable] = set()
        self._direct = Event()
        """Set when the master says that this node is to take from it at once."""

    @property
    def suppliers(self) -> int:
        """Servers that content can be taken from now."""
        return len(self._intake.suppliers)

    def run(self) -> None:
        """Get everything. Raises what made that impossible: XGetError."""
        if not self._intake.picker.lacking:
            return
        try:
            self._membership.on_link = lambda link: self._intake.spawn(self._attend_master, link)
            if self._membership.link is not None:
                self._intake.spawn(self._attend_master, self._membership.link)
            self._intake.wait()
        finally:
            self._membership.on_link = lambda link: None

    def fail(self, error: BaseException) -> None:
        """End the run with an error."""
        self._intake.fail(error)

    def news(self, news: News) -> None:
        """Who else serves this generation: meet those that are new, as long as there is something to get."""
        if news.direct:
            self._direct.set()
        if self._intake.picker.lacking:
            self._meet_all(set(news.peers))

    def introduced(self, peer: tuple[str, int], generation: bytes) -> None:
        """This peer takes content of this node, and will have some of the generation itself."""
        if generation != self._generation or not self._intake.picker.lacking:
            return
        if not self._is_known(peer) and len(self._introduced) < INTRODUCED:
            self._introduced.add(peer)
            self._intake.spawn(self._meet, peer)

    def _meet_all(self, peers: set[tuple[str, int]]) -> None:
        new = {peer for peer in peers if not self._is_known(peer)}
        self._wanted_peers = peers
        for peer in new:
            self._intake.spawn(self._meet, peer)

    def _is_known(self, peer: tuple[str, int]) -> bool:
        return peer in self._wanted_peers or peer in self._introduced or peer in self._bad

    def _distrust(self, peer: Hashable, what: str) -> None:
        """A peer sent something wrong: it is not asked again in this run, and the master hears of it."""
        self._bad.add(peer)
        self._membership.remark(f"wrong content: {what}")

    # Peers.

    def _meet(self, peer: tuple[str, int]) -> None:
        """Know a peer's news for as long as it is one."""
        for tries, pause in enumerate(pauses(random.Random()), 1):
            if peer in self._bad or peer in self._intake.suppliers:
                return
            try:
                self._read_have(peer)
            except (LinkLost, NinepError, ProtocolViolation) as error:
                LOGGER.debug("peer %s:%d: %s", *peer, error)
            if tries == _TRIES:
                self._introduced.discard(peer)
            if peer not in self._wanted_peers and peer not in self._introduced:
                return
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
            self._intake.suppliers[peer] = supplier
            turns = gevent.spawn(self._take_turns, supplier, turn)
            gevent.spawn(self._introduce, control)
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
                self._intake.picker.peer_has(peer, held.as_int())
                self._fill(supplier)
        finally:
            if peer in self._intake.suppliers:
                self._intake.part(self._intake.suppliers[peer])
            if turns is not None:
                turns.kill()
            control.close()
            link.close()

    def _introduce(self, control: Link) -> None:
        """Say to a peer where this node serves: the master tells it much later."""
        said = self._membership.introduction(self._generation)
        try:
            if said is not None:
                control.open("peers", ANSWER, ORDWR).write(0, said, ANSWER)
        except (LinkLost, NinepError) as error:
            LOGGER.debug("not introduced to %s: %s", control.name, error)

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
        if supplier.link.lost or self._intake.picker.flights >= TUNING.flights:
            return None
        buffer = self._intake.buffers.take(wait=False)
        if buffer is None:
            return None
        chunk = self._intake.picker.pick(supplier.key, time.monotonic())
        if chunk is None:
            self._intake.buffers.give_back(buffer)
            return None
        return self._intake.fetch(supplier, chunk, buffer)

    def _fill(self, supplier: Supplier | None) -> None:
        """Ask a peer (or all) for a turn, if it would be used."""
        if not self._may_ask():
            return
        peers = [supplier] if supplier else random.sample(list(self._intake.suppliers.values()), self.suppliers)
        for peer in peers:
            if peer.key == MASTER or peer.wanted.is_set() or peer.link.lost or not self._may_ask():
                continue
            if self._intake.picker.wants(peer.key, time.monotonic()):
                peer.asking = True
                peer.wanted.set()

    def _may_ask(self) -> bool:
        asking = sum(supplier.asking for supplier in self._intake.suppliers.values())
        return asking < TUNING.asks * (TUNING.flights - self._intake.picker.flights)

    # The master.

    def _attend_master(self, control: Link) -> None:
        """Take what the master offers, for as long as its connection for small messages lasts. Where it says so, not
        before nothing has come from peers for a while."""
        patience = first_tier.patience(random.Random())
        while not self._direct.is_set() and (left := self._intake.came + patience - time.monotonic()) > 0:
            self._direct.wait(left)
        for pause in pauses(random.Random()):
            if control.lost:
                return
            try:
                master = self._membership.host, self._membership.port
                MasterSlots(control, master, self._intake).run()
            except LinkLost as error:
                LOGGER.debug("content from the master: %s", error)
            except NinepError as error:
                # What was given to us as the master offers nothing: it is a child, as good as any peer.
                LOGGER.info("%s: %s", control.name, error)
                self._meet_all(self._wanted_peers | {(self._membership.host, self._membership.port)})
            gevent.sleep(pause)


def _open_turn(control: Link) -> Remote | None:
    """A peer's `turn`; None where it has none and may be read at any time."""
    try:
        return control.open("turn", ANSWER, ORDWR)
    except NinepError:
        return None
