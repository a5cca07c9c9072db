"""Threads in which blocking functions run while the event loop goes on.

gevent's own pool is not used: to import it takes a tenth of the time in which a client starts, since it imports
`inspect` and `dataclasses` to be able to print tracebacks.

A pool belongs to the thread of the event loop. It gives tasks to its threads with a queue. They put what is done into
another one and wake the loop, once for all tasks that are done by then.
"""

from __future__ import annotations

import os
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar, cast

from gevent import get_hub
from gevent.event import Event
from gevent.hub import Hub, Waiter

from xget_lib.errors import CannotStart
from xget_lib.report.log import LOGGER

P = ParamSpec("P")
R = TypeVar("R")

_DEFAULT = 10
"""Threads of a process at most, where nobody says another number."""


class _Task:
    """A call, and the greenlet that waits for it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self.waiter: Waiter[None] = Waiter()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """In a thread."""
        try:
            self.result = self._call()
        except BaseException as error:  # `ThreadPool.run` raises it
            self.error = error


class ThreadPool:
    """Some threads. Each is started when it is needed, by the thread of the event loop, and has the powers that this
    one has then. They end with the process."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = 0
        """Threads that wait for tasks, or run one."""
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._pending = 0
        """Tasks that are not delivered yet."""
        self._done: deque[_Task] = deque()
        self._wake = get_hub().loop.async_()
        self._idle = Event()
        self._idle.set()
        _all.append(self)

    def run(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Call a function in a thread. Returns what it returns, raises what it raises, and CannotStart where there is
        no thread, and none can be started. If the greenlet is killed meanwhile, the function goes on: see `join`."""
        self._grow()
        task = _Task(partial(function, *arguments, **named))
        if not self._pending:
            self._wake.start(self._deliver)
            self._idle.clear()
        self._pending += 1
        self._tasks.put(task)
        task.waiter.get()
        if task.error is not None:
            raise task.error
        return cast(R, task.result)

    def join(self) -> None:
        """Return when no function runs any more."""
        self._idle.wait()

    def replace_threads(self) -> None:
        """End the threads when they have done what they were given. Later tasks get new ones."""
        for _ in range(self.size):
            self._tasks.put(None)
        self._tasks, self.size = SimpleQueue(), 0

    def _grow(self) -> None:
        """Start a thread for one more task, if the pool may have it. Where the kernel starts none, the pool goes on
        with those that it has."""
        if self._pending < self.size or self.size >= self.most:
            return
        try:
            start_new_thread(self._serve, (self._tasks,))
            self.size += 1
        except RuntimeError:
            if not self.size:
                raise CannotStart("thread") from None
            LOGGER.warning("cannot start another thread; going on with %d", self.size)
            self.most = self.size

    def _serve(self, tasks: SimpleQueue[_Task | None]) -> None:
        """One thread."""
        while (task := tasks.get()) is not None:
            task.run()
            self._done.append(task)
            del task  # while this thread waits, it keeps nothing
            self._wake.send()

    def _deliver(self) -> None:
        """Let the greenlets go on whose tasks are done. The event loop calls this."""
        while self._done:
            task = self._done.popleft()
            self._pending -= 1
            if not self._pending:
                self._wake.stop()  # else the loop would wait for it for ever
                self._idle.set()
            task.waiter.switch(None)


_all: list[ThreadPool] = []
"""There are a few, and they live as long as the process."""
_for_purposes: dict[tuple[int, Hub, str], ThreadPool] = {}
"""By process, event loop and purpose: a forked process has none of the threads of its parent."""


def pool(purpose: str = "", most: int = _DEFAULT) -> ThreadPool:
    """The pool of this process for one purpose. `most`: of its threads, if it is made now."""
    key = os.getpid(), get_hub(), purpose
    found = _for_purposes.get(key)
    if found is None:
        found = _for_purposes[key] = ThreadPool(most)
    return found


def in_thread(function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """Run a function that blocks in a thread, while the event loop goes on. See `ThreadPool.run`."""
    return pool().run(function, *arguments, **named)


def replace_threads() -> None:
    """End the threads of all pools. Later ones have no more powers than the thread of the event loop has now."""
    for each in _all:
        each.replace_threads()
