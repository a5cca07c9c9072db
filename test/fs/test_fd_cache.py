"""Open descriptors by key: bounded, shared, and never closed while somebody uses them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from test.support.descriptors import open_descriptors
from xget_lib.fs.fd_cache import FdCache


@pytest.fixture
def opener(tmp_path: Path) -> Callable[[int], Callable[[], int]]:
    """By number: what opens the file that contains this number."""

    def of(number: int) -> Callable[[], int]:
        path = tmp_path / str(number)
        path.write_text(str(number))
        return lambda: os.open(path, os.O_RDONLY)

    return of


def test_what_was_used_last_stays_open(opener: Callable[[int], Callable[[], int]]) -> None:
    before = open_descriptors()
    cache: FdCache[int] = FdCache(2)
    for number in (1, 2, 1, 3):
        with cache.opened(number, opener(number)) as fd:
            assert os.pread(fd, 9, 0) == b"%d" % number
    assert cache.keys() == [1, 3]
    assert len(open_descriptors() - before) == 2
    assert cache.close()
    assert open_descriptors() == before


def test_what_is_in_use_is_closed_after_its_last_user(opener: Callable[[int], Callable[[], int]]) -> None:
    cache: FdCache[int] = FdCache(1)
    with cache.opened(1, opener(1)) as one:
        with cache.opened(2, opener(2)):
            assert cache.keys() == [2]
        cache.forget([1, 2, 3])
        assert os.pread(one, 9, 0) == b"1"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(one)


def test_users_of_one_key_share_a_descriptor(opener: Callable[[int], Callable[[], int]]) -> None:
    cache: FdCache[int] = FdCache(1)
    before = open_descriptors()
    shared = cache.add(1, opener(1)())
    assert cache.add(1, opener(1)()) is shared  # another thread was first
    assert cache.get(1) is shared
    for _ in range(3):
        cache.release(shared)
    assert len(open_descriptors() - before) == 1
    cache.close()
    assert open_descriptors() == before


def test_a_closed_cache_opens_and_keeps_nothing(opener: Callable[[int], Callable[[], int]]) -> None:
    cache: FdCache[int] = FdCache(4)
    before = open_descriptors()
    held = cache.add(1, opener(1)())
    assert cache.close()
    assert not cache.close()
    os.fstat(held.fd)
    with pytest.raises(ValueError, match="closed"):
        cache.get(1)
    with pytest.raises(ValueError, match="closed"):
        cache.use(held)
    cache.release(cache.add(2, opener(2)()))  # a thread that was opening it meanwhile
    cache.release(held)
    assert open_descriptors() == before


def test_threads_never_meet_a_descriptor_closed_by_another(opener: Callable[[int], Callable[[], int]]) -> None:
    """A descriptor that is closed too early is reused for another file, and a read gives the wrong content."""
    before = open_descriptors()
    cache: FdCache[int] = FdCache(2)
    openers = [opener(number) for number in range(6)]
    wrong: list[object] = []

    def read(start: int) -> None:
        try:
            for step in range(500):
                number = (start + step * 5) % 6
                with cache.opened(number, openers[number]) as fd:
                    if os.pread(fd, 9, 0) != b"%d" % number:
                        wrong.append(number)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache.close()
    assert wrong == []
    assert open_descriptors() == before
