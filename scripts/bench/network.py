"""A head and some nodes, each on a link of its own to one switch: network namespaces, joined by a bridge.

                       bridge (this namespace, the switch)
                     /        |        \\
                  head      node0     node1  ...          ports of the switch, named as the namespace behind them
                    |         |         |
                  eth0      eth0      eth0                 10.77.0.1, 10.77.1.0, 10.77.1.1, ...

Both ends of every link are shaped to its rate: what a node sends on its eth0, what it receives on the switch's port.
In front of each, flows take turns, as fq_codel does it on a real host but not every kernel has it: one queue for all
would have every request wait for everybody's bulk, and the benchmark measure only that. Flows are told apart by their
ports, 64 ways, so that a flow stays in order. (Letting all small packets go first is simpler, and unfair: they then
overtake the bulk of their own flow. udpcast sends a sixth of everything again, and BitTorrent, with its requests and
data on one connection, loses a sixth of its speed.) Only what carries no data, acknowledgements above all, goes first.

With a latency, netem delays what comes to the switch. Where the kernel has no netem, `delay` takes the place of the
bridge: a process that passes frames on later. Nodes know each other's hardware addresses then. Where there are miles
between machines, they ask only their router for one.

Nothing is removed here: all of it goes with the network and mount namespaces that `isolation` runs this in. `/run` is
a private tmpfs by now, so the names cannot collide with anybody's.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .cases import Case

HEAD = "head"
_BULK_QUEUE = 0.06
"""Seconds that a full bulk queue takes to drain."""
_BUCKETS = 8
"""Flows are told apart by so many values of each of their ports. A power of two."""
_SEGMENTS = 16
"""Full packets that may travel as one, here 24 KB. With 4 the emulation itself took as much processor time as 32 nodes,
and two processors were its limit; more make slow links bursty. Real hosts send up to 44 as one,"""
_SEGMENTS_FAST = 44
"""and so do these above 1 Gbit/s."""
_FRAME = 1514
_UNSHAPED_MTU = 65535
"""About as on the loopback device: without a limit, it is not the network that is measured."""

_CONGESTION_CONTROL = "cubic"
"""Set on the route: a namespace cannot set as default what the machine does not allow for everyone."""
_SETTINGS = {
    # What Linux has had as defaults for years; a machine tuned for something else would not be comparable.
    "net/ipv4/tcp_rmem": "4096 131072 6291456",
    "net/ipv4/tcp_wmem": "4096 16384 4194304",
    # What one connection learned of the path must not be the next one's luck.
    "net/ipv4/tcp_no_metrics_save": "1",
}


_DELAY = "delay"
_DELAYED = f"""
    qdisc add dev {{0}} ingress
    filter add dev {{0}} ingress protocol all u32 match u32 0 0 action mirred egress redirect dev {_DELAY}
"""
"""Commands for `tc -batch`: what comes to a port of the switch goes through the device that delays, and then on."""


def node_name(node: int) -> str:
    return f"node{node}"


def address(name: str) -> str:
    """The address of a namespace, by name."""
    if name == HEAD:
        return "10.77.0.1"
    node = int(name.removeprefix("node"))
    return f"10.77.{1 + node // 250}.{1 + node % 250}"


def _hardware_address(name: str) -> str:
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address(name).split("."))


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes that have passed the link of a machine so far, link headers included."""

    sent: int
    received: int


class NetworkError(Exception):
    """A command of iproute2's has failed: which, and what it says."""


def _run(*command: str, given: str = "") -> None:
    """Run a command of iproute2's. Raises NetworkError."""
    done = subprocess.run(
        command, input=given, text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        raise NetworkError(f"{shlex.join(command)}: {' '.join(done.stdout.split())}")


def _segments(rate: int) -> int:
    return _SEGMENTS_FAST if rate > 1e9 else _SEGMENTS


def shaping(device: str, rate: int) -> str:
    """Commands for `tc -batch` that shape what leaves by `device` to `rate` bit/s."""
    burst = max(rate // 8 // 500, 2 * _segments(rate) * _FRAME)  # 2 ms
    queue = max(int(rate / 8 * _BULK_QUEUE), 16 * _FRAME)
    whole = f"ceil {rate}bit burst {burst} cburst {burst} quantum {_FRAME}"
    lines = [
        "qdisc add dev {} root handle 1: htb default 20",
        f"class add dev {{}} parent 1: classid 1:1 htb rate {rate}bit {whole}",
        # What is urgent is entitled to all of the link; flows borrow what that leaves over, each in its turn.
        f"class add dev {{}} parent 1:1 classid 1:20 htb prio 0 rate {rate}bit {whole}",
        "qdisc add dev {} parent 1:20 handle 20: pfifo limit 2000",
        # TCP, shorter than 128 bytes, and not "push": it carries no data, so it can overtake nothing of its own flow.
        "filter add dev {} parent 1: protocol ip prio 1 u32"
        " match ip protocol 6 0xff match u16 0 0xff80 at 2 match u8 0 0x08 at 33 flowid 1:20",
        # All else by the last bits of its two ports: first the sender's, then the receiver's.
        f"filter add dev {{}} parent 1: protocol ip prio 2 handle 2: u32 divisor {_BUCKETS}",
        f"filter add dev {{}} parent 1: protocol ip prio 2 u32"
        f" match u32 0 0 link 2: hashkey mask 0x{_BUCKETS - 1:04x}0000 at 20",
    ]
    for sender in range(_BUCKETS):
        table = 0x10 + sender
        lines += [
            f"filter add dev {{}} parent 1: protocol ip prio 2 handle {table:x}: u32 divisor {_BUCKETS}",
            f"filter add dev {{}} parent 1: protocol ip prio 2 u32 ht 2:{sender:x}:"
            f" match u32 0 0 link {table:x}: hashkey mask 0x{_BUCKETS - 1:08x} at 20",
        ]
        for receiver in range(_BUCKETS):
            flow = 0x100 + sender * _BUCKETS + receiver
            lines += [
                f"class add dev {{}} parent 1:1 classid 1:{flow:x} htb prio 1 rate 8kbit {whole}",
                f"qdisc add dev {{}} parent 1:{flow:x} handle {flow:x}: bfifo limit {queue}",
                f"filter add dev {{}} parent 1: protocol ip prio 2 u32 ht {table:x}:{receiver:x}:"
                f" match u32 0 0 flowid 1:{flow:x}",
            ]
    return "\n".join(line.format(device) for line in lines) + "\n"


def _netem(latency: float) -> bool:
    """Make a device that delays what comes to it. Returns whether the kernel can."""
    netem = ("root", "netem", "delay", f"{latency * 1e6:.0f}us", "limit", "1000000")
    try:
        _run("ip", "link", "add", _DELAY, "type", "ifb")
        _run("ip", "link", "set", _DELAY, "up")
        _run("tc", "qdisc", "add", "dev", _DELAY, *netem)
    except NetworkError:
        return False
    return True


def _links(name: str, rate: int, *, bridged: bool) -> tuple[str, str]:
    """Commands for `ip -batch` that make a link: on the switch, and at its other end."""
    offload = f"mtu {_UNSHAPED_MTU}"
    if rate:
        segments = _segments(rate)
        offload = f"gso_max_size {min(segments * (_FRAME - 66) + 66, 65536)} gso_max_segs {segments}"
    here = f"""
        link add {name} type veth peer name eth0 address {_hardware_address(name)} netns {name}
        link set {name} {"master switch " * bridged}{offload} up
    """
    there = f"""
        link set lo up
        address add {address(name)}/16 broadcast + dev eth0 noprefixroute
        link set eth0 {offload} up
        route add 10.77.0.0/16 dev eth0 src {address(name)} congctl {_CONGESTION_CONTROL}
        route add default dev eth0
    """
    return here, there


class Network:
    """The switch and all nodes. Create it once, in an empty network namespace."""

    def __init__(self, case: Case) -> None:
        self._latency = case.latency
        self.names = [HEAD, *map(node_name, range(case.nodes))]
        self.rates = dict.fromkeys(self.names, case.rate)
        """Bits per second of every link; 0 is not limited."""
        if case.slow:
            self.rates[self.names[-1]] = case.rate // 10
        Path("/run/netns").mkdir(exist_ok=True)
        _run("ip", "link", "set", "lo", "up")
        self._bridged = not case.latency or _netem(case.latency)
        if self._bridged:
            # Without a querier, a bridge that snoops forgets after minutes who wants multicast.
            _run("ip", "link", "add", "switch", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
            _run("ip", "link", "set", "switch", "up")
        for name, rate in self.rates.items():
            self._plug(name, rate)

    def delaying(self, ready: Path) -> Sequence[str] | None:
        """The command of the switch, which makes a file when it is ready. None if the switch is a bridge."""
        if self._bridged:
            return None
        return (sys.executable, "-m", "scripts.bench.delay", str(self._latency), str(ready), *self.names)

    def _plug(self, name: str, rate: int) -> None:
        here, there = _links(name, rate, bridged=self._bridged)
        _run("ip", "netns", "add", name)
        _run("ip", "-batch", "-", given=here)
        _run("ip", "-n", name, "-batch", "-", given=there)
        if self._latency:
            if self._bridged:
                _run("tc", "-batch", "-", given=_DELAYED.format(name))
            known = "".join(
                f"neighbour add {address(other)} lladdr {_hardware_address(other)} dev eth0\n"
                for other in self.names
                if other != name
            )
            _run("ip", "-n", name, "-batch", "-", given=known)
        if rate:
            _run("tc", "-batch", "-", given=shaping(name, rate))
            _run("tc", "-n", name, "-batch", "-", given=shaping("eth0", rate))
        settings = "".join(f"echo '{value}' >/proc/sys/{key}\n" for key, value in _SETTINGS.items())
        _run(*inside(name), "sh", "-e", given=settings)

    def cut(self, name: str) -> None:
        """Cut the link of a node silently, as in a power failure."""
        _run("ip", "link", "set", name, "down")

    def traffic(self) -> dict[str, Traffic]:
        """By machine."""
        found = {}
        for line in Path("/proc/self/net/dev").read_text(encoding="ascii").splitlines():
            device, _, counters = line.partition(":")
            if (name := device.strip()) in self.rates:
                values = counters.split()
                found[name] = Traffic(sent=int(values[0]), received=int(values[8]))  # of the port of the switch
        return found

    def identity(self, name: str) -> int:
        """The number by which the kernel knows a namespace: the inode that /proc/PID/ns/net leads to."""
        return Path("/run/netns", name).stat().st_ino


def inside(name: str) -> tuple[str, ...]:
    """The prefix of a command that runs on a node. It replaces itself by the command, in the same process."""
    return ("nsenter", f"--net=/run/netns/{name}", "--")
