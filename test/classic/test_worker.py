"""The namespace of C clients in a worker: what it asks the master, and what becomes of the answers."""

from __future__ import annotations

import gc
import logging
from pathlib import Path

import pytest

from test.support.backends import served
from test.support.downloads import manifest_of
from xget_lib import ipc
from xget_lib.classic import messages
from xget_lib.classic.files import Regular
from xget_lib.classic.redirects import DOWNLOADS
from xget_lib.classic.worker import ClassicWorkerBackend, WorkerNamespace
from xget_lib.net.server import Client
from xget_lib.ninep.file import WAITING, File
from xget_lib.ninep.messages import OREAD
from xget_lib.serve.served import Served

CLIENT = 7


class Worker:
    """The host of the namespace. `sent` are the messages to the master, in order."""

    debug_level = 0

    def __init__(self, content: Served) -> None:
        self.served: Served | None = content
        self.clients: list[Client] = []
        self.sent: list[ipc.Message] = []

    def send(self, message: ipc.Message) -> None:
        self.sent.append(message)

    def remark(self, client: Client, line: str) -> None:
        raise AssertionError


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    for name in ("image", "other", "log"):
        (tmp_path / name).write_bytes(name.encode())
    return Worker(served(tmp_path, manifest_of(tmp_path)))


def image(worker: Worker) -> Regular:
    assert worker.served is not None
    return Regular.find(worker.served, b"image")


def walk(root: File, *names: str) -> File:
    for name in names:
        root = root.walk(name)
    return root


def test_a_redirect_is_asked_of_the_master_and_answered(worker: Worker) -> None:
    namespace = WorkerNamespace(worker)
    root = namespace.connect(Client(CLIENT, "10.0.0.1", 1))()
    redir = walk(root, "image", "redir").open(OREAD)
    assert redir.read(0, 100) is WAITING
    (asked,) = worker.sent
    assert isinstance(asked, messages.Redirect)
    assert (asked.connection, asked.file) == (CLIENT, image(worker).key())
    namespace.handle(messages.Redirected(CLIENT, asked.redirect + 1, b"of another request"))
    assert redir.read(0, 100) is WAITING
    namespace.handle(messages.Redirected(CLIENT, asked.redirect, b"10.0.0.2!4002"))
    assert redir.read(0, 100) == b"10.0.0.2!4002"


def test_an_answer_for_a_connection_that_has_ended_is_dropped(worker: Worker) -> None:
    namespace = WorkerNamespace(worker)
    redir = walk(namespace.connect(Client(CLIENT, "10.0.0.1", 1))(), "image", "redir").open(OREAD)
    redir.read(0, 100)
    del redir
    gc.collect()
    namespace.handle(messages.Redirected(CLIENT, 1, b"me"))
    assert not namespace._backends


@pytest.mark.parametrize("whole", [True, False])
def test_the_worker_reports_once_that_a_client_has_stopped_taking_a_file(worker: Worker, whole: bool) -> None:
    file, backend = image(worker), ClassicWorkerBackend(WorkerNamespace(worker), Client(CLIENT, "10.0.0.1", 1))
    backend.opened(file)
    backend.closed(file)
    assert worker.sent == [], "the master was not asked for it"
    backend.redirect(file, None)  # type: ignore[arg-type]  # nobody answers here
    backend.opened(file)
    if whole:
        backend.complete(file)
    backend.closed(file)
    assert worker.sent[1:] == [messages.Taken(CLIENT, file.key(), whole)]


def test_only_so_many_unfinished_files_of_a_client_are_remembered(worker: Worker) -> None:
    backend = ClassicWorkerBackend(WorkerNamespace(worker), Client(CLIENT, "10.0.0.1", 1))
    file = image(worker)
    for number in range(DOWNLOADS + 1):
        other = Regular(file.served, b"%d" % number, file.number)
        backend.redirect(other, None)  # type: ignore[arg-type]
    assert len(backend._downloads) == DOWNLOADS


def test_a_name_that_is_not_shown_is_logged_once_for_each_generation(
    worker: Worker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "xget")
    namespace = WorkerNamespace(worker)
    for number in range(3):
        list(namespace.connect(Client(number, "10.0.0.1", 1))().open(OREAD).children())
    expected = "not served to C clients, which cannot use this name: log"
    assert caplog.messages == [expected]
    (tmp_path / "new").write_bytes(b"")
    worker.served = served(tmp_path, manifest_of(tmp_path))
    list(namespace.connect(Client(9, "10.0.0.1", 1))().open(OREAD).children())
    assert caplog.messages == [expected] * 2
