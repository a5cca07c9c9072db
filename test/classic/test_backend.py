"""The namespace of C clients in a child: files are taken from it, and it tracks nobody."""

from __future__ import annotations

from pathlib import Path

import gevent
import pytest

from test.support.backends import served
from test.support.downloads import manifest_of
from test.support.network import quiet_hub
from xget_lib.classic import backend
from xget_lib.classic.backend import Namespace
from xget_lib.errors import NinepError
from xget_lib.net.server import Client
from xget_lib.ninep.file import File
from xget_lib.ninep.messages import OREAD, OWRITE
from xget_lib.serve.served import Served


class Child:
    """The host of the namespace."""

    debug_level = 0

    def __init__(self, content: Served) -> None:
        self.served = content
        self.clients = [Client(1, "10.0.0.1", 1)]
        self.remarks: list[str] = []

    def remark(self, client: Client, line: str) -> None:
        self.remarks.append(f"{client.address}: {line}")


@pytest.fixture
def child(tmp_path: Path) -> Child:
    (tmp_path / "image").write_bytes(b"image")
    return Child(served(tmp_path, manifest_of(tmp_path)))


@pytest.fixture
def root(child: Child) -> File:
    return Namespace(child).connect(child.clients[0])()


def test_a_child_gives_its_files_itself(root: File) -> None:
    assert root.walk("image").walk("redir").open(OREAD).read(0, 100) == b"me"


def test_what_a_client_serves_is_checked_and_goes_no_further(root: File) -> None:
    avail = root.walk("image").walk("avail").open(OWRITE)
    assert avail.write(0, b"4000 me\0") == 8
    with pytest.raises(NinepError):
        avail.write(0, b"4000")
    avail.clunk()


def test_a_line_for_the_log_is_written_with_its_client(child: Child, root: File) -> None:
    root.walk("log").open(OWRITE).write(0, b"listen on 4000\n\0")
    assert child.remarks == ["10.0.0.1: listen on 4000"]


def test_a_server_that_ends_refuses_reads_and_waits_until_no_file_is_open(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace = Namespace(child)
    data = namespace.connect(child.clients[0])().walk("image").walk("data").open(OREAD)
    data.read(0, 2)

    def close(seconds: float) -> None:
        with pytest.raises(NinepError, match="shutting down"):
            data.read(2, 3)
        data.clunk()

    monkeypatch.setattr(gevent, "sleep", close)
    namespace.drain()
    assert not namespace.downloads


def test_a_server_that_ends_waits_for_no_client_longer_than_its_patience(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_PATIENCE", 0.05)
    namespace = Namespace(child)
    namespace.connect(child.clients[0])().walk("image").walk("data").open(OREAD).read(0, 2)
    with quiet_hub():
        namespace.drain()
    assert namespace.downloads == 1
