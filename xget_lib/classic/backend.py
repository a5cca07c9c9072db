"""What a worker and a child have in common behind the namespace `classic`."""

from __future__ import annotations

from xget_lib.classic.checksums import Checksums
from xget_lib.classic.drain import drain
from xget_lib.classic.files import Regular
from xget_lib.extensions import Host
from xget_lib.net.server import Client
from xget_lib.serve.synthetic import Answered


class Namespace:
    """What all connections of a process share. Owned by the process."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.checksums = Checksums()
        self.ending = False
        self.downloads = 0
        """How many times a `data` is open."""

    def drain(self) -> None:
        """The server ends: tell C clients that the rest of their files will not come."""
        self.ending = True
        drain(self.host.clients, lambda: self.downloads > 0)


class Backend:
    """The part of `ClassicBackend` that is the same in a worker and a child. One for each connection."""

    def __init__(self, namespace: Namespace, client: Client) -> None:
        self.host = namespace.host
        self._namespace = namespace
        self._client = client

    @property
    def ending(self) -> bool:
        return self._namespace.ending

    def checksum(self, file: Regular, answer: Answered) -> None:
        self._namespace.checksums.ask(file, answer, self._client.retry)

    def opened(self, file: Regular) -> None:
        self._namespace.downloads += 1

    def closed(self, file: Regular) -> None:
        self._namespace.downloads -= 1

    def remark(self, line: str) -> None:
        self._namespace.host.remark(self._client, line)
