"""A cluster on one machine: a master and clients as real processes of this checkout, on loopback.

    master = cluster.master(source)                 serves when this returns
    ended = cluster.get(master, dest, ".")          a client from begin to end: status, output, last event
    client = cluster.client(master, dest, ".")      a client at work: wait for its events, send it signals
    master.children()                               who serves, as the master's status says

Every wait is bounded (PATIENCE), and what was waited for is looked at again and again, so that no test relies on
having slept long enough. Everything that was started is found again by a mark in its environment, and ended.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from test.support.leftovers import MARK, end_all, marked
from test.support.plain_client import Key, PlainClient
from test.support.processes import PATIENCE, Watched
from test.support.relay import Relay
from xget_lib.errors import NinepError

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, str(ROOT / "xget.py")]
SESSION_MARK = f"tests{os.getpid()}-"
_LOOK_EVERY = 0.02
_FIRST_PORT = 10_000

_T = TypeVar("_T")


def eventually(look: Callable[[], _T], what: str, seconds: float = PATIENCE) -> _T:
    """The first true thing that `look` returns; fails when there is none in so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(_LOOK_EVERY)
    return found


def free_port() -> int:
    """A port that nobody uses, and most likely nobody will before we do.

    The kernel does not choose it for anybody, as it would one that it has chosen for us: each child, and each
    connection, of tests that run at the same time has such a port.
    """
    first_chosen = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(_FIRST_PORT, first_chosen)
        with suppress(OSError), socket.create_server(("", port)):
            return port


def status_of(port: int, key: Key | None = None, tls: ssl.SSLContext | None = None) -> dict[str, Any]:
    """What the server on a port says of itself, to who has the key. Raises OSError, NinepError."""
    with PlainClient(port, "swarm", key=key, tls=tls) as client:
        status: dict[str, Any] = json.loads(client.read_all("status"))
        return status


def ended_by_itself(pid: int) -> bool:
    """Whether a process ends in bounded time."""
    try:
        watched = Watched(pid)
    except ProcessLookupError:
        return True
    try:
        return watched.ends()
    finally:
        watched.dispose()


class Server(Protocol):
    """What can be downloaded from: a master or a relay."""

    @property
    def port(self) -> int: ...


@dataclass(frozen=True)
class Ended:
    """How a run of the command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def done(self) -> dict[str, Any]:
        """The last event of a run with --json."""
        done = self.events[-1]
        assert done["event"] == "done"
        return done


class Running:
    """A run of the command. Its output is read as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid
        self._lines: list[str] = []
        self._errors: list[str] = []
        self._more = threading.Condition()
        assert process.stdout and process.stderr
        self._readers = [
            threading.Thread(target=self._collect, args=pipe, daemon=True)
            for pipe in ((process.stdout, self._lines), (process.stderr, self._errors))
        ]
        for reader in self._readers:
            reader.start()

    def _collect(self, pipe: Any, lines: list[str]) -> None:
        for line in pipe:
            with self._more:
                lines.append(line)
                self._more.notify_all()

    def so_far(self) -> tuple[str, str]:
        """What it has printed on stdout and stderr until now."""
        return "".join(list(self._lines)), "".join(list(self._errors))

    def event(self, wanted: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """The first event that is wanted, of those that came and those to come."""

        def found() -> dict[str, Any] | None:
            return next((event for event in map(json.loads, list(self._lines)) if wanted(event)), None)

        with self._more:
            assert self._more.wait_for(found, PATIENCE), f"{what}: {self._lines} {self._errors}"
        event = found()
        assert event is not None
        return event

    def events(self, kind: str, count: int) -> None:
        """Wait until so many events of a kind have come."""
        with self._more:
            enough = self._more.wait_for(
                lambda: sum(f'"event": "{kind}"' in line for line in self._lines) >= count, PATIENCE
            )
        assert enough, f"not {count} times {kind}: {self._lines}"

    def progressed(self) -> int:
        """Wait until content has come and is written; how many bytes."""
        return int(self.event(lambda e: e["event"] == "progress" and e["fetched"] > 0, "no progress")["fetched"])

    def background(self) -> int:
        """The number of the process that a client does its work in."""
        process = Path(f"/proc/{self.pid}")

        def found() -> list[str]:
            # A command before ours (`prefix`) has processes of its own, and ours takes its place when they are done.
            words = (process / "cmdline").read_text().split("\0")
            return (process / f"task/{self.pid}/children").read_text().split() if words[:2] == COMMAND else []

        return int(eventually(found, "no background process")[0])

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self, seconds: float = 2 * PATIENCE) -> Ended:
        """Wait until it has ended and nobody holds its output any more."""
        self.process.wait(seconds)
        for reader in self._readers:
            reader.join(PATIENCE)
            assert not reader.is_alive(), "somebody still has the output of a command that has ended"
        return Ended(self.process.returncode, "".join(self._lines), "".join(self._errors))


class Master(Running):
    """A master in the foreground. `port` is where it serves."""

    def __init__(
        self,
        process: subprocess.Popen[str],
        port: int,
        log: Path,
        key: Key | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`key` proves to it that the test belongs. `tls`: to speak
        with it."""
        super().__init__(process)
        self.key = key
        self.tls = tls
        self.port = port
        self.log = log

    def status(self) -> dict[str, Any]:
        return status_of(self.port, self.key, self.tls)

    def serves(self) -> bool:
        """Whether its first snapshot is there."""
        if self.process.poll() is not None:
            logged = self.log.read_text() if self.log.exists() else ""
            raise AssertionError(f"the master has ended: {self.ended()} {logged}")
        with suppress(OSError, NinepError):
            return self.status()["generation"] is not None
        return False

    def children(self) -> list[dict[str, Any]]:
        children: list[dict[str, Any]] = self.status()["children"]
        return children

    def wait_for_children(self, count: int) -> list[dict[str, Any]]:
        """Until exactly so many nodes hold everything; what the status says of them."""
        try:
            return eventually(lambda: self._whole_children(count), f"{count} children that hold all")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.status()}") from None

    def _whole_children(self, count: int) -> list[dict[str, Any]]:
        status = self.status()
        children: list[dict[str, Any]] = status["children"]
        whole = all(
            (child["held"], child["generation"]) == (status["chunks"], status["generation"]) for child in children
        )
        return children if len(children) == count and whole else []

    def workers(self) -> list[int]:
        return [worker["pid"] for worker in self.status()["workers"]]

    def logged(self, text: str) -> str:
        """Wait for a line in the log."""
        return eventually(
            lambda: next((line for line in self.log.read_text().splitlines() if text in line), ""),
            f"{text!r} in the log",
        )


class Cluster:
    """Starts processes below one directory, and ends them all.

    Options go to subprocess.Popen, but for `prefix`: words of a command that runs ours, such as `unshare --user`.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.mark = f"{SESSION_MARK}{base.name}-"
        self._runs = 0

    def start(self, *arguments: str | Path, json_events: bool = False, **options: Any) -> Running:
        """Start the command in the background."""
        extra = ["--json"] if json_events else []
        return Running(self._popen([*extra, *map(str, arguments)], **options))

    def run(self, *arguments: str | Path, **options: Any) -> Ended:
        """The command from begin to end."""
        return self.start(*arguments, **options).ended()

    def master(
        self,
        path: Path,
        *options: str,
        port: int | None = None,
        wait: bool = True,
        key: Key | None = None,
        tls: ssl.SSLContext | None = None,
        **popen: Any,
    ) -> Master:
        """A master that serves `path`, with two workers where nothing else is said. `key` proves to it that the
        test belongs. `tls`: to speak with it."""
        port = port or free_port()
        log = self.base / f"master{port}.log"
        workers = [] if "-w" in options else ["-w", "2"]
        arguments = ["-p", str(port), *workers, "--log", str(log), *options, str(path)]
        master = Master(self._popen(arguments, **popen), port, log, key, tls)
        if wait:
            eventually(master.serves, "the master does not serve")
        return master

    def client(self, server: Server, dest: Path, *sources: str, options: Sequence[str] = (), **popen: Any) -> Running:
        """A client at work, its events on stdout."""
        self._runs += 1
        log = self.base / f"client{self._runs}-{dest.name}.log"
        where = ["-n", "127.0.0.1", "-p", str(server.port)]
        if "--log" not in options:
            where += ["--log", str(log)]
        return self.start(*where, *options, *(sources or (".",)), dest, json_events=True, **popen)

    def get(self, server: Server, dest: Path, *sources: str, options: Sequence[str] = (), **popen: Any) -> Ended:
        """A client from begin to end, which leaves nobody behind. The status is for the caller to look at."""
        return self.client(server, dest, *sources, options=["--linger", "0", *options], **popen).ended()

    def processes(self) -> list[int]:
        """All that live and were started here."""
        return marked(self.mark)

    def close(self) -> None:
        """End everything; say what the servers logged, for whom a test has failed."""
        end_all(self.mark)
        for log in sorted(self.base.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}")

    def _popen(self, arguments: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        environment = {**os.environ, MARK: f"{self.mark}{self._runs}", **options.pop("environment", {})}
        command = [*options.pop("prefix", ()), *COMMAND, *arguments]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(
            command, cwd=self.base, env=environment, encoding="utf-8", errors="surrogateescape", **pipes
        )


def unseen_child(cluster: Cluster, master: Master, dest: Path) -> tuple[int, int]:
    """A child that holds everything and whose master does not know of it (any more). Its process and its port."""
    with Relay(master.port) as relay:
        client = cluster.client(relay, dest, options=["--linger", "forever"])
        pid = client.background()
        assert client.ended().status == 0
        (child,) = master.wait_for_children(1)
    eventually(lambda: not master.children(), "the master still knows the child")
    return pid, int(child["port"])
