"""The socket that a service manager has opened. The descriptor is always the first after the standard three, so each
case runs in a program of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from test.support.service_manager import with_socket
from xget_lib.process import activation

ROOT = Path(__file__).parent.parent.parent
_PROGRAM = """
import os, sys
from xget_lib.errors import UsageError
from xget_lib.process.activation import take_socket
try:
    taken = take_socket(int(sys.argv[1]))
except UsageError as error:
    print(error)
else:
    print(taken and (taken.getsockname()[1], taken.getblocking(), os.get_inheritable(taken.fileno())))
print(sorted(name for name in os.environ if name.startswith("LISTEN")))
"""


def taken(given: socket.socket, port: int, *, environment: dict[str, str] | None = None) -> str:
    """What a program says that gets a socket."""
    variables = [f"{name}={value}" for name, value in (environment or {}).items()]
    done = subprocess.run(
        [*with_socket(given), "env", *variables, sys.executable, "-c", _PROGRAM, str(port)],
        cwd=ROOT,
        pass_fds=[given.fileno()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    first, left = done.stdout.splitlines()
    assert left == "[]", "other programs get none of them"
    return first


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_socket_that_listens_on_the_port_is_taken(family: socket.AddressFamily) -> None:
    with socket.create_server(("", 0), family=family) as given:
        port = given.getsockname()[1]
        assert taken(given, port) == f"({port}, False, False)"


def test_a_socket_that_cannot_be_right_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        port = given.getsockname()[1]
        assert taken(given, 1) == (
            f"the socket of the service manager: on port {port}, but the port of this master is 1 (make them the same)"
        )
        assert taken(given, port, environment={"LISTEN_FDS": "2"}) == (
            "2 sockets of the service manager: a master takes one (see ListenStream= of its unit)"
        )
        with socket.create_connection(given.getsockname()) as connected:
            assert taken(connected, port).endswith("does not listen (Accept=no is needed)")
    with socket.socket(socket.AF_UNIX) as given:
        assert taken(given, 1).endswith("no TCP socket")


def test_what_is_for_another_process_is_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        for environment in ({"LISTEN_PID": "1"}, {"LISTEN_FDS": "x"}, {"LISTEN_FDS": "0"}):
            assert taken(given, given.getsockname()[1], environment=environment) == "None"


def test_who_takes_no_socket_leaves_no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_FDNAMES", "a")
    activation.leave_sockets()
    assert not set(activation.VARIABLES) & set(os.environ)
