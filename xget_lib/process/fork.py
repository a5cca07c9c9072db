"""What a forked process has from its parent and should not keep: descriptors, signal handlers, and a long life.

A descriptor kept by accident holds a port, a terminal or somebody's pipe open for as long as the process lives; a
signal handler kept by accident acts on state that is not there any more. So a fork begins by giving all of it up.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from xget_lib.fs.syscalls import set_parent_death_signal

STANDARD = (0, 1, 2)


def close_all_but(keep: Iterable[int]) -> None:
    """Closes every descriptor but the standard three and `keep`, also those that nobody here knows of.

    For a process that has just been forked and ends with os._exit: Python objects that own closed descriptors must
    never be finalised, or they would close the numbers once more when those mean something else. Their frames are
    never left, and gc.freeze() keeps the collector from them.
    """
    gc.freeze()
    kept = {*STANDARD, *keep}
    try:
        opened: Iterable[int] = map(int, os.listdir("/proc/self/fd"))
    except FileNotFoundError:
        opened = range(os.sysconf("SC_OPEN_MAX"))  # early in a boot there is no /proc; slower, as good
    for fd in opened:
        if fd not in kept:
            with suppress(OSError):  # not open: in the list it is the descriptor that listed the directory
                os.close(fd)


def default_signals(ignored: Iterable[signal.Signals] = ()) -> None:
    """Every signal does what it does by default, except `ignored` and what Python ignores to get an errno instead.

    None is held back any longer: what came while signals_held() takes effect before this returns.
    """
    signal.set_wakeup_fd(-1)
    ignored = {*ignored, signal.SIGPIPE, signal.SIGXFSZ}
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


@contextmanager
def signals_held() -> Iterator[None]:
    """Signals that come inside wait until the end, or until default_signals().

    Around a fork this closes the gap in which the child still has its parent's handlers: it sets its own inside, and
    then gets what was sent to it meanwhile. (Linux keeps a blocked signal even where it is ignored at the time.)
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def die_with(parent: int, signal_number: signal.Signals = signal.SIGKILL) -> None:
    """The kernel sends this process `signal_number` when the process `parent`, which forked it, ends.

    The one notice that also reaches a process that hangs. The kernel forgets it when credentials change (setuid), so
    a process that gives up root calls this again. Ends this process at once when `parent` is gone already: the
    kernel tells of ends to come, not of past ones. Raises OSError.
    """
    set_parent_death_signal(signal_number)
    if os.getppid() != parent:
        os._exit(128 + signal_number)


def live_on() -> None:
    """Takes die_with() back: from now on the end of the parent means nothing."""
    set_parent_death_signal(0)
