"""How many messages a worker passes on to the master for one host, so that no host can keep the master busy.

The master handles the messages of all workers one after the other. What a client writes to `offer`, `peers` and `log`
becomes a message each time. Up to a rate, messages pass at once. Above it they wait here, and a later message takes the
place of an earlier one that says the same less recently: only the last wants of a node count, for example. So what
waits is bounded by the number of files that clients have open.

Pure: the worker sends what `due` returns. Times are monotonic seconds.
"""

from __future__ import annotations

from collections import OrderedDict

from xget_lib import ipc
from xget_lib.dataclass import dataclass, field

RATE = 1000.0
"""Messages a second for one host through all workers. Each costs the master some 50 microseconds."""
LEAST_RATE = 100.0
"""And through one worker at least: a fast node has all its slots on one connection."""
BURST = 4000.0
"""Messages that pass at once after a quiet time: 2,000 nodes behind one address may start at the same time."""
_HOSTS = 10_000
"""Hosts without connections that are remembered, so that one cannot begin anew by connecting again."""

_Paced = (
    ipc.PeersOpened
    | ipc.NodeRegistered
    | ipc.NodeUnregistered
    | ipc.PeersReached
    | ipc.SlotAsked
    | ipc.SlotClosed
    | ipc.Wants
    | ipc.LogLine
    | ipc.StatusWanted
)
_Key = tuple[int, str, int]
"""Connection, what the message is about, slot."""


@dataclass
class _Host:
    tokens: float
    counted: float
    """When the tokens were right."""
    connections: int = 0
    waiting: OrderedDict[_Key, _Paced] = field(default_factory=OrderedDict)


class MessagePace:
    """Owned by the worker."""

    def __init__(self, workers: int) -> None:
        """The master has so many workers."""
        self._rate = max(RATE / workers, LEAST_RATE)
        self._burst = BURST
        self._hosts: dict[str, _Host] = {}
        self._former: OrderedDict[str, _Host] = OrderedDict()
        """Hosts without connections."""
        self._host_of: dict[int, str] = {}
        """By connection."""

    def connected(self, connection: int, host: str, now: float) -> None:
        """A connection of this host begins."""
        self._host_of[connection] = host
        state = self._hosts.get(host)
        if state is None:
            known = self._former.pop(host) if host in self._former else _Host(self._burst, now)
            state = self._hosts[host] = known
        state.connections += 1

    def ended(self, connection: int) -> None:
        """A connection has ended: what waits of it is not sent any more."""
        name = self._host_of.pop(connection)
        host = self._hosts[name]
        for key in [key for key in host.waiting if key[0] == connection]:
            del host.waiting[key]
        host.connections -= 1
        if not host.connections:
            self._former[name] = self._hosts.pop(name)
            if len(self._former) > _HOSTS:
                self._former.popitem(last=False)

    def passes(self, message: ipc.Message, now: float) -> bool:
        """Whether to send a message at once. Otherwise it waits here, until it is in `due`."""
        if not isinstance(message, _Paced):
            return True
        host = self._hosts[self._host_of[message.connection]]
        if not host.waiting and self._take(host, message, now):
            return True
        key = _key(message)
        host.waiting.pop(key, None)
        host.waiting[key] = message
        return False

    def due(self, now: float) -> list[ipc.Message]:
        """The messages to send now. They wait no longer."""
        due: list[ipc.Message] = []
        for host in self._hosts.values():
            while host.waiting and self._take(host, next(iter(host.waiting.values())), now):
                due.append(host.waiting.popitem(last=False)[1])
        return due

    @property
    def waits(self) -> bool:
        """Whether a message waits."""
        return any(host.waiting for host in self._hosts.values())

    def _take(self, host: _Host, message: _Paced, now: float) -> bool:
        host.tokens = min(self._burst, host.tokens + (now - host.counted) * self._rate)
        host.counted = now
        cost = _cost(message)
        if host.tokens < cost:
            return False
        host.tokens -= cost
        return True


def _key(message: _Paced) -> _Key:
    match message:
        case ipc.SlotAsked(connection, slot, _) | ipc.SlotClosed(connection, slot):
            return connection, "slot", slot
        case ipc.StatusWanted(connection, file):
            return connection, file, 0
    return message.connection, type(message).__name__, 0


def _cost(message: _Paced) -> float:
    """What handling it costs the master, compared with a small message."""
    match message:
        case ipc.Wants(_, chunks):
            return 1.0 + len(chunks) / 2048
        case ipc.NodeRegistered() | ipc.NodeUnregistered() | ipc.PeersOpened():
            return 4.0
        case ipc.StatusWanted():
            return 20.0
    return 1.0
