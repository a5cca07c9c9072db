"""Optional namespaces: packages that an installation may lack. Only the table here names these packages.

A package in the table has a module `extension` with three functions (see `Extension`), one for each kind of process.
Each server calls the function for its kind of process, and adds the result to its own namespaces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, cast

from xget_lib.serve.served import Serving

if TYPE_CHECKING:
    from xget_lib import ipc
    from xget_lib.net.server import Client
    from xget_lib.ninep.file import File

_PACKAGES = {"classic": "xget_lib.classic"}
"""The package of each namespace, by aname."""


class Host(Serving, Protocol):
    """What a child or worker does for an extension."""

    @property
    def clients(self) -> Iterable[Client]:
        """All connected clients, of every namespace."""

    def remark(self, client: Client, line: str) -> None:
        """Write a line of a client to the log."""


class WorkerHost(Host, Protocol):
    def send(self, message: ipc.Message) -> None:
        """Send a message to the master."""


class MasterHost(Protocol):
    """What a master does for an extension."""

    def address_of(self, connection: int) -> str:
        """The address of the client of a connection; "" if the connection has ended."""

    def send(self, connection: int, message: ipc.Message) -> None:
        """Send a message to the worker that serves a connection."""


class ChildSide(Protocol):
    """An extension in a child."""

    def connect(self, client: Client) -> Callable[[], File]:
        """See `net.server.Namespace`."""

    def drain(self) -> None:
        """The server is about to end: tell the clients. Returns when they know, or after a time limit."""


class WorkerSide(ChildSide, Protocol):
    """An extension in a worker."""

    def handle(self, message: ipc.Message) -> bool:
        """Act on a message of the master. Returns False if it is not for this extension."""


class MasterSide(Protocol):
    """An extension in the master."""

    def handle(self, message: ipc.Message) -> bool:
        """Act on a message of a worker. Returns False if it is not for this extension."""

    def ended(self, connection: int) -> None: ...

    def node(self, connection: int, address: str, port: int, *, whole: bool) -> None:
        """A node serves at this address. `whole`: it holds all of the newest generation."""

    def status(self) -> Mapping[str, Any]:
        """For the master's status."""


class Extension(Protocol):
    """The module `extension` of a package."""

    def child_side(self, host: Host) -> ChildSide: ...

    def worker_side(self, host: WorkerHost) -> WorkerSide: ...

    def master_side(self, host: MasterHost, max_direct: int) -> MasterSide: ...


def extensions() -> dict[str, Extension]:
    """The installed extensions, by aname."""
    return {
        aname: cast(Extension, import_module(f"{package}.extension"))
        for aname, package in _PACKAGES.items()
        if (found := find_spec(package)) and found.origin  # without an origin it is a directory with nothing in it
    }
