"""What goes on when the command has returned: a daemon that keeps nothing of its caller, for as long as it was told."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path
from threading import Timer

import pytest

from test.support.cluster import COMMAND, Cluster, Master, ended_by_itself, eventually, free_port, status_of
from test.support.leftovers import MARK
from test.support.plain_client import PlainClient
from test.support.processes import PATIENCE, line_from, open_files
from test.support.trees import differences, small_tree


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return small_tree(tmp_path / "served")


@pytest.fixture
def master(cluster: Cluster, source: Path) -> Master:
    return cluster.master(source)


def child_of(cluster: Cluster, master: Master, dest: Path, *options: str) -> tuple[int, int]:
    """A client that has become a child: its process and its port."""
    client = cluster.client(master, dest, options=options)
    pid = client.background()
    assert client.ended().status == 0
    (child,) = master.wait_for_children(1)
    return pid, int(child["port"])


def test_a_child_has_its_own_session_no_terminal_and_no_directory(cluster: Cluster, master: Master) -> None:
    # That the output is closed when the command returns is seen to by every run of a client (Running.ended).
    told, tell = os.pipe()
    try:
        client = cluster.client(master, cluster.base / "dest", pass_fds=[tell])
        os.close(tell)
        pid = client.background()
        assert client.ended().status == 0
        assert line_from(told) == "", "the child has what its caller had open"
    finally:
        os.close(told)
    (child,) = master.wait_for_children(1)
    assert status_of(child["port"])["pid"] == pid
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    files = open_files(pid)
    assert [files[number] for number in (0, 1, 2)] == ["/dev/null"] * 3
    # Files, the log and sockets are its own; a pipe or a terminal could only be the caller's.
    assert [name for name in files.values() if name.startswith(("pipe:", "/dev/pts", "/dev/tty"))] == []


def test_a_child_survives_its_terminal(cluster: Cluster, master: Master, source: Path) -> None:
    """Started by hand in a terminal, which is then closed: bar and summary were shown, and the child serves on."""
    ours, theirs = pty.openpty()
    dest = cluster.base / "dest"
    take_terminal = (
        f"import fcntl, os, sys; fcntl.ioctl(0, {termios.TIOCSCTTY}, 0); os.execv(sys.argv[1], sys.argv[1:])"
    )
    arguments = ["-n", "127.0.0.1", "-p", str(master.port), "--log", str(cluster.base / "child.log"), ".", str(dest)]
    process = subprocess.Popen(
        [sys.executable, "-c", take_terminal, *COMMAND, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, MARK: cluster.mark},
    )
    os.close(theirs)
    assert process.wait(PATIENCE) == 0
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:
        pass  # EIO: nobody has the other end open any more
    os.close(ours)
    assert b" in place: fetched and verified " in shown
    (child,) = master.wait_for_children(1)
    pid = status_of(child["port"])["pid"]
    os.kill(pid, signal.SIGHUP)  # as a shell does that closes, and the kernel
    with PlainClient(child["port"], "files") as client:
        assert client.read_all("top") == (source / "top").read_bytes()
    assert status_of(child["port"])["pid"] == pid


def test_a_child_ends_when_nobody_has_read_for_as_long_as_it_lingers(cluster: Cluster, master: Master) -> None:
    client = cluster.client(master, cluster.base / "dest", options=["--linger", "0.5"])
    pid = client.background()
    assert client.ended().status == 0
    assert ended_by_itself(pid)
    eventually(lambda: not master.children(), "the master still knows the child")


def test_without_linger_nothing_is_left_of_a_client(cluster: Cluster, master: Master) -> None:
    client = cluster.client(master, cluster.base / "dest", options=["--linger", "0"])
    pid = client.background()
    assert client.ended().status == 0
    assert ended_by_itself(pid)


def test_a_child_ends_when_it_is_told_to(cluster: Cluster, master: Master) -> None:
    pid, _ = child_of(cluster, master, cluster.base / "dest", "--linger", "forever")
    os.kill(pid, signal.SIGTERM)
    assert ended_by_itself(pid)
    eventually(lambda: not master.children(), "the master still knows the child")


def test_a_second_run_into_the_same_destination_leaves_one_child(
    cluster: Cluster, master: Master, source: Path
) -> None:
    dest = cluster.base / "dest"
    first, _ = child_of(cluster, master, dest)
    again = cluster.client(master, dest)
    second = again.background()
    assert again.ended().status == 0
    assert ended_by_itself(first)
    (child,) = master.wait_for_children(1)
    assert status_of(child["port"])["pid"] == second
    assert differences(source, dest) == []


def test_a_process_of_a_command_before_ours_is_not_taken_for_the_background_of_a_client(
    cluster: Cluster, master: Master
) -> None:
    fifo = cluster.base / "fifo"
    os.mkfifo(fifo)
    before = ["sh", "-ec", f'cat "{fifo}"\nexec "$@"', "sh"]
    client = cluster.client(master, cluster.base / "dest", options=["--linger", "forever"], prefix=before)
    released = Timer(0.2, fifo.write_bytes, [b""])
    released.start()
    pid = client.background()
    released.join()
    assert client.ended().status == 0
    assert status_of(master.wait_for_children(1)[0]["port"])["pid"] == pid


def test_a_node_says_what_its_child_does(cluster: Cluster, master: Master) -> None:
    pid, port = child_of(cluster, master, cluster.base / "dest")
    # Nobody has to know its port: the children of a machine are found.
    for arguments in (["-n", "127.0.0.1", "-p", str(port)], ["-v", str(cluster.base / "dest")]):
        printed = cluster.run("status", *arguments)
        assert printed.status == 0
        assert f"child of {cluster.base / 'dest'}, process {pid}" in printed.stdout


def test_the_pid_file_of_a_client_is_that_of_its_child(cluster: Cluster, master: Master) -> None:
    pidfile = cluster.base / "child.pid"
    pid, _ = child_of(cluster, master, cluster.base / "dest", "--pidfile", str(pidfile))
    assert pidfile.read_text() == f"{pid}\n"
    os.kill(pid, signal.SIGTERM)
    assert ended_by_itself(pid)
    assert not pidfile.exists()


def test_a_master_goes_to_the_background_when_it_can_be_reached(cluster: Cluster, source: Path) -> None:
    port, pidfile, log = free_port(), cluster.base / "pid", cluster.base / "master.log"
    arguments = ["-p", str(port), "-w", "2", "--daemon", "--pidfile", str(pidfile), "--log", str(log), str(source)]
    began = cluster.run(*arguments)
    assert (began.status, began.stdout, began.stderr) == (0, "", "")
    pid = int(pidfile.read_text())
    assert status_of(port)["pid"] == pid
    assert (os.getsid(pid), os.readlink(f"/proc/{pid}/cwd")) == (pid, "/")
    files = open_files(pid)
    assert [files[number] for number in (0, 1, 2)] == ["/dev/null"] * 3

    again = cluster.run("-p", str(free_port()), *arguments[2:])
    assert again.status == 1
    assert again.stderr == f"xget: pid file {pidfile}: in use by process {pid}\n"

    os.kill(pid, signal.SIGTERM)
    assert ended_by_itself(pid)
    eventually(lambda: not cluster.processes(), "nothing is left")
    assert not pidfile.exists()
    assert "stopping: SIGTERM" in log.read_text()


def test_a_log_that_was_moved_away_is_begun_anew(cluster: Cluster, master: Master) -> None:
    os.rename(master.log, cluster.base / "rotated")
    master.signal(signal.SIGUSR1)
    eventually(master.log.exists, "a new log")
    assert "status: {" in master.logged("status")
