"""Who may connect (`--allow`), and to whom others can make nodes connect."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from test.support.cluster import Cluster, eventually, unseen_child
from test.support.plain_client import PlainClient
from test.support.relay import MIB, Relay
from test.support.trees import differences, noise, small_tree, write
from xget_lib.ninep.dialect import NINEP2000, encode
from xget_lib.ninep.messages import Tversion
from xget_lib.swarm.host_attempts import TRIES
from xget_lib.swarm.messages import Registration

HERE, ELSEWHERE, VICTIM = "127.0.0.1", "127.0.0.2", "127.0.0.9"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = small_tree(tmp_path / "served")
    write(root / "large", noise(16 * MIB, 5))
    return root


def answered(port: int, source: str) -> bool:
    """Whether a server sends anything to who connects from an address."""
    with socket.create_connection((HERE, port), timeout=60, source_address=(source, 0)) as sock:
        try:
            sock.sendall(encode(0xFFFF, Tversion(8192, "9P2000"), NINEP2000))
            return sock.recv(1) != b""
        except ConnectionError:
            return False


def test_only_addresses_that_are_allowed_get_an_answer_from_a_master_and_a_child(
    cluster: Cluster, source: Path
) -> None:
    allow = ["--allow", f"10.0.0.0/8,::ffff:{HERE}"]
    master = cluster.master(source, *allow)
    client = cluster.client(master, cluster.base / "dest", options=allow)
    assert client.ended().status == 0
    (child,) = eventually(master.children, "the client is registered")
    for port in (master.port, child["port"]):
        assert answered(port, HERE)
        assert not answered(port, ELSEWHERE) and not answered(port, ELSEWHERE)
        with PlainClient(port, "swarm") as plain:
            assert b'"refused": 2' in plain.read_all("status")
    assert master.log.read_text().count(f"{ELSEWHERE}: connection refused: this address is not among those") == 1


class Victim:
    """Ports of a host that has nothing to do with the swarm. Its kernel accepts all connections, and counts them."""

    def __init__(self, stack: ExitStack, ports: int) -> None:
        self._sockets = [stack.enter_context(socket.create_server((VICTIM, 0), backlog=512)) for _ in range(ports)]
        self._stack = stack
        self._count = 0

    @property
    def ports(self) -> list[int]:
        return [each.getsockname()[1] for each in self._sockets]

    @property
    def connections(self) -> int:
        """So far. Each is closed when it is counted."""
        while ready := select.select(self._sockets, [], [], 0)[0]:
            for each in ready:
                each.accept()[0].close()
                self._count += 1
        return self._count


@contextmanager
def victim(ports: int) -> Iterator[Victim]:
    with ExitStack() as stack:
        yield Victim(stack, ports)


def test_who_registers_the_ports_of_another_host_makes_a_node_connect_there_a_few_times(
    cluster: Cluster, source: Path
) -> None:
    """As behind a gateway: the connections come from its address. It has 64 ports, and each registers with the node."""
    master = cluster.master(source)
    _, good = unseen_child(cluster, master, cluster.base / "first")
    generation = bytes.fromhex(master.status()["generation"])
    with victim(64) as third_party, Relay(master.port, hold_after=2 * MIB) as relay, ExitStack() as stack:
        client = cluster.client(relay, cluster.base / "dest", options=["--linger", "0"])
        relay.wait_until_it_holds()
        (child,) = eventually(master.children, "the client is registered")
        for port in third_party.ports:
            hostile = stack.enter_context(PlainClient(child["port"], "swarm", source=VICTIM))
            peers = hostile.open("peers", mode=2)
            for _ in range(3):  # it is there again
                hostile.write(peers, Registration(port, generation, 1).encode())
        with PlainClient(child["port"], "swarm") as peer:
            peer.write(peer.open("peers", mode=2), Registration(good, generation, 1).encode())
        # The peer that is right comes last, and has everything.
        ended = client.ended()
        assert 0 < third_party.connections <= TRIES
    assert ended.status == 0
    assert differences(source, cluster.base / "dest") == []


def test_who_registers_the_ports_of_another_host_with_the_master_makes_nodes_connect_there_a_few_times(
    cluster: Cluster, source: Path
) -> None:
    master = cluster.master(source)
    generation = bytes.fromhex(master.status()["generation"])
    with victim(64) as third_party, ExitStack() as stack:
        for port in third_party.ports:
            hostile = stack.enter_context(PlainClient(master.port, "swarm", source=VICTIM))
            hostile.write(hostile.open("peers", mode=2), Registration(port, generation, 1).encode())
        clients = [cluster.client(master, cluster.base / f"dest{number}") for number in range(3)]
        assert [client.ended().status for client in clients] == [0] * 3
        assert third_party.connections <= len(clients) * TRIES
    assert all(differences(source, cluster.base / f"dest{number}") == [] for number in range(3))


def test_a_node_does_not_register_a_port_of_a_service(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    with PlainClient(master.port, "swarm") as plain:
        peers = plain.open("peers", mode=2)
        with pytest.raises(Exception, match="port is not a number from 1024 to 65535"):
            plain.write(peers, b'{"port": 22, "generation": "", "held": 0}')
    assert master.children() == []
