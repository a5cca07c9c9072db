"""Measures one case, from the start of the nodes until all have everything.

`isolation` runs it as process 1 of new namespaces: `python -m scripts.bench.measure CASE`, with a `Case` as JSON. Its
last output is the `Result`. When it ends, the kernel kills all its processes and removes the network and the files.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from .cases import Case, Result
from .limits import Limits
from .network import HEAD, Network, inside, node_name
from .payload import Payload, expected_size
from .processes import Processes, Processors
from .roster import TOOLS
from .tools import PORT, Stage, Tool

_WORK = Path("/run/bench")
_SAMPLE = 0.5
"""Seconds between two samples of processes and processors."""
_TURN = 0.02
"""Seconds of delay, at most, with which the end of a node is noticed."""
_TO_END = 10.0
"""Seconds for what takes moments."""
_LISTENING = "0A"


class Measurement:
    """The measurement of one case."""

    def __init__(self, case: Case, tool: Tool) -> None:
        self.case = case
        self.tool = tool
        self.network = Network(case)
        self.processes = Processes({self.network.identity(name): name for name in self.network.names})
        self.stage = Stage(_WORK, Payload(_WORK / "payload", case), case.nodes, case.rate, case.processes)
        for directory in (_WORK / "marks", _WORK / "logs", *map(self.stage.destination, range(case.nodes))):
            directory.mkdir(parents=True)
        self.failures: list[str] = []
        self._head: set[int] = set()
        self._clients: dict[int, int] = {}
        self._begun: dict[int, float] = {}
        self._done: dict[int, float] = {}
        self._waiting = set(range(case.nodes))
        """Nodes that are neither done, nor lost, nor failed."""

    def run(self) -> Result:
        if self.case.changed:
            self._copy_before()
        self._start_switch()
        if not self.tool.head_comes_last:
            self._start_head()
            self._until_ready()
        before, traffic = self.processes.sample(), self.network.traffic()
        self.processors = Processors()
        first = time.monotonic()
        self.limits = Limits(self.network.rates, traffic, self.processes.wanted(), first)
        if self.tool.head_comes_last:
            self._start_head()
        self._attend(first)
        spent = self.processes.sample()
        self.processors.sample()
        softirq = self.processors.softirq
        sent = {name: now.sent - traffic[name].sent for name, now in self.network.traffic().items()}
        self.processes.stopped(_TO_END)
        self._check()
        everybody = not self.failures and self._done
        return Result(
            self.case,
            [self._done[node] - self._begun[node] if node in self._done else None for node in range(self.case.nodes)],
            max(self._done.values()) - first if everybody else None,
            self.stage.payload.size,
            head_sent=sent[HEAD],
            sent=sum(sent.values()),
            cpu={kind: round(seconds - before.get(kind, 0.0), 4) for kind, seconds in spent.items()},
            softirq=round(softirq, 2),
            memory=dict(self.processes.peak),
            busy=self.processors.busy,
            saturated=self.processors.saturated,
            shares=self.limits.shares(node_name(max(self._done, key=self._done.__getitem__))) if self._done else None,
            failures=self.failures,
            version=self.tool.version(),
        )

    def _copy_before(self) -> None:
        """Let the nodes get everything, with the same tool, and then change files."""
        self._start_head()
        self._until_ready()
        for node in range(self.case.nodes):
            self._start_node(node)
        limit = time.monotonic() + self.case.limit
        while self._clients and time.monotonic() < limit:
            for ended in self.processes.reap():
                if ended.pid in self._clients:
                    name = node_name(self._clients.pop(ended.pid))
                    if ended.status:
                        words = self._last_words(name)
                        raise RuntimeError(f"the first copy of {name} ended with status {ended.status}: {words}")
            self.processes.wait(_TURN)
        if self._clients:
            raise RuntimeError(f"{len(self._clients)} nodes have no first copy in {self.case.limit:.4g} s")
        self.processes.stopped(_TO_END)
        self.processes.forget()
        self._head.clear()
        self.stage.payload.change(self.case.changed)

    def _start_switch(self) -> None:
        ready = _WORK / "switch-ready"
        if command := self.network.delaying(ready):
            self.processes.start(command, self.stage.log("switch"))
            limit = time.monotonic() + _TO_END
            while not ready.exists():
                if time.monotonic() > limit:
                    raise RuntimeError(f"the switch is not ready: {self._last_words('switch')}")
                self.processes.wait(_TURN)

    # The head.

    def _start_head(self) -> None:
        for command in self.tool.head(self.stage):
            self._head.add(self.processes.start((*inside(HEAD), *command), self.stage.log(HEAD)))

    def _until_ready(self) -> None:
        """Wait until the head listens and is idle: the time for a snapshot or a check of files is not measured."""
        patience = self.case.head_limit
        limit = time.monotonic() + patience
        spent = -1.0
        while time.monotonic() < limit:
            for ended in self.processes.reap():
                if ended.pid in self._head:
                    raise RuntimeError(f"the head ended with status {ended.status}: {self._last_words(HEAD)}")
            time.sleep(_SAMPLE)
            usage = self.processes.sample()
            now = usage.get("master", 0.0) + usage.get("worker", 0.0)
            if now - spent < 0.02 and (not self.tool.listens or self._head_listens()):
                return
            spent = now
        raise RuntimeError(f"the head was not ready in {patience:.0f} s: {self._last_words(HEAD)}")

    def _head_listens(self) -> bool:
        """Whether a process listens on PORT in the head's network namespace (proc_net_tcp(5))."""
        found = ""
        for table in ("tcp", "tcp6"):
            with contextlib.suppress(OSError):
                found += Path(f"/proc/{min(self._head)}/net/{table}").read_text(encoding="ascii")
        rows = [line.split() for line in found.splitlines()]
        return any(row[1].endswith(f":{PORT:04X}") and row[3] == _LISTENING for row in rows)

    # The nodes.

    def _attend(self, first: float) -> None:
        """Start the nodes at their times, kill or cut some, and record when each is done."""
        sampled = first
        lose_at = first + self.case.loss_after if self.case.loss else float("inf")
        unstarted = list(range(self.case.nodes))
        while self._waiting:
            now = time.monotonic()
            if now > first + self.case.limit:
                self.failures.append(f"{len(self._waiting)} nodes not done in {self.case.limit:.4g} s")
                return
            while unstarted and first + unstarted[0] * self.case.every <= now:
                self._start_node(unstarted.pop(0))
            if now >= lose_at:
                self._lose()
                lose_at = float("inf")
            if now - sampled >= _SAMPLE:
                self.processes.sample()
                self.processors.sample()
                sampled = now
            if self.limits.is_due(now):
                self._look()
            self._note_ends()
            self.processes.wait(_TURN)

    def _start_node(self, node: int) -> None:
        name = node_name(node)
        command = (*inside(name), *self.tool.node(self.stage, node))
        self._begun[node] = time.monotonic()
        self._clients[self.processes.start(command, self.stage.log(name))] = node

    def _note_ends(self) -> None:
        for ended in self.processes.reap():
            if ended.pid in self._head and ended.status:
                self.failures.append(f"the head ended with status {ended.status}: {self._last_words(HEAD)}")
            node = self._clients.pop(ended.pid, None)
            if node is None or node not in self._waiting:
                continue
            if ended.status == 0 and not self.tool.goes_on:
                self._note_done(node)
                continue
            self._waiting.discard(node)
            self.failures.append(
                f"{node_name(node)} ended with status {ended.status}: {self._last_words(node_name(node))}"
            )
        if self.tool.goes_on:
            for name in os.listdir(_WORK / "marks"):
                if int(name) in self._waiting:
                    self._note_done(int(name))

    def _note_done(self, node: int) -> None:
        self._done[node] = time.monotonic()
        self._look()
        self._waiting.discard(node)

    def _look(self) -> None:
        """See what the nodes that are not done have spent their time on."""
        waiting = [node_name(node) for node in self._waiting if node in self._begun]
        self.limits.look(waiting, self.network.traffic(), self.processes.wanted(), time.monotonic())

    def _lose(self) -> None:
        for node in self.case.lost:
            if self.case.loss == "cut":
                self.network.cut(node_name(node))
            self.processes.kill_in(self.network.identity(node_name(node)))
            self._waiting.discard(node)
            self._done.pop(node, None)

    # Afterwards.

    def _check(self) -> None:
        """Compare the files of each node that is done with the payload."""
        landed = {self.stage.destination(node): node for node in self._done}
        for directory, wrong in self.stage.payload.check(list(landed)).items():
            self.failures.append(f"{node_name(landed[directory])} said that it had everything, but {wrong}")

    def _last_words(self, name: str) -> str:
        try:
            lines = self.stage.log(name).read_text(encoding="utf-8", errors="replace").split("\n")
        except FileNotFoundError:
            return ""
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "(it said nothing)")


def _make_room(case: Case) -> None:
    """Check that the files fit in memory: no disk is to be measured."""
    needed = (case.nodes + 1) * (expected_size(case) + case.files * 4096) + (64 << 20)
    meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
    available = int(meminfo.partition("MemAvailable:")[2].split()[0]) * 1024
    if needed > available * 0.8:
        raise RuntimeError(f"needs {needed >> 20} MiB of memory for the files, {available >> 20} MiB are available")
    options = f"size={needed},nr_inodes={(case.nodes + 1) * (2 * case.files + 1000)},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "bench", "/run"], check=True)
    _WORK.mkdir()
    # No name server can be reached from here; with none configured, whoever looks up a name knows that at once.
    if Path("/etc/resolv.conf").exists():
        (_WORK / "resolv.conf").touch()
        subprocess.run(["mount", "--bind", _WORK / "resolv.conf", "/etc/resolv.conf"], check=True)


def main(text: str) -> None:
    case = Case(**json.loads(text))
    _make_room(case)
    result = Measurement(case, TOOLS[case.tool]).run()
    print(result.encode())


if __name__ == "__main__":
    main(sys.argv[1])
