"""Names, routes and ports. What firewalls do is in test/end_to_end/test_doctor_network.py."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import gevent
import pytest

from test.support.network import quiet_hub
from test.support.swarm_server import unused_address
from xget_lib.doctor import reach
from xget_lib.doctor.findings import Finding
from xget_lib.doctor.reach import examine, examine_port, examine_routes, look_up
from xget_lib.errors import Exit
from xget_lib.net.connect import Endpoint, resolve
from xget_lib.net.listen import listen
from xget_lib.net.route import Route

HERE = Endpoint(socket.AF_INET, ("127.0.0.1", 9))
ELSEWHERE = Endpoint(socket.AF_INET, ("192.0.2.1", 9))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with quiet_hub():
        yield


def test_names_and_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints, found = look_up("127.0.0.1", 7, 20)
    assert (list(endpoints), found.what) == ([Endpoint(socket.AF_INET, ("127.0.0.1", 7))], "127.0.0.1 is an address")
    monkeypatch.setattr(reach, "resolve", lambda host, port: [HERE, ELSEWHERE])
    assert look_up("head", 9, 20)[1].what == "head is 127.0.0.1, 192.0.2.1"


def test_a_name_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(host: str, port: int) -> None:
        raise OSError("host name head is not known")

    monkeypatch.setattr(reach, "resolve", unknown)
    endpoints, found = look_up("head", 7, 20)
    assert (list(endpoints), found.what, found.exit) == ([], "host name head is not known", Exit.UNREACHABLE)
    assert [each.check for each in examine("head", 7, 20) if isinstance(each, Finding)] == ["name"]


def test_a_name_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "resolve", lambda host, port: gevent.sleep(3600))
    assert look_up("head", 7, 0.01)[1].what == "head is not known: no name server answers in 0.01 s"


def routes(monkeypatch: pytest.MonkeyPatch, *answers: Route | int) -> list[Finding | Route]:
    """What is found where the kernel answers so."""
    left = list(answers)

    def ask(endpoint: Endpoint) -> Route:
        answer = left.pop(0)
        if isinstance(answer, int):
            raise OSError(answer, "why")
        return answer

    monkeypatch.setattr(reach, "route_to", ask)
    return list(examine_routes([HERE, ELSEWHERE][: len(answers)]))


def test_one_route_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    route = Route("eth0", "10.0.0.1", "10.0.0.2", 1500, 25_000_000_000)
    found = routes(monkeypatch, errno.ENETUNREACH, route)
    assert isinstance(found[0], Finding) and found[0].result == "note"
    assert isinstance(found[1], Finding)
    assert found[1].what == "to 192.0.2.1 by 10.0.0.1, eth0 (MTU 1500, 25 Gbit/s), from 10.0.0.2"
    assert found[2] is route


def test_no_route_is_a_problem_and_a_kernel_that_cannot_be_asked_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    found = routes(monkeypatch, errno.ENETUNREACH, errno.EHOSTUNREACH)
    assert [each.result for each in found if isinstance(each, Finding)] == ["note", "problem"]
    found = routes(monkeypatch, errno.EAFNOSUPPORT)
    assert [each.result for each in found if isinstance(each, Finding)] == ["note"]


def test_a_port_that_accepts_and_one_that_refuses() -> None:
    with listen("127.0.0.1", 0) as listening:
        found = examine_port(resolve(*listening.getsockname()), "the master", "start it")
        assert found.result == "ok"
        assert found.what.startswith(f"the master: 127.0.0.1 port {listening.getsockname()[1]} accepts connections")
        both = [*resolve(*unused_address()), *resolve(*listening.getsockname())]
        found = examine_port(both, "the master", "start it")
        assert (found.result, "refuses" in found.what) == ("note", True)
    found = examine_port(resolve(*unused_address()), "the master", "start it")
    assert (found.result, found.advice, found.exit) == ("problem", "start it", Exit.UNREACHABLE)


@pytest.mark.parametrize(("answers", "words"), [(True, "a firewall drops those to this port"), (False, "is down")])
def test_silence_is_told_from_a_firewall(monkeypatch: pytest.MonkeyPatch, answers: bool, words: str) -> None:
    monkeypatch.setattr(reach, "connect", lambda endpoints: gevent.sleep(3600))
    monkeypatch.setattr(reach, "_CONNECT_WITHIN", 0.01)
    monkeypatch.setattr(reach, "_refuses", lambda endpoint, kind: answers)
    found = examine_port([HERE], "the master", "start it")
    assert (found.result, found.exit) == ("problem", Exit.UNREACHABLE)
    assert words in found.what


def test_this_machine_refuses_packets_to_unused_ports() -> None:
    assert any(reach._refuses(HERE, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM))
