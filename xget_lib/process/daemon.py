"""Going to the background.

A fork after the start breaks the event loop and the connections. A foreground process that ends right after an early
fork reports success before anything was tried. So the fork comes first, and the foreground process waits:

    daemon = daemonize()      First of all, before gevent, threads, connections. The foreground process does not return
                              from it, but waits. The child, which is the later daemon, returns with everything that
                              the caller had: terminal, process group, directory.
    ...                       The child works, prints, fails. Signals that are sent to the foreground process reach it.
    daemon.failed(3, "why")   The foreground process prints the line, waits until the child has ended, and exits with
                              that status; or:
    detach(); daemon.ready()  The child leaves the terminal, and the foreground process exits with status 0.

Until then the two processes end together: when the foreground process is killed the child gets SIGTERM, and when the
child dies without a report the foreground process prints that and exits with status 1.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from contextlib import suppress
from typing import NoReturn

from xget_lib.errors import CannotStart
from xget_lib.process.fork import close_all_but, die_with, flush, fork, outlive_parent, signals_held
from xget_lib.process.null import open_null

# A script, a shell or a service sends these to the process that it started, and means the child.
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_SI_KERNEL = 0x80  # sigaction(2): sent by the kernel, so by a terminal, and to the whole process group


class Daemon:
    """In the child of daemonize(): the pipe to the waiting foreground process. Only the first report counts."""

    def __init__(self, pipe: int) -> None:
        self._pipe: int | None = pipe

    def ready(self) -> None:
        """The foreground process exits with status 0; this process continues."""
        outlive_parent()
        self._report("ready 0")

    def failed(self, status: int, line: str = "") -> None:
        """When this process has ended, the foreground process prints `line`, if any, and exits with `status`."""
        self._report(f"ended {status} {' '.join(line.split())}")

    def _report(self, word: str) -> None:
        if self._pipe is None:
            return
        pipe, self._pipe = self._pipe, None
        try:
            # Up to PIPE_BUF bytes are written whole or not at all, pipe(7).
            os.write(pipe, word.encode("utf-8", "backslashreplace")[: select.PIPE_BUF - 1] + b"\n")
        except BrokenPipeError:
            pass  # the foreground process is gone
        finally:
            os.close(pipe)


def daemonize() -> Daemon:
    """Fork; return only in the child. To be called before there are threads, an event loop or connections.

    The child keeps no descriptor but the standard three: one that the caller's shell had open would keep others waiting
    (`ssh node xget ...` ends when the last of them is closed). The child has no session of its own yet and gets ^C from
    the terminal like the foreground process; signals that only the foreground process gets are passed on to it. Raises
    CannotStart.
    """
    flush()
    foreground = os.getpid()
    ours, childs = os.pipe2(os.O_CLOEXEC)
    with signals_held():
        child = fork()
        if child != 0:
            os.close(childs)
            _wait_in_foreground(child, ours)
    close_all_but([childs])
    die_with(foreground, signal.SIGTERM)
    return Daemon(childs)


def detach() -> None:
    """Give this process a session of its own, no terminal, / as its directory, and /dev/null as standard descriptors.

    The umask stays: the caller chose it for the files that are written here. There is no second fork, as is the custom,
    because it would change the pid, which others know by now; so this process must not open a terminal. To be called
    once, in the child of daemonize(). Paths that are used afterwards must be absolute.
    """
    flush()
    os.setsid()
    os.chdir("/")
    null = open_null()
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    if null > 2:
        os.close(null)


def _wait_in_foreground(child: int, pipe: int) -> NoReturn:
    """Wait for the child's report, and end this process as it says."""
    # Others keep their meaning: ^Z stops this process together with the child.
    signal.pthread_sigmask(signal.SIG_SETMASK, _FORWARDED)
    try:
        threading.Thread(target=_forward_signals, args=(child,), daemon=True).start()
    except RuntimeError:
        os.write(2, f"xget: {CannotStart('thread')}\n".encode())
        os._exit(1)  # the child ends with this process
    word = b""
    while not word.endswith(b"\n") and (more := os.read(pipe, select.PIPE_BUF)):
        word += more
    kind, status, line = [*word.decode("utf-8", "replace").rstrip("\n").split(" ", 2), "", ""][:3]
    if kind != "ready":
        _, ended = os.waitpid(child, 0)
        if not word:
            status, line = "1", f"xget: server process died: {_describe(os.waitstatus_to_exitcode(ended))}"
    if line:
        os.write(2, f"{line}\n".encode("utf-8", "backslashreplace"))
    os._exit(int(status))  # handlers registered for exit belong to the child


def _forward_signals(child: int) -> None:
    with suppress(ProcessLookupError):  # the other thread has reaped it and is about to end this process
        while True:
            received = signal.sigwaitinfo(_FORWARDED)
            if received.si_code != _SI_KERNEL:
                os.kill(child, received.si_signo)


def _describe(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit status {exit_code}"
    return f"killed by {signal.Signals(-exit_code).name}"
