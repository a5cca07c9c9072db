"""What test_daemon.py runs: a program that goes to the background, or does not, in the way its argument names."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import NoReturn

from xget_lib.process.daemon import Daemon, daemonize, detach


def background(daemon: Daemon) -> NoReturn:
    """Becomes a daemon, then writes what it is to the FIFO that the second argument names, and stays."""
    before = os.getpid()
    detach()
    daemon.ready()
    facts = {
        "pid": before,
        "still": os.getpid(),
        "session": os.getsid(0),
        "directory": os.getcwd(),
        "umask": os.umask(0),
        "standard": [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)],
    }
    with open(sys.argv[2], "w") as fifo:
        print(json.dumps(facts), file=fifo)
    while True:
        signal.pause()


def refused(daemon: Daemon) -> None:
    print("tried", flush=True)
    daemon.failed(6, "xget: /dest:\nno space")
    sys.exit(99)


def long_refused(daemon: Daemon) -> None:
    daemon.failed(6, "x" * 100_000)


def slow_end(daemon: Daemon) -> None:
    """Says that it failed, and ends when its standard input does."""
    daemon.failed(3)
    print(os.getpid(), flush=True)
    os.read(0, 1)


def killed(daemon: Daemon) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def silent(daemon: Daemon) -> None:
    sys.exit(4)


def signalled(daemon: Daemon) -> None:
    """Says its number and every signal; a SIGTERM ends it."""
    for caught in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(caught, lambda *_: None)
    wakened, wake = os.pipe2(os.O_NONBLOCK)
    os.set_blocking(wakened, True)
    signal.set_wakeup_fd(wake)
    print(os.getpid(), flush=True)
    number = 0
    while number != signal.SIGTERM:
        number = os.read(wakened, 1)[0]
        print(signal.Signals(number).name, flush=True)
    daemon.failed(143)


def main() -> None:
    globals()[sys.argv[1]](daemonize())


if __name__ == "__main__":
    main()
