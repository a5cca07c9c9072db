"""Listening on all kinds of addresses, the errors, and the options of a connection."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from test.support.descriptors import open_descriptors
from xget_lib.errors import AddressRefused, NoFreePort
from xget_lib.net.listen import LocalSocket, listen, listen_in, plain_address, prepare

ROOT = Path(__file__).parent.parent.parent


def has_ipv6() -> bool:
    """Whether this machine's loopback has it; a container's often has not."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


IPV6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")


@pytest.mark.parametrize(
    ("bind", "reached_at"),
    [
        (None, ["127.0.0.1"]),
        pytest.param(None, ["127.0.0.1", "::1"], marks=IPV6),
        ("127.0.0.1", ["127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1"]),
        pytest.param("::1", ["::1"], marks=IPV6),
        ("localhost", ["localhost"]),
    ],
)
def test_a_server_is_reached_where_it_listens(bind: str | None, reached_at: list[str]) -> None:
    with listen(bind, 0) as listening:
        assert not listening.getblocking()
        assert not os.get_inheritable(listening.fileno())
        for address in reached_at:
            socket.create_connection((address, listening.getsockname()[1]), timeout=10).close()


def test_the_first_free_port_of_some_is_taken() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(NoFreePort, match=f"cannot listen on 127.0.0.1: no port from {port} to {port} is free"):
            listen_in("127.0.0.1", (port, port))
        with listen_in("127.0.0.1", (port, min(65535, port + 50))) as listening:
            assert port < listening.getsockname()[1] <= port + 50
        with pytest.raises(AddressRefused, match="192"):
            listen_in("192.0.2.1", (port, port))
    with listen_in("127.0.0.1", None) as listening:
        assert listening.getsockname()[1]


def test_an_ipv4_address_listens_on_no_other() -> None:
    with listen("127.0.0.1", 0) as listening, pytest.raises(OSError):
        socket.create_connection(("::1", listening.getsockname()[1]), timeout=10)


def test_without_ipv6_there_is_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listen(None, 0) as listening:
        assert listening.family == socket.AF_INET


def test_a_port_in_use_is_an_error_with_a_remedy() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(AddressRefused) as caught:
            listen("127.0.0.1", port)
    text = str(caught.value)
    assert text.startswith(f"cannot listen on 127.0.0.1 port {port}: Address already in use (")
    assert "-p" in text


def test_a_port_is_free_again_at_once() -> None:
    """Although a connection of the server before is still in TIME_WAIT."""
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port), timeout=10)
        first.setblocking(True)
        first.accept()[0].close()
        client.close()
    listen("127.0.0.1", port).close()


@pytest.mark.parametrize(
    ("bind", "why"),
    [("192.0.2.1", "Cannot assign requested address"), ("a..b", "not an IP address"), ("x" * 64, "not an IP address")],
)
def test_an_address_that_this_machine_does_not_have_is_an_error(bind: str, why: str) -> None:
    before = open_descriptors()
    with pytest.raises(AddressRefused) as caught:
        listen(bind, 0)
    assert str(caught.value) == f"cannot listen on {bind} port 0: {why}"
    assert open_descriptors() == before


def test_a_name_that_is_not_known_is_said_without_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(AddressRefused) as caught:
        listen("nowhere.example", 0)
    assert str(caught.value) == "cannot listen on nowhere.example port 0: Name or service not known"


def test_a_dead_peer_is_noticed_and_a_small_message_not_held_back() -> None:
    tcp = socket.IPPROTO_TCP
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname(), timeout=10) as ours:
        prepare(ours)
        assert not ours.getblocking()
        assert ours.getsockopt(tcp, socket.TCP_NODELAY)
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert ours.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 60_000
        probes = ours.getsockopt(tcp, socket.TCP_KEEPCNT) * ours.getsockopt(tcp, socket.TCP_KEEPINTVL)
        assert ours.getsockopt(tcp, socket.TCP_KEEPIDLE) + probes == 60


def test_a_peer_that_is_gone_already_can_be_prepared() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    prepare(ours)
    ours.close()


@pytest.mark.parametrize(
    ("address", "plain"),
    [("::ffff:10.0.0.1", "10.0.0.1"), ("10.0.0.1", "10.0.0.1"), ("::1", "::1"), ("::ffff:a00:1", "::ffff:a00:1")],
)
def test_an_address_is_written_as_people_do(address: str, plain: str) -> None:
    assert plain_address(address) == plain


def test_listening_comes_without_gevent() -> None:
    """A master listens before it forks its nursery."""
    code = "import sys, xget_lib.net.listen; sys.exit('gevent' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=True)


# A Unix socket.


def test_a_local_socket_is_for_its_user_and_takes_the_place_of_a_former_one(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    former = LocalSocket(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    newer = LocalSocket(path)
    former.close()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        newer.sock.accept()[0].close()
    newer.close()
    assert os.listdir(tmp_path) == []


def test_a_local_socket_replaces_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(AddressRefused, match="file: there is something that is no socket"):
        LocalSocket(str(tmp_path / "file"))
    with pytest.raises(AddressRefused, match=r"cannot listen on .*/none/socket: No such file or directory"):
        LocalSocket(str(tmp_path / "none" / "socket"))
    with pytest.raises(AddressRefused):
        LocalSocket(str(tmp_path / ("x" * 200)))
    assert (tmp_path / "file").read_text() == "mine" and os.listdir(tmp_path) == ["file"]
