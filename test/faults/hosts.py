"""Machines on one machine: network namespaces that are connected by a bridge. They end with the process namespace.

Needs root, and a network namespace that nobody else uses.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

_BRIDGE = "bridge"
_BURST = "128kb"


def do(*command: str | Path) -> None:
    """Runs a command that must succeed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"{command}: {done.stderr}"


class Network:
    """Hosts 10.77.0.2 and so on; this process has 10.77.0.1."""

    def __init__(self) -> None:
        self.hosts: list[Host] = []
        do("ip", "link", "set", "lo", "up")
        do("ip", "link", "add", _BRIDGE, "type", "bridge")
        do("ip", "link", "set", _BRIDGE, "up")
        do("ip", "address", "add", "10.77.0.1/24", "dev", _BRIDGE)

    def host(self, megabits: int) -> Host:
        """A new host, that sends with so many megabits per second."""
        host = Host(len(self.hosts) + 2, megabits)
        self.hosts.append(host)
        return host

    def close(self) -> None:
        for host in self.hosts:
            host.close()
        do("ip", "link", "delete", _BRIDGE)


class Host:
    """A network namespace with one link. `prefix` are the words before a command that make it run there."""

    def __init__(self, number: int, megabits: int) -> None:
        self.address = f"10.77.0.{number}"
        self._link = f"host{number}"
        self._megabits = megabits
        command = ["unshare", "--net", "sh", "-c", "echo ready; exec sleep infinity"]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        self.prefix = ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net"]
        do("ip", "link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", str(self._holder.pid))
        do("ip", "link", "set", self._link, "master", _BRIDGE, "up")
        self.inside("ip", "link", "set", "lo", "up")
        self.inside("ip", "link", "set", "eth0", "up")
        self.inside("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.limit(megabits)

    def inside(self, *command: str) -> None:
        do(*self.prefix, *command)

    def plug(self, *, connected: bool) -> None:
        """Pull the cable out, or put it back: the host notices it."""
        do("ip", "link", "set", self._link, "up" if connected else "down")

    def silence(self, *, silent: bool) -> None:
        """Lose all packets in the midst of the network, where nobody notices it, or not any more."""
        do("ip", "link", "set", "dev", self._link, "type", "bridge_slave", "state", "0" if silent else "3")

    def limit(self, megabits: float | None = None) -> None:
        """The rate of the link in both directions: None is the usual one."""
        rate = f"{megabits or self._megabits}mbit"
        words = ["root", "tbf", "rate", rate, "burst", _BURST, "latency", "300ms"]
        self.inside("tc", "qdisc", "replace", "dev", "eth0", *words)
        if megabits is not None:
            do("tc", "qdisc", "replace", "dev", self._link, *words)
        else:
            subprocess.run(["tc", "qdisc", "delete", "dev", self._link, "root"], capture_output=True, check=False)

    def refuse(self, other: Host, *, refused: bool) -> None:
        """This host cannot reach another one, or can again."""
        self.inside("ip", "route", "add" if refused else "delete", "blackhole", f"{other.address}/32")

    def listening(self) -> list[str]:
        """The local addresses of sockets that listen here, in hexadecimal, and the names of abstract sockets."""
        net = Path(f"/proc/{self._holder.pid}/net")
        rows = [line.split() for name in ("tcp", "tcp6") for line in (net / name).read_text().splitlines()[1:]]
        names = [line.split()[-1] for line in (net / "unix").read_text().splitlines()[1:] if "@" in line]
        return [row[1] for row in rows if row[3] == "0A"] + names

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
