"""What masters, clients and followers tell a service manager, and in which order; and its sockets."""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from test.support.cluster import Cluster, ended_by_itself, eventually, free_port, status_of
from test.support.keys import KeyFiles
from test.support.processes import PATIENCE, Watched, open_files
from test.support.service_manager import ServiceManager, with_socket
from test.support.trees import small_tree


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    manager = ServiceManager(tmp_path, watchdog=1.5)
    yield manager
    manager.close()


def test_a_master_tells_that_it_is_ready_that_it_reloads_and_that_it_stops(
    cluster: Cluster, manager: ServiceManager
) -> None:
    source = small_tree(cluster.base / "served")
    master = cluster.master(source, wait=False, environment=manager.environment)
    ready = manager.until("READY")
    status = master.status()
    assert status["generation"] is not None, "clients can be served"
    assert f"generation {status['generation'][:16]}: " in ready[-1].lines["STATUS"]
    assert ready[-1].sender == master.pid
    assert "MAINPID" not in ready[-1].lines

    manager.until("WATCHDOG")
    (source / "new").write_text("new")
    master.signal(signal.SIGHUP)
    assert int(manager.until("RELOADING")[-1].lines["MONOTONIC_USEC"]) > 0
    manager.until("READY")
    assert master.status()["generation"] != status["generation"]

    done = cluster.run("reload", "-p", str(master.port))
    assert done.status == 0
    manager.until("RELOADING")
    manager.until("READY")

    master.signal(signal.SIGTERM)
    manager.until("STOPPING")
    assert master.ended().status == 0
    assert {message.sender for message in manager.messages} == {master.pid}


def test_a_master_without_a_generation_is_not_ready_and_says_why(cluster: Cluster, manager: ServiceManager) -> None:
    source = small_tree(cluster.base / "served")
    keys = KeyFiles(cluster.base)
    master = cluster.master(source, "--signed-only", wait=False, environment=manager.environment)
    received = manager.until("STATUS", "PROBLEM")
    assert not any("READY" in message.lines for message in received)
    later = [manager.receive() for _ in range(3)]
    assert not any("EXTEND_TIMEOUT_USEC" in message.lines for message in later), "it does not wait for a scan"
    assert cluster.run("sign", "--key", keys.private, source).status == 0
    assert cluster.run("reload", "-p", str(master.port)).status == 0
    manager.until("READY")
    assert master.status()["generation"] is not None


def test_a_master_that_cannot_start_says_why(cluster: Cluster, manager: ServiceManager) -> None:
    source = small_tree(cluster.base / "served")
    with socket.create_server(("", 0)) as other:
        master = cluster.master(source, port=other.getsockname()[1], wait=False, environment=manager.environment)
        assert master.ended().status == 1
    (message,) = manager.rest()
    assert "Address already in use" in message.lines["STATUS"]


def test_a_command_line_or_file_that_is_wrong_is_told_too(cluster: Cluster, manager: ServiceManager) -> None:
    (cluster.base / "bad.toml").write_text("prot = 1\n")
    assert cluster.run("--config", cluster.base / "bad.toml", environment=manager.environment).status == 2
    (message,) = manager.rest()
    assert message.lines == {"STATUS": f"{cluster.base}/bad.toml line 1: unknown option 'prot' (did you mean port?)"}


def test_a_client_hands_over_to_the_process_that_goes_on(cluster: Cluster, manager: ServiceManager) -> None:
    source, dest = small_tree(cluster.base / "served"), cluster.base / "dest"
    master = cluster.master(source)
    client = cluster.client(master, dest, options=["--linger", "forever"], environment=manager.environment)
    received = manager.until("READY")
    ended = client.ended()
    assert ended.status == 0
    child = int(received[-1].lines["MAINPID"])
    assert child == received[-1].sender != client.pid
    assert "serving generation" in received[-1].lines["STATUS"]
    assert any("EXTEND_TIMEOUT_USEC" in message.lines for message in received[:-1])

    process = Watched(child)
    later = [manager.receive() for _ in range(2)]
    assert all("EXTEND_TIMEOUT_USEC" not in message.lines for message in later)
    process.signal(signal.SIGHUP)
    manager.until("RELOADING")
    manager.until("READY")
    process.signal(signal.SIGTERM)
    manager.until("STOPPING")
    assert process.ends()
    process.dispose()


def test_a_child_server_that_ends_by_itself_does_not_say_that_it_is_stopped(
    cluster: Cluster, manager: ServiceManager
) -> None:
    """Else the unit would not stay active, as RemainAfterExit= says."""
    master = cluster.master(small_tree(cluster.base / "served"))
    client = cluster.client(master, cluster.base / "dest", options=["--linger", "0.1"], environment=manager.environment)
    child = int(manager.until("READY")[-1].lines["MAINPID"])
    assert client.ended().status == 0
    assert ended_by_itself(child)
    assert not any("STOPPING" in message.lines for message in manager.rest())


def test_a_client_that_does_not_serve_on_hands_nothing_over(cluster: Cluster, manager: ServiceManager) -> None:
    master = cluster.master(small_tree(cluster.base / "served"))
    ended = cluster.get(master, cluster.base / "dest", environment=manager.environment)
    assert ended.status == 0
    assert "MAINPID" not in manager.until("READY")[-1].lines


def test_a_client_that_fails_is_never_ready_and_says_why(cluster: Cluster, manager: ServiceManager) -> None:
    master = cluster.master(small_tree(cluster.base / "served"))
    ended = cluster.get(master, cluster.base / "dest", "nothing/there", environment=manager.environment)
    assert ended.status == 4
    received = manager.rest()
    assert not any("READY" in message.lines for message in received)
    assert "not served by the master" in [m.lines["STATUS"] for m in received if "STATUS" in m.lines][-1]


def test_a_client_may_take_longer_to_start_as_long_as_it_waits(cluster: Cluster, manager: ServiceManager) -> None:
    """The master is not there yet. The client itself says when that is too long."""
    port = free_port()
    arguments = ["-n", "127.0.0.1", "-p", str(port), "--linger", "0", ".", str(cluster.base / "dest")]
    client = cluster.start(*arguments, environment=manager.environment)
    for _ in range(2):
        manager.until("EXTEND_TIMEOUT_USEC")
    assert any("connecting to the master at 127.0.0.1" in m.lines.get("STATUS", "") for m in manager.messages)
    cluster.master(small_tree(cluster.base / "served"), port=port)
    manager.until("READY")
    assert client.ended().status == 0


def test_a_service_manager_may_stop_both_processes_of_a_download_at_once(
    cluster: Cluster, manager: ServiceManager
) -> None:
    arguments = ["-n", "127.0.0.1", "-p", str(free_port()), ".", str(cluster.base / "dest")]
    client = cluster.start(*arguments, environment=manager.environment)
    other = Watched(manager.until("STATUS")[0].sender)
    other.signal(signal.SIGTERM)
    client.signal(signal.SIGTERM)
    assert client.ended().status == 143
    assert other.ends()
    other.dispose()
    assert not any("STOPPING" in message.lines or "READY" in message.lines for message in manager.rest())


def test_a_follower_tells_each_generation(cluster: Cluster, manager: ServiceManager) -> None:
    source, dest = small_tree(cluster.base / "served"), cluster.base / "dest"
    master = cluster.master(source)
    client = cluster.client(master, dest, options=["--follow"], environment=manager.environment)
    manager.until("READY")
    assert client.ended().status == 0
    (source / "new").write_text("new")
    eventually(lambda: (dest / "new").exists(), "the update")
    manager.until("STATUS", f"serving generation {master.status()['generation'][:16]}", "follows the master")


def test_connections_wait_in_the_socket_while_a_master_is_restarted(cluster: Cluster, manager: ServiceManager) -> None:
    source = small_tree(cluster.base / "served")
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listening:
        port = listening.getsockname()[1]
        options: dict[str, Any] = {"prefix": with_socket(listening), "pass_fds": [listening.fileno()]}
        first = cluster.master(source, port=port, **options, environment=manager.environment)
        assert status_of(port)["pid"] == first.pid
        inode = os.fstat(listening.fileno()).st_ino
        for worker in first.workers():
            assert f"socket:[{inode}]" not in open_files(worker).values(), "workers do not have the socket"
        first.signal(signal.SIGTERM)
        assert first.ended().status == 0
        with socket.create_connection(("127.0.0.1", port)) as early:
            second = cluster.master(source, port=port, **options, wait=False)
            early.sendall(struct.pack("<IBHIH6s", 19, 100, 0xFFFF, 8192, 6, b"9P2000"))
            early.settimeout(PATIENCE)
            assert early.recv(64)[4] == 101, "Rversion"
            assert status_of(port)["pid"] == second.pid


def test_the_port_of_the_socket_must_be_that_of_the_master(cluster: Cluster) -> None:
    source = small_tree(cluster.base / "served")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        options: dict[str, Any] = {"prefix": with_socket(listening), "pass_fds": [listening.fileno()]}
        ended = cluster.master(source, port=free_port(), wait=False, **options).ended()
        port = listening.getsockname()[1]
        daemon = cluster.master(source, "--daemon", port=port, wait=False, **options).ended()
    assert ended.status == daemon.status == 2
    assert ended.stderr.startswith("xget: the socket of the service manager: on port ")
    assert daemon.stderr == "xget: --daemon: cannot be combined with a socket of the service manager\n"


def test_without_a_service_manager_there_is_nothing_to_tell(cluster: Cluster) -> None:
    """The socket has gone: as for a process that is started by hand in the environment of a service."""
    environment = {"NOTIFY_SOCKET": str(cluster.base / "gone"), "WATCHDOG_USEC": "1000000"}
    master = cluster.master(small_tree(cluster.base / "served"), environment=environment)
    master.signal(signal.SIGTERM)
    assert master.ended().status == 0
    assert ended_by_itself(master.pid)
