"""The processes of a case: the master, the clients, and the hostile peers, each on a host of its own."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from test.faults.case import ENDS, FOLLOWS, Client
from test.faults.hosts import Host, do
from test.faults.process_faults import signal_all
from test.support.cluster import ROOT, Cluster, Running, eventually
from test.support.leftovers import MARK, marked
from test.support.plain_client import PlainClient
from xget_lib.errors import NinepError
from xget_lib.swarm.messages import Address

PORT = 20004
_LINGER = "60"
_DESCRIPTORS = 32
_PROCESSES = 3
_UNUSUAL_USER = 64_000
_STARTS_WITHIN = 30.0


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


class Master:
    """The master, over all its starts. It runs at the same address each time."""

    def __init__(self, cluster: Cluster, host: Host, base: Path) -> None:
        self.host = host
        self.mark = f"{cluster.mark}master-"
        self._cluster = cluster
        self._base = base
        self._running: Running | None = None
        self._starts = 0
        self.restarting = threading.Lock()
        """Held by a fault that restarts it, or takes its directory away: no two of them at the same time."""

    def start(self, path: Path) -> None:
        self._starts += 1
        log = self._base / "logs" / f"master{self._starts}.log"
        arguments = ["-p", str(PORT), "-w", "2", "--cache", str(self._base / "cache"), "--log", str(log), str(path)]
        environment = {MARK: self.mark, "TMPDIR": str(self._base / "tmp")}
        self._running = self._cluster.start(*arguments, prefix=self.host.prefix, environment=environment)

    def wait_until_it_serves(self, unless: Callable[[], bool] = lambda: False) -> None:
        """`unless`: whether nobody can wait for that any more."""
        serves = "the master does not serve"
        eventually(lambda: unless() or self.status().get("generation"), serves, _STARTS_WITHIN)

    def status(self) -> dict[str, Any]:
        with suppress(OSError, NinepError, ValueError), PlainClient(PORT, "swarm", self.host.address) as client:
            status: dict[str, Any] = json.loads(client.read_all("status"))
            return status
        return {}

    def pids(self) -> list[int]:
        """The master process, if it lives."""
        assert self._running is not None
        return [self._running.pid] if self._running.process.poll() is None else []

    def nursery(self) -> list[int]:
        return [child for pid in self.pids() for child in children(pid)]

    def workers(self) -> list[int]:
        return [worker for pid in self.nursery() for worker in children(pid)]

    def everybody(self) -> list[int]:
        return [*self.pids(), *self.nursery(), *self.workers()]

    def end(self, number: signal.Signals) -> None:
        """Send a signal, and wait until its port is free."""
        assert self._running is not None
        signal_all(self.pids(), signal.SIGCONT)
        signal_all(self.pids(), number)
        with suppress(subprocess.TimeoutExpired):
            self._running.process.wait(20)


class Node:
    """A client and the child server that it becomes, over one run of the command."""

    def __init__(self, cluster: Cluster, case: Client, host: Host, base: Path, needs: set[str], name: str = "") -> None:
        self.case = case
        self.name = name or case.name
        self.host = host
        self.dest = base / "destinations" / case.name
        self.needs = needs
        self.mark = f"{cluster.mark}{self.name}-"
        self.tampered: set[str] = set()
        """Paths in the destination that a fault has changed."""
        self.started: float | None = None
        self.ended: float | None = None
        self._user = _UNUSUAL_USER + base.stat().st_ino % 1000  # the kernel counts processes over all namespaces
        self._cluster = cluster
        self._base = base
        self._running: Running | None = None
        self._relay: subprocess.Popen[str] | None = None
        self._background: int | None = None

    def prepare(self, size: int, files: int) -> None:
        """Make the destination as the faults need it. `size` bytes in `files` files are served."""
        options = []
        if "small disk" in self.needs:
            options.append(f"size={int(size * 0.6)}")
        if "few inodes" in self.needs:
            options.append(f"nr_inodes={files // 2}")
        if options or "own disk" in self.needs:
            self.dest.mkdir(exist_ok=True)
            do("mount", "-t", "tmpfs", "-o", ",".join([*options, "mode=755"]), "none", self.dest)
        if "few processes" in self.needs:
            self.dest.mkdir(exist_ok=True)
            os.chown(self.dest, self._user, self._user)

    def start(self, master: Host) -> None:
        """Run the command."""
        address, port = master.address, PORT
        environment = {MARK: self.mark, "TMPDIR": str(self._base / "tmp")}
        if "relay" in self.needs:
            command = [*self.host.prefix, sys.executable, "-m", "test.faults.relay", address, str(port)]
            self._relay = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert self._relay.stdout is not None
            address, port = "127.0.0.1", int(self._relay.stdout.readline())
        options = ["-n", address, "-p", str(port), "--timeout", str(self.case.timeout)]
        options += ["--delete", "--max-delete", "100%", "--log", str(self._base / "logs" / f"{self.name}.log")]
        options += ["--linger", "0" if self.case.then == ENDS else _LINGER] + ["--follow"] * (self.case.then == FOLLOWS)
        prefix = [*self.host.prefix, *self._limits()]
        self.started = time.time()
        self._running = self._cluster.start(
            *options, ".", self.dest, json_events=True, prefix=prefix, environment=environment
        )

    def _limits(self) -> Sequence[str]:
        if "few descriptors" in self.needs:
            return ["prlimit", f"--nofile={_DESCRIPTORS}"]
        if "few processes" in self.needs:
            # Root has no such limit. The other user can read what belongs to root, such as the interpreter.
            words = [f"--reuid={self._user}", f"--regid={self._user}", "--clear-groups"]
            words += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
            return ["setpriv", *words, "prlimit", f"--nproc={_PROCESSES}"]
        return []

    def look(self) -> None:
        """Note what can be seen only for a while."""
        if self._running is None or self.ended is not None:
            return
        if self._background is None and (found := children(self._running.pid)):
            self._background = found[0]
        if self._running.process.poll() is not None:
            self.ended = time.time()

    @property
    def status(self) -> int | None:
        return None if self._running is None else self._running.process.poll()

    @property
    def events(self) -> list[dict[str, Any]]:
        lines = [] if self._running is None else self._running.so_far()[0].splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    @property
    def stderr(self) -> str:
        return "" if self._running is None else self._running.so_far()[1]

    def foreground(self) -> list[int]:
        self.look()
        return [] if self._running is None or self.ended is not None else [self._running.pid]

    def background(self) -> list[int]:
        self.look()
        return [pid for pid in marked(self.mark) if pid == self._background]

    def processes(self) -> list[int]:
        return marked(self.mark)

    def keep_output(self) -> None:
        """Write what it printed beside its log."""
        if self._running is not None:
            said = "".join(self._running.so_far())
            (self._base / "logs" / f"{self.name}.output").write_text(said, errors="surrogateescape")

    def wait_until_ended(self) -> None:
        assert self._running is not None
        self._running.process.wait(20)
        self.look()

    def tell_relay(self, command: str) -> bool:
        """Whether there is a client that is connected through it."""
        if self._relay is None or self._relay.stdin is None:
            return False
        self._relay.stdin.write(f"{command}\n")
        self._relay.stdin.flush()
        return self.ended is None


class Hostile:
    """A hostile peer. It is there when this is made."""

    def __init__(
        self, lie: str, master: Address, copy: Path, logs: Path, *, prefix: Sequence[str] = (), address: str = ""
    ) -> None:
        """`prefix`: the words before its command; `address`: its own, for a host with several."""
        self.printed = ""
        """What it has printed, when it is closed."""
        self._log = (logs / f"hostile-{lie.replace(' ', '-')}{address}.log").open("w")
        words = [lie, master[0], str(master[1]), str(copy), *([address] if address else [])]
        command = [*prefix, sys.executable, "-m", "test.faults.hostile_peer", *words]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=self._log, text=True)
        assert self._process.stdout is not None
        begun = select.select([self._process.stdout], [], [], _STARTS_WITHIN)[0]
        assert begun and self._process.stdout.readline(), f"the hostile peer does not start: {lie}"

    def __enter__(self) -> Hostile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()
        self.printed, _ = self._process.communicate()
        self._log.close()
