"""Plays a case: starts everybody, strikes, waits for the clients, ends everybody. What happened is for `judge`.

It needs a process namespace, a network namespace and a mount namespace that nobody else uses.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from random import Random

from test.faults.case import ENDS, FOLLOWS, Case
from test.faults.fault import MASTER, Struck
from test.faults.hosts import Host, Network
from test.faults.members import PORT, Hostile, Master, Node
from test.faults.process_faults import signal_all
from test.faults.source import Source, old_copy
from test.faults.table import FAULTS
from test.support.cluster import Cluster
from test.support.leftovers import end_all, marked
from test.support.trees import differences

TWICE = 2.0
DEADLINE = 30.0
"""A client may take twice its time without faults, and this many seconds, to finish or to fail: longer than the
--timeout of all clients here, since they must notice that the master is gone."""
ENDS_WITHIN = 20.0
"""Seconds for processes to end that have a reason to: a worker waits 8 s for its master."""
_SERVES_NOTHING = (2, 3, 4, 5, 130, 143)
"""Exit statuses of clients that leave no child server."""
_PATIENCE = 40.0
"""Seconds for a client without faults."""
_LOOK_EVERY = 0.02


class Run:
    """One case, played once. `usual` are the seconds that each client took without faults."""

    def __init__(self, case: Case, base: Path, usual: dict[str, float] | None = None) -> None:
        self.case = case
        self.base = base
        self.usual = usual or {}
        self.problems: list[str] = []
        self.struck: list[Struck] = []
        self.over = threading.Event()
        """Set when nothing more is to happen."""
        self.finished = 0.0
        """When nobody was waited for any more, in seconds since the epoch."""
        self.before: dict[str, Path] = {}
        """A copy of what was in the destination of a client, where there was something."""
        for name in ("destinations", "tmp", "logs"):
            (base / name).mkdir(parents=True)
            (base / name).chmod(0o1777)
        self._cluster = Cluster(base)
        self._network = Network()
        self.source: Source = Source(base, case.seed)
        self.master: Master = Master(self._cluster, self._network.host(case.megabits), base)
        self.nodes: list[Node] = [
            Node(self._cluster, each, self._network.host(case.megabits), base, case.needs(each.name))
            for each in case.clients
        ]
        self._hostile: list[Hostile] = []
        self._begun = 0.0

    # For faults.

    def wait(self, seconds: float) -> None:
        """Return when so many seconds have passed, or the run is over."""
        self.over.wait(seconds)

    def node(self, name: str) -> Node:
        """The last run of the client of this name."""
        return next(each for each in reversed(self.nodes) if each.case.name == name)

    def host(self, name: str) -> Host:
        return self.master.host if name == MASTER else self.node(name).host

    def start_again(self, node: Node) -> None:
        """The same command again."""
        again = Node(self._cluster, node.case, node.host, self.base, node.needs, f"{node.name}-again")
        again.tampered = node.tampered
        again.start(self.master.host)
        self.nodes.append(again)

    # The run.

    def play(self) -> None:
        """Run it from begin to end. Afterwards only its directory is left."""
        mounts = _mounts()
        try:
            self._start()
            threads = self._start_strikes()
            self._wait_for_clients(threads)
            self.finished = time.time()
            self._wait_for_followers()
            self.over.set()
            for thread in threads:
                thread.join()
            self._end()
        finally:
            self.over.set()
            end_all(self._cluster.mark)
            for node in self.nodes:
                node.keep_output()
            for hostile in self._hostile:
                hostile.close()
            self._network.close()
        left = [line for number, line in _mounts().items() if number not in mounts and "/destinations/" not in line]
        self.problems += [f"left: {line}" for line in left]
        self.problems += [f"left: {path}" for path in sorted((self.base / "tmp").iterdir())]

    def _start(self) -> None:
        self.master.start(self.source.path)
        self.master.wait_until_it_serves()
        for lie in self.case.lies:
            host = self._network.host(self.case.megabits)
            master = self.master.host.address, PORT
            copy, logs = self.source.states[0], self.base / "logs"
            self._hostile.append(Hostile(lie, master, copy, logs, prefix=host.prefix))
        files = sum(1 for _ in self.source.path.rglob("*"))
        for node in self.nodes:
            if node.case.old_copy and not node.needs - {"relay"}:
                old_copy(self.source.path, node.dest, Random(self.case.seed))
                self.before[node.case.name] = self.base / f"before-{node.case.name}"
                subprocess.run(["cp", "-a", str(node.dest), str(self.before[node.case.name])], check=True, timeout=60)
            node.prepare(self.source.size, files)
        self._begun = time.time()

    def _start_strikes(self) -> list[threading.Thread]:
        """A thread for each client that starts, and for each strike."""
        threads = [threading.Thread(target=self._start_node, args=(node,)) for node in self.nodes]
        whole = max(self.usual.values(), default=0.0)
        for strike in self.case.strikes:
            struck = Struck(strike, self._begun + strike.at * whole)
            self.struck.append(struck)
            threads.append(threading.Thread(target=self._strike, args=(struck,)))
        for thread in threads:
            thread.start()
        return threads

    def _start_node(self, node: Node) -> None:
        self.wait(node.case.begins)
        try:
            node.start(self.master.host)
        except (OSError, AssertionError, ValueError) as error:
            self.problems.append(f"bench: {node.name} cannot be started: {error}")
            node.started = node.ended = time.time()

    def _strike(self, struck: Struck) -> None:
        self.wait(struck.began - time.time())
        struck.began = time.time()
        fault = FAULTS[struck.strike.fault]
        struck.hit = True
        try:
            struck.hit = fault.act(self, struck.strike)
        except (AssertionError, OSError) as error:
            self.problems.append(f"bench: {struck.strike}: {error}")
        if fault.ends:
            struck.over = time.time()

    def limit(self, node: Node) -> float:
        """When a client must have ended, in seconds since the epoch. What heals begins a new time."""
        assert node.started is not None
        healed = max((each.over for each in self.struck if each.over is not None and each.hit), default=0.0)
        usual = self.usual.get(node.case.name)
        return max(node.started, healed) + (_PATIENCE if usual is None else TWICE * usual + DEADLINE)

    def exempt(self, node: Node) -> bool:
        """Whether the client itself was struck so that it need not end."""
        return any(
            FAULTS[each.strike.fault].exempt and each.hit and each.strike.target == node.name for each in self.struck
        )

    def _wait_for_clients(self, threads: list[threading.Thread]) -> None:
        while True:
            for node in self.nodes:
                node.look()
            now = time.time()
            waited_for = [
                node
                for node in self.nodes
                if node.started is None or (node.ended is None and not self.exempt(node) and now < self.limit(node))
            ]
            if not waited_for and not any(thread.is_alive() for thread in threads):
                return
            time.sleep(_LOOK_EVERY)

    def _wait_for_followers(self) -> None:
        """Wait until each has what is served now, if it can be had."""
        if self.outage_for_good() or not self.source.path.is_dir():
            return
        deadline = time.time() + DEADLINE
        last = self.source.states[-1]
        follow = [node for node in self.nodes if node.case.then == FOLLOWS and node.status == 0]
        waiting = [node for node in follow if node.processes() and not node.tampered and not self.hurt(node)]
        while waiting and time.time() < deadline:
            waiting = [node for node in waiting if _differences(last, node.dest)]
            time.sleep(0.2 if waiting else 0)
        for node in waiting:
            found = _differences(last, node.dest)
            self.problems.append(f"late: {node.name} does not have the last state after {DEADLINE:g} s: {found[:3]}")

    def outage_for_good(self) -> bool:
        """Whether the master, or its host, was lost for good."""
        return any(
            FAULTS[each.strike.fault].hides_master and each.hit and each.over is None and each.strike.target == MASTER
            for each in self.struck
        )

    def master_was_lost(self) -> bool:
        """Whether a fault has struck the master, or its host, that does not end by itself."""
        faults = [FAULTS[each.strike.fault] for each in self.struck if each.hit and each.strike.target == MASTER]
        return any(fault.hides_master and not fault.ends for fault in faults)

    def hurt(self, node: Node) -> bool:
        """Whether a fault that does not end struck this client."""
        return any(each.hit and each.strike.target == node.case.name and each.over is None for each in self.struck)

    # The end.

    def _end(self) -> None:
        """Processes that have nothing more to do must have ended. All others go on, and are asked to end."""
        for node in self.nodes:
            node.look()
            if node.ended is None and not self.exempt(node):
                self.problems.append(f"late: {node.name} has not ended {self._too_late(node)}: {_last(node)}")
        deadline = time.time() + ENDS_WITHIN
        for node in self.nodes:
            if node.ended is not None and (node.case.then == ENDS or node.status in _SERVES_NOTHING):
                self.problems += left_alive(node.name, node.mark, deadline)
        signal_all(marked(self._cluster.mark), signal.SIGCONT)
        for node in self.nodes:
            signal_all([*node.foreground(), *node.background()], signal.SIGTERM)
        deadline = time.time() + ENDS_WITHIN
        for node in self.nodes:
            self.problems += left_alive(node.name, node.mark, deadline)
        self.master.end(signal.SIGTERM)
        self.problems += left_alive(MASTER, self.master.mark, deadline)
        for host in self._network.hosts[: 1 + len(self.case.clients)]:
            if found := [each for each in host.listening() if not each.startswith("0100007F")]:
                self.problems.append(f"left: sockets on {host.address}: {found}")

    def _too_late(self, node: Node) -> str:
        assert node.started is not None
        return f"within {time.time() - node.started:.0f} s of its start"


def left_alive(name: str, mark: str, deadline: float) -> list[str]:
    """A problem if there are still processes with this mark at the deadline, in seconds since the epoch."""
    while (left := marked(mark)) and time.time() < deadline:
        time.sleep(_LOOK_EVERY)
    return [f"left: processes of {name}: {[_command(pid) for pid in left]}"] if left else []


def _differences(state: Path, dest: Path) -> list[str]:
    """Of a destination that may be changing."""
    try:
        return differences(state, dest)
    except (OSError, subprocess.CalledProcessError) as error:
        return [f"it changes: {error}"]


def _mounts() -> dict[str, str]:
    """By number: others may rename the directory that something is mounted on."""
    return {line.split()[0]: line for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def _command(pid: int) -> str:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return f"{pid} ({state}) {os.fsdecode(Path(f'/proc/{pid}/cmdline').read_bytes()).replace(chr(0), ' ')[-60:]}"
    except OSError:
        return str(pid)


def _last(node: Node) -> str:
    events = node.events
    said = [event["message"] for event in events if event["event"] in ("stall", "error")]
    return f"{events[-1] if events else 'no event'}; {said[-1:]}"
