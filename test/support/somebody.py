"""Doing something as another user than root, in a process of its own."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random

NOBODY = 65534


def as_nobody(work: Callable[[], None]) -> None:
    """Runs something in a process of another user where this one is root's. What fails there fails here.

    Modules must have been imported before: he need not reach them.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            os.umask(0o022)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@contextmanager
def nobody_repeating(step: Callable[[Random], None], seed: int) -> Iterator[None]:
    """While the block runs, a process of another user takes a step after the other, without a pause. What each does
    depends on the seed. Needs root."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            chance = Random(seed)
            while True:
                with suppress(OSError):
                    step(chance)
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
