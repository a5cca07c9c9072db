"""What the files of the namespace `classic` ask of their server. A child needs no more; `worker` has the rest.

C clients that the master sent to a child take their files there. They tell the master, not the child, what they have
and what they serve.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import gevent

from xget_lib.classic import tree
from xget_lib.classic.checksums import Checksums
from xget_lib.classic.files import ME, AvailLine, Regular
from xget_lib.errors import NinepError
from xget_lib.extensions import Host
from xget_lib.net.server import Client
from xget_lib.ninep.file import File
from xget_lib.serve.served import NOT_READY, Served
from xget_lib.serve.synthetic import DeferredText

_PATIENCE = 2.0
"""Seconds that C clients have to ask for more of what they are downloading, and to get the error."""
_CHECK_EVERY = 0.02


class Namespace:
    """What all connections of a process share. Owned by the process."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.checksums = Checksums()
        self.ending = False
        """Whether this server is about to end. Then it refuses all reads of `data`."""
        self.downloads = 0
        """The number of open `data` files."""

    def connect(self, client: Client) -> Callable[[], File]:
        """See `net.server.Namespace`."""
        return partial(tree.tree, Backend(self, client))

    def drain(self) -> None:
        """The server is about to end. Returns when no `data` is open any more, or after `_PATIENCE`.

        A C client takes the end of a connection for the end of the file, so it must get an error before.
        """
        self.ending = True
        deadline = time.monotonic() + _PATIENCE
        for client in list(self.host.clients):
            client.retry()
        while self.downloads and time.monotonic() < deadline:
            gevent.sleep(_CHECK_EVERY)


class Backend:
    """What the files of one connection ask for, at a child. Each file of the connection has the same backend."""

    def __init__(self, namespace: Namespace, client: Client) -> None:
        self.namespace = namespace
        self._client = client

    def newest(self) -> Served:
        """The newest generation. Raises NinepError while there is none."""
        newest = self.namespace.host.served
        if newest is None:
            raise NinepError(*NOT_READY)
        return newest

    def redirect(self, file: Regular, answer: DeferredText) -> None:
        """Put into the answer from which server the client is to read this file."""
        answer.put(ME)

    def checksum(self, file: Regular, answer: DeferredText) -> None:
        """Put the checksum into the answer, or the error because of which there is none."""
        self.namespace.checksums.ask(self._client.account.host, file, answer, self._client.retry)

    def opened(self, file: Regular) -> None:
        """`data` was opened."""
        self.namespace.downloads += 1

    def closed(self, file: Regular) -> None:
        """`data` was clunked."""
        self.namespace.downloads -= 1

    def remark(self, line: str) -> None:
        """Write a line of the client to the log."""
        self.namespace.host.remark(self._client, line)

    # What a worker reports to the master. A child does nothing.

    def complete(self, file: Regular) -> None:
        """The client has all of this file, from whatever server: it reads the checksum."""

    def available(self, avail: int, file: Regular, written: AvailLine) -> None:
        """The client serves this file. `avail` is the number of the open file `avail` to which it wrote this."""

    def unavailable(self, avail: int) -> None:
        """The client does not serve that file any more."""

    def hidden(self, generation: bytes, path: bytes) -> None:
        """This path of the generation is not shown because of its name."""
