"""The messages between worker and master about C clients. A `file` is a key of path and content (`Regular.key`)."""

from __future__ import annotations

from xget_lib.ipc import Message, message

# Worker to master.


@message
class Redirect(Message):
    """A client asks from where to take a file. `redirect` is a number for the answer."""

    connection: int
    redirect: int
    file: bytes


@message
class Available(Message):
    """A client serves a file, on this port of its address. It takes the file from `source` itself; "" is this server.

    `avail` is the number of the open file `avail` to which the client wrote this.
    """

    connection: int
    avail: int
    file: bytes
    port: int
    source: str
    source_port: int


@message
class Unavailable(Message):
    """The client does not serve that file any more."""

    connection: int
    avail: int


@message
class Taken(Message):
    """A client has stopped taking a file that it asked for with Redirect. `whole`: it has all of the file."""

    connection: int
    file: bytes
    whole: bool


# Master to worker.


@message
class Redirected(Message):
    """The answer to Redirect: the text of `redir`."""

    connection: int
    redirect: int
    text: bytes
