"""`xget doctor -n` in networks that have something wrong."""

from __future__ import annotations

import pytest

from test.support.doctor_hosts import PROGRAMS, Situation, examined
from test.support.mounted import needs

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def situations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Situation]:
    for program in PROGRAMS:
        needs(program)
    return examined(tmp_path_factory.mktemp("hosts"))


def problems(situation: Situation) -> list[str]:
    return [f"{each['check']}: {each['what']} ({each['do']})" for each in situation["found"] if "exit" in each]


def what(situation: Situation, check: str) -> str:
    return " ".join(each["what"] for each in situation["found"] if each["check"] == check)


def test_where_all_is_well_there_is_no_problem(situations: dict[str, Situation]) -> None:
    well = situations["well"]
    assert (well["status"], problems(well)) == (0, [])
    assert "10.77.0.2, eth0 (MTU 1500" in what(well, "route")
    assert "10.77.0.2 port 20004 accepts connections" in what(well, "port")
    assert "1448 bytes of content there, 1448 here" in what(well, "packets")
    assert "agrees with that of the master" in what(well, "clock")


def test_a_port_where_nothing_listens_refuses(situations: dict[str, Situation]) -> None:
    wrong = situations["wrong port"]
    (line,) = problems(wrong)
    assert wrong["status"] == 3
    assert "port 9 refuses connections: nothing listens there" in line
    assert "name its port with -p" in line


def test_without_a_route_nothing_else_is_tried(situations: dict[str, Situation]) -> None:
    (line,) = problems(situations["no route"])
    assert line.startswith("route: none to 10.77.0.2: ")
    assert situations["no route"]["status"] == 3


def test_a_machine_that_is_not_there_is_told_from_a_firewall(situations: dict[str, Situation]) -> None:
    (line,) = problems(situations["no such machine"])
    assert "10.77.0.99 port 20004: No route to host" in line
    (line,) = problems(situations["all is dropped"])
    assert "the machine is down, or a firewall drops all packets" in line
    assert situations["all is dropped"]["status"] == 3


def test_a_port_that_is_dropped_is_told_from_a_machine_that_is_down(situations: dict[str, Situation]) -> None:
    (line,) = problems(situations["the port is dropped"])
    assert "but the machine answers other packets: a firewall drops those to this port" in line
    assert situations["the port is dropped"]["status"] == 3


def test_a_small_mtu_that_both_sides_know_is_no_problem(situations: dict[str, Situation]) -> None:
    small = situations["a small MTU here"]
    assert (small["status"], problems(small)) == (0, [])
    assert "1248 bytes of content there, 1248 here" in what(small, "packets")


def test_large_packets_that_are_lost_are_found(situations: dict[str, Situation]) -> None:
    lost = situations["large packets are lost"]
    (line,) = problems(lost)
    assert line.startswith("packets: small requests are answered, one of 32 KiB is not")
    assert "MTU" in line
    assert lost["status"] == 3
    assert "accepts connections" in what(lost, "port")
