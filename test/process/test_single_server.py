"""One child server for each destination: the next one replaces it, and its port can be asked for."""

from __future__ import annotations

import socket
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from xget_lib.process import single_server
from xget_lib.process.single_server import answer, local_ports, replace_former


@pytest.fixture
def dest(tmp_path: Path) -> bytes:
    return bytes(tmp_path)


def answering(executor: ThreadPoolExecutor, listening: socket.socket) -> Future[bool]:
    """A child that answers once, and ends if it is asked to retire."""

    def serve() -> bool:
        accepted, _ = listening.accept()
        with accepted:
            retire = answer(accepted, 4711)
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
    with hung:
        assert replace_former(dest) is None


def test_a_child_tells_its_port_and_goes_on(dest: bytes) -> None:
    listening = replace_former(dest)
    assert listening is not None
    with listening, ThreadPoolExecutor(1) as executor:
        retired = answering(executor, listening)
        assert 4711 in set(local_ports())
        assert not retired.result()


def test_each_destination_has_a_child_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first, second = replace_former(bytes(tmp_path)), replace_former(bytes(tmp_path / "other"))
    assert first is not None and second is not None
    with first, second:
        pass
