"""Everything that can happen in a master. Each event is put into one queue, and the master's loop acts on it."""

from __future__ import annotations

from xget_lib import ipc
from xget_lib.dataclass import dataclass
from xget_lib.errors import XGetError
from xget_lib.master.commands import Reload
from xget_lib.master.worker_process import WorkerProcess


@dataclass(frozen=True, slots=True)
class SignalReceived:
    number: int


@dataclass(frozen=True, slots=True)
class CannotGoOn:
    """The master cannot do its work any longer."""

    error: XGetError


@dataclass(frozen=True, slots=True)
class Connected:
    """A client connected, and a worker serves it."""

    connection: int
    address: str


@dataclass(frozen=True, slots=True)
class ConnectionEnded:
    """A connection ended, perhaps because its worker died."""

    connection: int


@dataclass(frozen=True, slots=True)
class WorkerStarted:
    """The pool has one more worker."""


@dataclass(frozen=True, slots=True)
class ReloadWanted:
    """Somebody runs `xget.py reload`."""

    reload: Reload


@dataclass(frozen=True, slots=True)
class StateDue:
    """It is time to tell the service manager how the master does."""


@dataclass(frozen=True, slots=True)
class Received:
    """A worker sent a message."""

    worker: WorkerProcess
    message: ipc.Message


Event = SignalReceived | CannotGoOn | Connected | ConnectionEnded | WorkerStarted | ReloadWanted | StateDue | Received
