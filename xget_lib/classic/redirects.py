"""From where C clients take their files: the master's answers to reads of `redir`.

A C client takes a file from one server only, the one that the master named, and serves the file while it arrives. So
the clients of a file form a tree. The tree is fast if no server in it has more than a few readers, since these share
one link. It is safe if it is flat, since a client that loses its server loses the file. Hence the master sends each
client to the server with the fewest readers. Servers with fewer than `READERS` count as equal; of these, the one
nearest to the root is chosen. Nodes that hold everything are roots like the master, and are chosen before it; so is a C
client that has the whole file.

The master is a server like the others here, but no more than `max_direct` clients are sent to it while there is another
server.

A client that asks again for the same file did not get it, and is sent to another server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from xget_lib.dataclass import dataclass, field
from xget_lib.swarm.random_set import RandomSet

if TYPE_CHECKING:
    from random import Random

READERS = 2
"""Readers of one server. Two make a binary tree: each client has half of a link, and 1,000 clients are at most 10 steps
from the root."""
SAMPLE = 32
"""Servers that are compared, chosen at random if there are more."""
DOWNLOADS = 1024
"""Unfinished files of one client that are remembered."""
_DEEPEST = 64
"""The most steps from a server to the root. Clients may name each other as sources in a circle."""

Key = tuple[int, int]
"""Names a server: the number of its client, and the number of the `avail` that it wrote; 0 for a node."""
Address = tuple[str, int]


@dataclass(slots=True)
class _Server:
    key: Key
    file: bytes | None
    """None: every file."""
    address: Address
    source: Key | None = None
    """From where it takes the file; None if that is the master, or if it has the whole file."""
    depth: int = 0
    """Steps to a server that has the whole file."""
    readers: int = 0

    @property
    def client(self) -> int:
        return self.key[0]


@dataclass(slots=True)
class _Download:
    """A file that a client is taking from a server."""

    server: _Server | None
    """None: the master. A server that does not exist any more stays here until the client asks again or leaves."""
    refused: set[Key] = field(default_factory=set)
    """Servers that the client was sent to before."""


class Redirects:
    """The servers of all files, and which client takes which file from which server. Owned by the master's
    `ClassicTracker`.

    A client is a number, a file is any name of its path and content. `reachable(asker, server)` says whether one client
    can reach the other, `may_send(asker, server)` whether it may be sent there; it counts as sent then.
    """

    def __init__(
        self,
        max_direct: int,
        rng: Random,
        reachable: Callable[[int, int], bool],
        may_send: Callable[[int, int], bool],
    ) -> None:
        self._max_direct = max_direct
        self._random = rng
        self._reachable = reachable
        self._may_send = may_send
        self._servers: dict[Key, _Server] = {}
        self._by_address: dict[tuple[bytes | None, Address], Key] = {}
        self._by_file: dict[bytes, RandomSet[Key]] = {}
        self._nodes: RandomSet[Key] = RandomSet()
        self._serving: dict[int, dict[bytes, Key]] = {}
        self._downloads: dict[int, dict[bytes, _Download]] = {}
        self._from_master: dict[int, int] = {}
        """By client: how many files it takes from the master. Only clients that take some."""

    def relays(self) -> Iterator[tuple[int, Address, int]]:
        """Each C client that serves: its number, its address, and how many files it serves."""
        for client, keys in self._serving.items():
            yield client, self._servers[next(iter(keys.values()))].address, len(keys)

    # Events of clients.

    def ask(self, client: int, file: bytes) -> Address | None:
        """From where a client is to take a file; None: from the master. It counts as a reader there from now on."""
        downloads = self._downloads.setdefault(client, {})
        former = downloads.pop(file, None)
        download = _Download(None)
        if former is not None:
            self._account(client, former.server, -1)
            download.refused = former.refused | ({former.server.key} if former.server else set())
        server = download.server = self._choose(client, file, download.refused)
        self._account(client, server, 1)
        downloads[file] = download
        if len(downloads) > DOWNLOADS:
            self.end(client, next(iter(downloads)))
        return server.address if server else None

    def serve(self, client: int, avail: int, file: bytes, address: Address, source: Address | None) -> None:
        """A client serves a file at an address, and takes it itself from `source`; None: from the master.

        This replaces what the client said about the same file before.
        """
        download = self._downloads.get(client, {}).get(file)
        above = None
        if source is not None:
            above = self._server(file, source) or (download.server if download else None)
        if download is not None and above is not download.server:
            self._account(client, download.server, -1)
            self._account(client, above, 1)
            download.server = above
        key, former = (client, avail), self._serving.get(client, {}).get(file)
        server = self._servers[former] if former else None
        if server is None or (server.key, server.address) != (key, address):
            if server is not None:
                self.withdraw(server.key)
            server = self._servers[key] = _Server(key, file, address)
            self._by_address[file, address] = key
            self._by_file.setdefault(file, RandomSet()).add(key)
            self._serving.setdefault(client, {})[file] = key
        server.source, server.depth = (above.key, above.depth + 1) if above else (None, 1)

    def withdraw(self, key: Key) -> None:
        """The server with this key does not serve its file any more. There may be no such server."""
        server = self._servers.pop(key, None)
        if server is None:
            return
        if self._by_address.get((server.file, server.address)) == key:
            del self._by_address[server.file, server.address]
        if server.file is None:
            self._nodes.remove(key)
            return
        crowd, serving = self._by_file[server.file], self._serving[server.client]
        crowd.remove(key)
        if not crowd:
            del self._by_file[server.file]
        del serving[server.file]
        if not serving:
            del self._serving[server.client]

    def end(self, client: int, file: bytes) -> None:
        """A client has stopped taking a file."""
        downloads = self._downloads.get(client, {})
        download = downloads.pop(file, None)
        if download is not None:
            self._account(client, download.server, -1)
        if not downloads:
            self._downloads.pop(client, None)

    def whole(self, client: int, file: bytes) -> int | None:
        """A client has the whole file. Returns the client, or node, that it has taken it from; None: the master."""
        download = self._downloads.get(client, {}).get(file)
        source = download.server.client if download is not None and download.server is not None else None
        self.end(client, file)
        key = self._serving.get(client, {}).get(file)
        if key is not None:
            self._servers[key].source, self._servers[key].depth = None, 0
        return source

    def leave(self, client: int) -> None:
        """The connection of a client or node has ended."""
        for file in list(self._downloads.get(client, ())):
            self.end(client, file)
        for key in [*self._serving.get(client, {}).values(), (client, 0)]:
            self.withdraw(key)

    # Events of nodes.

    def add_node(self, client: int, address: Address) -> None:
        """A node holds every file, and serves at this address."""
        key = (client, 0)
        if key not in self._servers:
            self._servers[key] = _Server(key, None, address)
            self._by_address[None, address] = key
            self._nodes.add(key)

    def remove_node(self, client: int) -> None:
        """A node does not hold every file any more. It may never have."""
        self.withdraw((client, 0))

    # Decisions.

    def _choose(self, client: int, file: bytes, refused: set[Key]) -> _Server | None:
        servers = [self._servers[key] for key in self._candidates(file) if key not in refused]
        fit = [server for server in servers if server.client != client and self._reachable(client, server.client)]
        from_master = len(self._from_master.keys() - {client})
        for server in sorted((server for server in fit if not self._waits_for(server, client)), key=_rank):
            if from_master < self._max_direct and (_crowding(from_master), 0) < _rank(server)[:2]:
                break
            if self._may_send(client, server.client):
                return server
        return None

    def _candidates(self, file: bytes) -> list[Key]:
        relays = self._by_file.get(file)
        nodes = self._nodes.sample(SAMPLE, self._random)
        return nodes + relays.sample(SAMPLE, self._random) if relays else nodes

    def _waits_for(self, server: _Server, client: int) -> bool:
        """Whether a server takes its file, directly or through others, from this client, as far as is known."""
        above: _Server | None = server
        for _ in range(_DEEPEST):
            if above is None or not above.depth:
                return False
            if above.client == client:
                return True
            above = self._servers.get(above.source) if above.source else None
        return True

    def _server(self, file: bytes | None, address: Address) -> _Server | None:
        key = self._by_address.get((file, address)) or self._by_address.get((None, address))
        return self._servers[key] if key else None

    def _account(self, client: int, server: _Server | None, change: int) -> None:
        if server is None:
            self._from_master[client] = self._from_master.get(client, 0) + change
            if not self._from_master[client]:
                del self._from_master[client]
        else:
            server.readers += change


def _crowding(readers: int) -> int:
    """By how many readers a server would exceed `READERS`, with one reader more."""
    return max(0, readers + 1 - READERS)


def _rank(server: _Server) -> tuple[int, int, int]:
    """The lower, the better."""
    return _crowding(server.readers), server.depth, server.readers
