"""Going to the background, and being found there.

A daemon that forks last has a bad time: by then there is an event loop with connections, and a fork breaks them. One
that forks first has told its caller "all is well" before anything was tried. So here the fork comes first and the
good-bye last:

    daemon = daemonize()      first of all, before gevent, threads, connections. Two processes from here on: the
                              caller's foreground process stays inside and waits; the child, which is the later daemon,
                              returns with everything that the caller had: terminal, group, directory.
    ...                       the child works, prints, shows progress, fails. Signals that are sent to the foreground
                              process reach it.
    daemon.failed(3, "why")   the foreground process prints the line, if there is one, waits until the child has ended,
                              and exits with that status; daemon.done() is the same for a run that went well; or
    detach(); daemon.ready()  the child leaves the terminal, and the foreground process exits with status 0.

Until then the two live and die together: when the foreground process is killed the child gets SIGTERM, and a child that
dies without a word ends the foreground process with status 1 and a line that says so.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import NoReturn

from xget_lib.errors import Failed
from xget_lib.process.fork import close_all_but, die_with, live_on, signals_held

# What a script, a shell or a service sends to the process that it started, when it means the work.
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_SI_KERNEL = 0x80  # sigaction(2): sent by the kernel, so by a terminal, and to the whole process group


class Daemon:
    """In the child of daemonize(): the line to the waiting foreground process. The first word counts."""

    def __init__(self, pipe: int) -> None:
        self._pipe: int | None = pipe

    def ready(self) -> None:
        """The foreground process exits with status 0, and its end means nothing to this one any more."""
        live_on()
        self._say("ready 0")

    def done(self) -> None:
        """Nothing goes on: the foreground process exits with status 0 as soon as this one has ended."""
        self._say("ended 0")

    def failed(self, status: int, line: str = "") -> None:
        """As soon as this process has ended, the foreground one prints `line`, if any, and exits with `status`."""
        self._say(f"ended {status} {' '.join(line.split())}")

    def _say(self, word: str) -> None:
        if self._pipe is None:
            return
        pipe, self._pipe = self._pipe, None
        try:
            # Up to PIPE_BUF bytes are written whole or not at all, pipe(7), so there are no halves to think of.
            os.write(pipe, word.encode("utf-8", "backslashreplace")[: select.PIPE_BUF - 1] + b"\n")
        except BrokenPipeError:
            pass  # nobody waits any more
        finally:
            os.close(pipe)


def daemonize(keep: Iterable[int] = ()) -> Daemon:
    """Forks; returns only in the child. To be called before there are threads, an event loop or connections.

    The child keeps no descriptor but the standard three and `keep`: one that the caller's shell had open would keep
    somebody waiting (`ssh node xget ...` ends when the last of them is closed). The child is no session of its own
    yet and gets ^C from the terminal like the foreground process; what is sent to that one alone is passed on to it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    foreground = os.getpid()
    ours, childs = os.pipe2(os.O_CLOEXEC)
    with signals_held():
        child = os.fork()
        if child != 0:
            os.close(childs)
            _wait_in_foreground(child, ours)
    close_all_but([childs, *keep])
    die_with(foreground, signal.SIGTERM)
    return Daemon(childs)


def detach(errors: int | None = None) -> None:
    """This process gets a session of its own, no terminal, / as its directory, and /dev/null as standard descriptors.

    `errors` is a descriptor, of a log, that becomes standard error instead. The umask stays: it is the caller's
    word on the files that are written here. There is no second fork, as is the custom, because the process would
    change its number, which others know by now; so this process must not open a terminal. To be called in the child
    of daemonize(), once. Paths that are used afterwards must be absolute.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os.setsid()
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(errors if fd == 2 and errors is not None else null, fd)
    if null > 2:
        os.close(null)


def _wait_in_foreground(child: int, pipe: int) -> NoReturn:
    """Waits for the child's word and ends this process as it says."""
    # The others keep their meaning: ^Z stops this process together with the child.
    signal.pthread_sigmask(signal.SIG_SETMASK, _PASSED_ON)
    threading.Thread(target=_pass_signals_on, args=(child,), daemon=True).start()
    word = b""
    while not word.endswith(b"\n") and (more := os.read(pipe, select.PIPE_BUF)):
        word += more
    kind, status, line = [*word.decode("utf-8", "replace").rstrip("\n").split(" ", 2), "", ""][:3]
    if kind != "ready":
        _, ended = os.waitpid(child, 0)
        if not word:
            status, line = "1", f"xget: ended without a word: {_describe(os.waitstatus_to_exitcode(ended))}"
    if line:
        os.write(2, f"{line}\n".encode("utf-8", "backslashreplace"))
    os._exit(int(status))  # whatever is registered for exit belongs to the child


def _pass_signals_on(child: int) -> None:
    with suppress(ProcessLookupError):  # reaped by the other thread, which is about to end this process
        while True:
            received = signal.sigwaitinfo(_PASSED_ON)
            if received.si_code != _SI_KERNEL:
                os.kill(child, received.si_signo)


def _describe(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit status {exit_code}"
    return f"killed by {signal.Signals(-exit_code).name}"


class Pidfile:
    """A file that names the one process that runs, locked for as long as it does.

    The lock, not the number, says whether it runs: a number left over from a crash means nothing.
    """

    def __init__(self, path: str) -> None:
        """Takes the file and writes our number into it. Raises Failed when a live process has it, or on any error.

        To be called after daemonize(). The lock is shared by forked processes that keep its descriptor.
        """
        self._path = os.path.abspath(path)
        try:
            self._fd = self._take()
        except OSError as error:
            raise Failed(f"pid file {path}", error.strerror or str(error)) from error

    def _take(self) -> int:
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                self._lock(fd)
                if self._is_at_path(fd):
                    os.truncate(fd, 0)
                    os.write(fd, f"{os.getpid()}\n".encode())
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # its owner removed it between our open and our lock; there may be a new one

    def _lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            other = os.read(fd, 32).decode("ascii", "replace").strip() or "another process"
            raise Failed(f"pid file {self._path}", f"process {other} runs already") from error

    def _is_at_path(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self._path, follow_symlinks=False))
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """Removes the file, then gives up the lock, in this order, so that nobody's new file is removed."""
        try:
            if self._is_at_path(self._fd):
                os.unlink(self._path)
        except OSError as error:
            raise Failed(f"pid file {self._path}", error.strerror or str(error)) from error
        finally:
            os.close(self._fd)
