"""A forked process: it drops the descriptors and signal handlers that it inherits, and ends with its parent.

An inherited descriptor would hold a port, a terminal or a pipe open for as long as the process lives; an inherited
signal handler would act on the state of the parent.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from xget_lib.errors import CannotStart
from xget_lib.fs.syscalls import set_parent_death_signal


def fork() -> int:
    """As os.fork. Raises CannotStart."""
    try:
        return os.fork()
    except OSError:
        raise CannotStart("process") from None


def flush() -> None:
    """Write what Python still buffers. Before a fork: else both processes would; before os._exit: else none would."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def close_all_but(keep: Iterable[int]) -> None:
    """Close every descriptor but the standard three and `keep`, also those that this program did not open.

    For a process that has just been forked and ends with os._exit: Python objects that own closed descriptors must
    never be finalised, or they would close these numbers again when they are in use for something else. Their frames
    are never left, and gc.freeze() keeps the collector from them.
    """
    gc.freeze()
    kept = {0, 1, 2, *keep}
    try:
        opened = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:  # early in a boot there is no /proc
        first = 0
        for end in (*sorted(kept), os.sysconf("SC_OPEN_MAX")):
            if first < end:  # for an empty range Python closes all
                os.closerange(first, end)  # close_range(2), as there may be a billion numbers
            first = end + 1
        return
    for fd in opened:
        if fd not in kept:
            with suppress(OSError):  # not open any more: it is the descriptor that listed the directory
                os.close(fd)


def default_signals(ignored: Iterable[signal.Signals] = ()) -> None:
    """Give every signal its default action, except `ignored` and those that Python ignores to get an errno instead.

    Unblock all: signals that came during signals_held() take effect before this returns.
    """
    signal.set_wakeup_fd(-1)
    ignored = {*ignored, signal.SIGPIPE, signal.SIGXFSZ}
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


@contextmanager
def signals_held() -> Iterator[None]:
    """Block signals until the end, or until default_signals().

    Around a fork this closes the gap in which the child still has its parent's handlers: it sets its own inside, and
    then gets the signals that were sent to it meanwhile. (Linux keeps a blocked signal even if it is ignored now.)
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def die_with(parent: int, signal_number: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process `signal_number` when its parent process `parent` ends.

    This also ends a process that hangs. The kernel forgets it when credentials change (setuid), so a process that gives
    up root calls this again. Ends this process at once if `parent` is gone already, since the kernel sends nothing
    then. Raises OSError.
    """
    set_parent_death_signal(signal_number)
    if os.getppid() != parent:
        os._exit(128 + signal_number)


def outlive_parent() -> None:
    """Undo die_with()."""
    set_parent_death_signal(0)
