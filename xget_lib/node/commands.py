"""Commands to a client from its own machine: `xget.py status` and `xget.py stop`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent

from xget_lib.errors import Failed
from xget_lib.net import local_commands
from xget_lib.net.local_commands import UNKNOWN
from xget_lib.node.child import Child
from xget_lib.process.local_processes import listen_as_client, note_of
from xget_lib.process.runtime_directory import Listening
from xget_lib.report.log import LOGGER


class NodeCommands:
    """Takes them from begin to end of a client. Where there is no directory for its socket, nobody can give any."""

    def __init__(self, child: Child, stop: Callable[[], None]) -> None:
        self._child = child
        self._stop = stop
        self._listening: Listening | None = None
        status = child.status()
        try:
            self._listening = listen_as_client(child.port, status["path"], status["master"])
        except Failed as error:
            LOGGER.warning("no other process of this machine can find this client: %s", error)
            return
        self._serving = gevent.spawn(local_commands.serve, self._listening.sock, self._perform)

    def role_changed(self) -> None:
        """The download is done: others are to know, also while this process hangs."""
        if self._listening is not None:
            status = self._child.status()
            try:
                self._listening.set_note(note_of(self._child.role, self._child.port, status["path"], status["master"]))
            except OSError as error:
                LOGGER.debug("its note is not up to date: %s", error)

    @property
    def directories(self) -> list[str]:
        """Where `close` removes names."""
        return [self._listening.directory] if self._listening is not None else []

    def close(self) -> None:
        """Take no more commands."""
        if self._listening is not None:
            self._serving.kill()
            self._listening.close()

    def _perform(self, command: Any) -> Iterator[dict[str, Any]]:
        match command:
            case {"command": "status"}:
                yield dict(self._child.status())
            case {"command": "stop"}:
                yield from local_commands.stopping(self._stop)
            case _:
                yield UNKNOWN
