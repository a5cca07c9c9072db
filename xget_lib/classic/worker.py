"""The namespace `classic` of a worker. It sends messages to ask the master for what only the master knows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from weakref import WeakValueDictionary

from xget_lib import ipc
from xget_lib.classic import messages, tree
from xget_lib.classic.backend import Backend, Namespace
from xget_lib.classic.files import AvailLine, Regular
from xget_lib.classic.redirects import DOWNLOADS
from xget_lib.errors import printable
from xget_lib.extensions import WorkerHost
from xget_lib.net.server import Client
from xget_lib.ninep.file import File
from xget_lib.report.log import LOGGER
from xget_lib.serve.synthetic import DeferredText


class WorkerNamespace(Namespace):
    """The namespace in a worker."""

    def __init__(self, host: WorkerHost) -> None:
        super().__init__(host)
        self.send = host.send
        self._backends: WeakValueDictionary[int, ClassicWorkerBackend] = WeakValueDictionary()
        """By number of the connection, while its session exists."""
        self._generation = b""
        self._hidden: set[bytes] = set()
        """Paths of this generation that the log has named."""

    def connect(self, client: Client) -> Callable[[], File]:
        """See `net.server.Namespace`."""
        made = self._backends[client.number] = ClassicWorkerBackend(self, client)
        return partial(tree.tree, made)

    def handle(self, message: ipc.Message) -> bool:
        """Act on a message of the master. Returns False if it is not for this namespace."""
        if not isinstance(message, messages.Redirected):
            return False
        backend = self._backends.get(message.connection)
        if backend is not None:  # else the connection has ended
            backend.redirected(message)
        return True

    def hidden(self, generation: bytes, path: bytes) -> None:
        """Warn of a path that C clients are not shown, once for each generation."""
        if generation != self._generation:
            self._generation, self._hidden = generation, set()
        if path not in self._hidden:
            self._hidden.add(path)
            LOGGER.warning("not served to C clients, which cannot use this name: %s", printable(path))


class ClassicWorkerBackend(Backend):
    """What the files of one connection ask for, at a worker."""

    _numbers = count(1)
    """Of requests to the master, unique in the process."""

    def __init__(self, namespace: WorkerNamespace, client: Client) -> None:
        super().__init__(namespace, client)
        self._worker = namespace
        self._redirects: dict[int, DeferredText] = {}
        """By number of the request: what the master has not answered yet."""
        self._downloads: dict[bytes, bytes] = {}
        """By path: the keys of files that the client has asked for, and may not have yet."""

    def redirect(self, file: Regular, answer: DeferredText) -> None:
        self._downloads.pop(file.path, None)
        key = self._downloads[file.path] = file.key()
        if len(self._downloads) > DOWNLOADS:
            del self._downloads[next(iter(self._downloads))]
        number = next(ClassicWorkerBackend._numbers)
        self._redirects[number] = answer
        self._worker.send(messages.Redirect(self._client.number, number, key))

    def redirected(self, message: messages.Redirected) -> None:
        """The master answers a `redirect`."""
        answer = self._redirects.pop(message.redirect, None)
        if answer is not None:
            answer.put(message.text)
        self._client.retry()

    def closed(self, file: Regular) -> None:
        super().closed(file)
        self._ended(file, whole=False)

    def complete(self, file: Regular) -> None:
        self._ended(file, whole=True)

    def available(self, avail: int, file: Regular, written: AvailLine) -> None:
        source, source_port = written.source or ("", 0)
        self._worker.send(messages.Available(self._client.number, avail, file.key(), written.port, source, source_port))

    def unavailable(self, avail: int) -> None:
        self._worker.send(messages.Unavailable(self._client.number, avail))

    def hidden(self, generation: bytes, path: bytes) -> None:
        self._worker.hidden(generation, path)

    def _ended(self, file: Regular, *, whole: bool) -> None:
        key = self._downloads.pop(file.path, None)
        if key is not None:
            self._worker.send(messages.Taken(self._client.number, key, whole))
