"""Functions that block, in threads, while greenlets go on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import gevent
import pytest

from test.support.network import quiet_hub
from xget_lib.errors import CannotStart
from xget_lib.net import threads
from xget_lib.net.threads import ThreadPool, in_thread, pool, replace_threads


@pytest.fixture(autouse=True)
def printed() -> Iterator[object]:
    with quiet_hub() as printed:
        yield printed


@pytest.fixture
def allow(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], ThreadPool]:
    """A pool in a system that starts only so many threads."""
    start = vars(threads)["start_new_thread"]

    def made(allowed: int) -> ThreadPool:
        left = iter(range(allowed))

        def limited(*arguments: object) -> object:
            if next(left, None) is None:
                raise RuntimeError("can't start new thread")
            return start(*arguments)

        monkeypatch.setattr(threads, "start_new_thread", limited)
        return ThreadPool(4)

    return made


ROOT = Path(__file__).parent.parent.parent
MAIN = threading.get_ident()


def test_a_function_runs_in_another_thread_and_the_loop_goes_on() -> None:
    turn = threading.Event()
    gevent.spawn(turn.set)
    assert in_thread(lambda: (turn.wait(20), threading.get_ident() != MAIN)) == (True, True)


def test_errors_are_passed_on() -> None:
    for error in (ValueError("wrong"), SystemExit(3)):

        def fail(error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)) as caught:
            in_thread(fail)
        assert caught.value is error


def test_functions_run_at_the_same_time_but_in_no_more_threads_than_allowed() -> None:
    several = ThreadPool(3)
    meeting = threading.Barrier(3)
    calls = [gevent.spawn(several.run, meeting.wait, 20) for _ in range(6)]
    assert sorted(call.get() for call in calls) == [0, 0, 1, 1, 2, 2]
    assert several.size == 3


def test_calls_that_follow_each_other_share_a_thread() -> None:
    one = ThreadPool(4)
    assert len({one.run(threading.get_native_id) for _ in range(100)}) == 1
    assert one.size == 1


def test_a_function_of_a_killed_greenlet_goes_on_and_is_waited_for() -> None:
    one = ThreadPool(1)
    going, go, done = threading.Event(), threading.Event(), list[int]()

    def work() -> None:
        going.set()
        go.wait(20)
        done.append(1)

    waiting = gevent.spawn(one.run, work)
    while not going.is_set():
        gevent.sleep(0)
    waiting.kill()
    assert done == []
    gevent.spawn(go.set)
    one.join()
    assert done == [1]
    assert one.run(pow, 2, 3) == 8
    one.join()


def test_an_idle_pool_does_not_keep_the_event_loop_waiting() -> None:
    code = "import gevent; from xget_lib.net.threads import in_thread; in_thread(pow, 2, 3); gevent.wait()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60)
    assert done.returncode == 0


def test_a_pool_that_gets_no_thread_says_so_each_time(allow: Callable[[int], ThreadPool]) -> None:
    none = allow(0)
    for _ in range(10):
        with pytest.raises(CannotStart, match="cannot start a thread: too many processes and threads"):
            none.run(list)
    none.join()


def test_a_pool_goes_on_with_the_threads_that_it_has(allow: Callable[[int], ThreadPool]) -> None:
    few = allow(2)
    calls = [gevent.spawn(few.run, partial(pow, number, 2)) for number in range(20)]
    assert [call.get() for call in calls] == [number**2 for number in range(20)]
    assert few.size == 2


def test_threads_are_replaced_by_those_of_the_thread_that_asks_for_it() -> None:
    """What a thread may do it has from the one that has started it."""
    own = pool("a test", 2)
    former = own.run(threading.get_native_id)
    going, go = threading.Event(), threading.Event()

    def work() -> int:
        going.set()
        go.wait(20)
        return threading.get_native_id()

    busy = gevent.spawn(own.run, work)
    while not going.is_set():
        gevent.sleep(0)
    replace_threads()
    assert own.size == 0
    assert own.run(threading.get_native_id) != former
    go.set()
    assert busy.get() == former
    own.join()


def test_a_forked_process_gets_threads_of_its_own() -> None:
    assert in_thread(pow, 2, 3) == 8
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            gevent.reinit()
            status = 0 if in_thread(pow, 2, 3) == 8 else 1
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
