"""What test_fork.py runs: each case forks, or changes signals and descriptors, in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from contextlib import suppress

from xget_lib.process.fork import close_all_but, default_signals, die_with, outlive_parent, signals_held


def descriptors() -> None:
    """Print what is open after all is closed but one end of a pipe."""
    kept, _ = os.pipe()
    os.pipe()
    close_all_but({kept})
    # The descriptor that lists the directory is not open any more when the list is there.
    listed = {int(name) for name in os.listdir("/proc/self/fd")}
    still_open = sorted(fd for fd in listed if os.path.exists(f"/proc/self/fd/{fd}"))
    os.write(1, json.dumps({"kept": kept, "open": still_open}).encode())
    os._exit(0)


def descriptors_without_proc() -> None:
    """The same, to be run where there is no /proc. The limit of descriptors is that of a container."""
    kept, _ = os.pipe()
    os.pipe()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    close_all_but({kept})
    still_open = []
    for fd in range(100):
        with suppress(OSError):
            os.fstat(fd)
            still_open.append(fd)
    has_proc = os.path.exists("/proc/self")
    os.write(1, json.dumps({"kept": kept, "open": still_open, "proc": has_proc}).encode())
    os._exit(0)


def default_signals_after_others() -> None:
    """Print how signals are treated after handlers, a mask and a wakeup descriptor were inherited."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    _, wake = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(wake)
    default_signals({signal.SIGHUP})
    actions = {number: signal.getsignal(number) for number in signal.valid_signals()}
    facts = {
        "ignored": sorted(number for number, action in actions.items() if action == signal.SIG_IGN),
        "handled": sorted(number for number, action in actions.items() if callable(action)),
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "wakeup": signal.set_wakeup_fd(-1),
    }
    print(json.dumps(facts))


def signal_during_fork() -> None:
    """Print the exit status of a child that got a signal before it had its own actions."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
    with signals_held():
        child = os.fork()
        if not child:
            os.kill(os.getpid(), signal.SIGTERM)
            default_signals()
            os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def hanging_child() -> None:
    """End, while a child that never would holds the standard output."""
    parent = os.getpid()
    started, start = os.pipe()
    if not os.fork():
        signal.alarm(60)  # else it would stay for ever where the test fails
        die_with(parent)
        os.write(1, b"started\n")
        os.write(start, b"x")
        while True:
            signal.pause()
    os.read(started, 1)


def orphan() -> None:
    """Name a process as the parent that is not."""
    die_with(os.getpid(), signal.SIGTERM)
    print("not reached")


def outliving_child() -> None:
    """End before a child that has changed its mind; that says so when it has another parent."""
    parent = os.getpid()
    started, start = os.pipe()
    if not os.fork():
        die_with(parent)
        outlive_parent()
        os.write(start, b"x")
        while os.getppid() == parent:
            os.sched_yield()
        os.write(1, b"alive\n")
        os._exit(0)
    os.read(started, 1)


CASES = {
    "descriptors": descriptors,
    "descriptors_without_proc": descriptors_without_proc,
    "default_signals": default_signals_after_others,
    "signal_during_fork": signal_during_fork,
    "hanging_child": hanging_child,
    "orphan": orphan,
    "outliving_child": outliving_child,
}

if __name__ == "__main__":
    CASES[sys.argv[1]]()
