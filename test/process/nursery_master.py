"""A master without a network, for test_nursery.py: obeys lines on stdin, prints what it receives as lines of JSON.

    spawn NUMBER | kill PID SIGNAL | ping | receive PID | close

NUMBER chooses what the worker does, by the names below. `receive` waits for the next message of a worker.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from typing import Any

from xget_lib.process import nursery as nursery_module
from xget_lib.process.channel import Channel
from xget_lib.process.nursery import Exited, NotSpawned, Nursery, Pong, Spawned, start

POLITE, STUBBORN, FACTS, FAULTY, LINGERING, INHERITED = range(6)


def polite(channel: Channel) -> int:
    """Ends when its master does."""
    channel.send(("ready",))
    channel.receive()
    return 0


def stubborn(channel: Channel) -> int:
    """Hangs, deaf to everything that a process can be deaf to."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    channel.send(("ready",))
    channel.close()
    while True:
        pass


def facts(channel: Channel) -> int:
    fds = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the descriptor that lists
            fds[name] = os.readlink(f"/proc/self/fd/{name}")
    named = {"INT": signal.SIGINT, "TERM": signal.SIGTERM, "CHLD": signal.SIGCHLD, "USR1": signal.SIGUSR1}
    handlers = {name: str(signal.getsignal(number)) for name, number in named.items()}
    blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    channel.send(("facts", fds, handlers, blocked, "gevent" in sys.modules))
    return 7


def faulty(channel: Channel) -> int:
    raise RuntimeError("as tested")


def lingering(channel: Channel) -> int:
    """Does not look at its channel, but leaves when it is told to."""
    channel.send(("ready",))
    while True:
        time.sleep(60)


def inherited(channel: Channel) -> int:
    raise SystemExit(5)


WORKERS = [polite, stubborn, facts, faulty, lingering, inherited]


def run_worker(channel: Channel, number: int) -> int:
    return WORKERS[number](channel)


def say(**event: Any) -> None:
    print(json.dumps(event), flush=True)


def report(nursery: Nursery, workers: dict[int, Channel]) -> bool:
    match nursery.report():
        case Spawned(number, pid, channel):
            workers[pid] = channel
            say(event="spawned", number=number, pid=pid)
        case Exited(pid, number, status):
            say(event="exited", pid=pid, number=number, status=status)
        case NotSpawned(number, why):
            say(event="failed", number=number, why=why)
        case Pong():
            say(event="pong")
        case None:
            say(event="end")
            return False
    return True


def obey(line: str, nursery: Nursery, workers: dict[int, Channel]) -> None:
    match line.split():
        case ["spawn", number]:
            nursery.spawn(int(number))
        case ["kill", pid, number]:
            nursery.kill(int(pid), int(number))
        case ["ping"]:
            nursery.ping()
        case ["receive", pid]:
            received = workers[int(pid)].receive()
            say(event="received", message=received and received[0])


def main() -> int:
    # What must not reach the nursery or its workers.
    stray = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(stray, True)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])

    nursery_module.GRACE = float(sys.argv[1])
    nursery_module._CLOSE_GRACE = 0.1
    nursery = start(run_worker)
    say(event="started", pid=nursery.pid)
    workers: dict[int, Channel] = {}
    poller = select.poll()
    poller.register(nursery.channel.fileno(), select.POLLIN)
    poller.register(0, select.POLLIN)
    while True:
        ready = dict(poller.poll())
        if nursery.channel.fileno() in ready and not report(nursery, workers):
            return 0
        if 0 in ready:
            lines = os.read(0, 4096).decode().splitlines()
            if not lines or lines == ["close"]:
                nursery.close()
                say(event="closed")
                return 0
            for line in lines:
                obey(line, nursery, workers)


if __name__ == "__main__":
    sys.exit(main())
