"""One child server for each destination: the next one replaces it, and its port can be asked for."""

from __future__ import annotations

import os
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from test.support.processes import PATIENCE
from test.support.somebody import as_nobody
from xget_lib.process import single_server
from xget_lib.process.runtime_directory import Listening
from xget_lib.process.single_server import answer, replace_former


@pytest.fixture
def dest(tmp_path: Path) -> bytes:
    return bytes(tmp_path)


def answering(executor: ThreadPoolExecutor, listening: Listening) -> Future[bool]:
    """A child that answers once, and ends if it is asked to retire."""

    def serve() -> bool:
        accepted, _ = listening.sock.accept()
        with accepted:
            retire = answer(accepted)
            if retire:
                listening.close()
        return retire

    return executor.submit(serve)


def test_the_former_child_retires_and_the_next_one_takes_its_name(dest: bytes) -> None:
    former = replace_former(dest)
    assert former is not None
    with ThreadPoolExecutor(1) as executor:
        retired = answering(executor, former)
        following = replace_former(dest)
        assert retired.result()
    assert following is not None
    following.close()


def test_a_child_that_does_not_retire_is_not_replaced(dest: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_server, "_TIMEOUT", 0.05)
    hung = replace_former(dest)
    assert hung is not None
    with closing(hung):
        assert replace_former(dest) is None


def test_each_destination_has_a_child_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first, second = replace_former(bytes(tmp_path)), replace_former(bytes(tmp_path / "other"))
    assert first is not None and second is not None
    first.close()
    second.close()


@pytest.mark.root
def test_no_other_user_can_connect_to_the_children_of_root(dest: bytes) -> None:
    listening = replace_former(dest)
    assert listening is not None
    path = listening.sock.getsockname()

    def look() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, pytest.raises(PermissionError):
            sock.connect(path)

    with closing(listening):
        as_nobody(look)


@pytest.mark.root
def test_an_abstract_socket_of_another_user_means_nothing(dest: bytes, tmp_path: Path) -> None:
    """Any user can have one, with any name."""
    status = os.stat(dest)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as squatter:
        squatter.bind(f"\0xget-child-{status.st_dev}-{status.st_ino}")
        squatter.listen()
        listening = replace_former(dest)
        assert listening is not None
        listening.close()


def test_a_child_that_is_stopped_holds_up_nobody_for_long(dest: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_server, "_TIMEOUT", 0.1)
    hung = replace_former(dest)
    assert hung is not None
    begun = time.monotonic()
    with closing(hung):
        assert replace_former(dest) is None
    assert time.monotonic() - begun < PATIENCE
