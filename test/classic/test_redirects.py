"""Where C clients are sent: few readers for each server, no circles, and few clients of the master."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from xget_lib.classic import redirects
from xget_lib.classic.redirects import READERS, Address, Redirects

FILE, OTHER = b"file", b"other"


def address(client: int) -> Address:
    return f"10.0.{client // 250}.{client % 250}", 20004


def anybody(asker: int, server: int) -> bool:
    return True


def redirects_of(max_direct: int = 10) -> Redirects:
    """Redirects in which all clients can reach each other."""
    return Redirects(max_direct, Random(1), anybody, anybody)


def readers_of(redirects: Redirects, file: bytes | None, address: Address) -> int:
    server = redirects._server(file, address)
    return server.readers if server else 0


def ask_and_serve(redirects: Redirects, client: int, file: bytes = FILE) -> Address | None:
    """A C client asks for a file, and serves it while it arrives. Returns its source."""
    source = redirects.ask(client, file)
    redirects.serve(client, 1, file, address(client), source)
    return source


def test_the_first_client_is_served_by_the_master() -> None:
    assert ask_and_serve(redirects_of(), 1) is None


def test_a_client_is_sent_to_one_that_is_still_downloading() -> None:
    redirects = redirects_of(max_direct=1)
    ask_and_serve(redirects, 1)
    assert ask_and_serve(redirects, 2) == address(1)
    assert readers_of(redirects, FILE, address(1)) == 1


def test_a_node_that_holds_everything_comes_before_the_master_and_before_relays() -> None:
    redirects = redirects_of()
    ask_and_serve(redirects, 1)
    redirects.add_node(7, address(7))
    redirects.add_node(7, address(7))
    assert [ask_and_serve(redirects, 2), ask_and_serve(redirects, 3, OTHER)] == [address(7), address(7)]
    redirects.remove_node(7)
    redirects.remove_node(7)
    assert ask_and_serve(redirects, 4) != address(7)


def test_nodes_are_given_their_readers_in_turn() -> None:
    redirects = redirects_of(max_direct=0)
    for node in range(100, 105):
        redirects.add_node(node, address(node))
    sent = Counter(redirects.ask(client, FILE) for client in range(20))
    assert sent == {address(node): 4 for node in range(100, 105)}


@pytest.mark.parametrize("count", [50, 2000])
def test_many_clients_form_a_flat_tree_with_few_readers_each(count: int) -> None:
    redirects = redirects_of()
    depths: dict[Address | None, int] = {None: 0}
    readers: Counter[Address | None] = Counter()
    for client in range(count):
        source = ask_and_serve(redirects, client)
        readers[source] += 1
        depths[address(client)] = depths[source] + 1
    # Of 2,000 only a sample is looked at for each; so some are one step further away than they could be.
    assert max(depths.values()) <= count.bit_length() + 2
    assert max(readers.values()) <= READERS + 1
    assert len(redirects._from_master) == readers[None] <= READERS


def test_the_master_is_never_sent_more_than_it_may_while_there_is_another_server() -> None:
    redirects = redirects_of(max_direct=1)
    for client in range(200):
        assert (ask_and_serve(redirects, client) is None) == (client == 0)


def test_the_master_serves_everybody_a_file_that_no_other_server_has() -> None:
    redirects = redirects_of(max_direct=1)
    assert [redirects.ask(client, FILE) for client in range(5)] == [None] * 5
    assert len(redirects._from_master) == 5


def test_a_client_that_takes_many_files_from_the_master_counts_once() -> None:
    redirects = redirects_of(max_direct=2)
    for number in range(100):
        redirects.ask(1, b"%d" % number)
    assert len(redirects._from_master) == 1
    for number in range(100):
        redirects.end(1, b"%d" % number)
    assert len(redirects._from_master) == 0


def test_a_server_that_the_client_cannot_reach_is_not_named() -> None:
    redirects = Redirects(1, Random(1), lambda asker, server: (asker, server) != (2, 1), anybody)
    ask_and_serve(redirects, 1)
    assert ask_and_serve(redirects, 2) is None
    assert ask_and_serve(redirects, 3) == address(1)


def test_a_client_that_asks_again_is_sent_elsewhere() -> None:
    redirects = redirects_of(max_direct=1)
    ask_and_serve(redirects, 1)
    ask_and_serve(redirects, 2)
    answers = [redirects.ask(3, FILE) for _ in range(3)]
    assert sorted(answers[:2], key=str) == [address(1), address(2)]
    assert answers[2] is None, "nobody is left"
    assert readers_of(redirects, FILE, address(1)) == 1 and readers_of(redirects, FILE, address(2)) == 0


def test_a_client_is_not_sent_to_itself_or_to_its_own_readers() -> None:
    """A relay that lost its source asks again: what its own readers have they have from it."""
    redirects = redirects_of(max_direct=1)
    for client in (1, 2, 3, 4):
        ask_and_serve(redirects, client)
    redirects.end(1, FILE)
    assert redirects.ask(1, FILE) is None
    redirects.whole(4, FILE)
    assert redirects.ask(1, FILE) == address(4), "a client with the whole file waits for no other"


def test_clients_that_lie_in_a_circle_wait_for_themselves() -> None:
    redirects = redirects_of(max_direct=1)
    redirects.serve(1, 1, FILE, address(1), None)
    redirects.serve(2, 1, FILE, address(2), address(1))
    redirects.serve(1, 1, FILE, address(1), address(2))
    redirects.ask(9, OTHER)
    assert redirects.ask(3, FILE) is None


@pytest.mark.parametrize("how", ["withdraw", "leave"])
def test_a_server_that_has_left_is_not_named_any_more(how: str) -> None:
    redirects = redirects_of(max_direct=1)
    ask_and_serve(redirects, 1)
    ask_and_serve(redirects, 2)
    if how == "leave":
        redirects.leave(1)
        redirects.leave(1)
    else:
        redirects.withdraw((1, 1))
        redirects.withdraw((1, 1))
    assert ask_and_serve(redirects, 3) in (None, address(2))
    assert readers_of(redirects, FILE, address(1)) == 0


def test_a_node_that_is_gone_is_not_named_any_more() -> None:
    redirects = redirects_of()
    redirects.add_node(7, address(7))
    assert redirects.ask(1, FILE) == address(7)
    redirects.leave(7)
    assert redirects.ask(2, FILE) is None


def test_a_client_that_has_the_file_is_as_good_as_a_node() -> None:
    redirects = redirects_of(max_direct=1)
    for client in (1, 2, 3):
        ask_and_serve(redirects, client)
    redirects.whole(2, FILE)
    assert readers_of(redirects, FILE, address(1)) == 1, "it reads no more"
    assert redirects.ask(4, FILE) == address(2)


def test_the_source_that_a_client_names_counts() -> None:
    """It was sent to a relay, did not reach it, and takes the file from the master."""
    redirects = redirects_of(max_direct=1)
    ask_and_serve(redirects, 1)
    assert redirects.ask(2, FILE) == address(1)
    redirects.serve(2, 1, FILE, address(2), None)
    assert readers_of(redirects, FILE, address(1)) == 0
    assert len(redirects._from_master) == 2
    redirects.ask(3, FILE)
    redirects.serve(3, 1, FILE, address(3), ("192.0.2.1", 9))  # which nobody knows: what it was told holds
    assert len(redirects._from_master) == 2


def test_a_file_is_served_once_by_each_client() -> None:
    redirects = redirects_of()
    for avail in range(1, 10):
        redirects.serve(1, avail, FILE, address(1), None)
    redirects.serve(1, 10, OTHER, address(1), None)
    assert list(redirects.relays()) == [(1, address(1), 2)]
    redirects.withdraw((1, 3))
    assert list(redirects.relays()) == [(1, address(1), 2)]
    redirects.withdraw((1, 9))
    redirects.withdraw((1, 10))
    assert list(redirects.relays()) == []


def test_the_memory_for_one_client_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redirects, "DOWNLOADS", 5)
    asked = redirects_of(max_direct=0)
    asked.add_node(7, address(7))
    for number in range(20):
        asked.ask(1, b"%d" % number)
    assert readers_of(asked, None, address(7)) == 5


class AnyEvents(RuleBasedStateMachine):
    """Anything in any order: what is counted is what there is, and when all are gone nothing is left."""

    clients = st.integers(1, 12)
    files = st.sampled_from([FILE, OTHER])

    def __init__(self) -> None:
        super().__init__()
        self.redirects = redirects_of(max_direct=2)

    @rule(client=clients, file=files)
    def ask(self, client: int, file: bytes) -> None:
        assert self.redirects.ask(client, file) != address(client)

    @rule(client=clients, avail=st.integers(1, 3), file=files, source=st.none() | st.integers(1, 14))
    def serve(self, client: int, avail: int, file: bytes, source: int | None) -> None:
        number = 10 * avail + (file == OTHER)  # an `avail` is that of one file
        self.redirects.serve(client, number, file, address(client), address(source) if source else None)

    @rule(client=clients, avail=st.integers(1, 3), other=st.booleans())
    def withdraw(self, client: int, avail: int, other: bool) -> None:
        self.redirects.withdraw((client, 10 * avail + other))

    @rule(client=clients, file=files, whole=st.booleans())
    def end(self, client: int, file: bytes, whole: bool) -> None:
        (self.redirects.whole if whole else self.redirects.end)(client, file)

    @rule(node=st.integers(13, 15), come=st.booleans())
    def node(self, node: int, come: bool) -> None:
        if come:
            self.redirects.add_node(node, address(node))
        else:
            self.redirects.remove_node(node)

    @rule(client=st.integers(1, 15))
    def leave(self, client: int) -> None:
        self.redirects.leave(client)

    @invariant()
    def counts_are_right(self) -> None:
        redirects = self.redirects
        taking = Counter(
            download.server and id(download.server)
            for downloads in redirects._downloads.values()
            for download in downloads.values()
        )
        for server in redirects._servers.values():
            assert server.readers == taking[id(server)]
        assert sum(redirects._from_master.values()) == taking[None]

    def teardown(self) -> None:
        for client in range(1, 16):
            self.redirects.leave(client)
        redirects = self.redirects
        left = [redirects._servers, redirects._by_address, redirects._by_file, redirects._serving]
        assert not any([*left, redirects._downloads, redirects._from_master, len(redirects._nodes)])


TestAnyEvents = AnyEvents.TestCase
