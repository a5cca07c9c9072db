"""The foreground half of `xget.py -n`: shows events, passes signals on, and returns the exit status.

The background half (`background`) does the work, in a process that is forked here before anything heavy is loaded. That
process becomes the child server, so nothing has to be moved into the background when the files are in place: this
process just ends. If this process is killed, the other one stops; if the other one dies, this one reports it.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import time
from collections.abc import Sequence
from math import inf
from types import FrameType

from xget_lib.config import Config, absolute
from xget_lib.errors import Exit, Failed, Interrupted, LinkLost, XGetError
from xget_lib.manifest.sources import normalise_source
from xget_lib.process import activation, rlimit
from xget_lib.process.channel import Channel, pair
from xget_lib.process.fork import close_all_but, default_signals, die_with, fork, signals_held
from xget_lib.process.notify import Notifier
from xget_lib.report import events, log, output

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a run, unless the caller ignored them at the start, as nohup and shells do for SIGHUP and SIGINT."""

_STOPS_WITHIN = 15.0
"""Seconds that the background half has to stop after a signal. What it has verified is safe at any moment."""


def run(config: Config, sources: Sequence[bytes], dest: bytes) -> int:
    """Download, and leave a child server running. Returns the exit status."""
    notifier = Notifier.take()
    activation.leave_sockets()
    reporter = events.choose(as_json=config.json, quiet=config.quiet, verbose=config.verbose)
    try:
        for source in sources:
            normalise_source(source)
        rlimit.raise_limit(rlimit.CLIENT_NEEDS)
        log.check(config.log, config.log_format)
        channel, pid = _fork(config, sources, absolute(dest), notifier)
        status = _show_events(channel, pid, reporter)
    except XGetError as error:
        notifier.failed(str(error))
        events.report_failure(reporter, str(error), error.exit_status)
        return int(error.exit_status)
    finally:
        reporter.close()
    unprinted = output.failure()
    if unprinted is not None and status == Exit.OK:
        output.print_error(
            f"xget: stdout: {unprinted.strerror} (everything is in place, but its output is not complete)"
        )
        return int(Exit.FAILED)
    return status


def _fork(config: Config, sources: Sequence[bytes], dest: bytes, notifier: Notifier) -> tuple[Channel, int]:
    """Start the background half. Returns the channel to it and its process id."""
    ours, theirs = pair()
    foreground = os.getpid()
    with signals_held():
        pid = fork()
        if pid == 0:
            default_signals(ignored=[signal.SIGINT, signal.SIGHUP])
            close_all_but([theirs.fileno()])
            die_with(foreground)
            os._exit(_background(config, sources, dest, theirs, notifier))
    theirs.close()
    return ours, pid


def _show_events(channel: Channel, pid: int, reporter: events.Reporter) -> int:
    """Show events until `done`. Pass the first signal on; kill the background half at the second, or when it has not
    stopped in time: its disk may hang.

    Raises Interrupted for the second signal, and Failed if the background half ended without `done`.
    """
    noted: list[int] = []
    wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)

    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, note)
    poller = select.poll()
    poller.register(channel, select.POLLIN)
    poller.register(wake, select.POLLIN)
    passed_on, deadline = 0, inf
    while True:
        ready = dict(poller.poll(None if deadline == inf else max(0.0, deadline - time.monotonic()) * 1000))
        if wake in ready:
            os.read(wake, 64)
        if len(noted) > 1 or time.monotonic() >= deadline:
            os.kill(pid, signal.SIGKILL)
            raise Interrupted(noted[0])
        if noted and not passed_on:
            passed_on, deadline = noted[0], time.monotonic() + _STOPS_WITHIN
            number = signal.SIGINT if passed_on == signal.SIGINT else signal.SIGTERM
            try:
                channel.send(["stop", int(number)])
            except LinkLost:
                # It has just ended. Its last events are not read yet.
                continue
        if channel.fileno() in ready:
            received = channel.receive()
            if received is None:
                raise _died(pid)
            event = received[0][1]
            reporter.report(event)
            if event["event"] == "done":
                return int(event["exit"])


def _died(pid: int) -> Failed:
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    why = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
    return Failed("download process", f"{why} (run the command again to continue)")


def _background(config: Config, sources: Sequence[bytes], dest: bytes, channel: Channel, notifier: Notifier) -> int:
    """Run the background half. Returns the exit status. It ignores SIGINT, which the foreground half passes on."""
    level = log.level(debug=config.debug, verbose=config.verbose, quiet=config.quiet)
    log.start(config.log, background=True, level=level, form=config.log_format)
    gc.disable()  # what is imported stays: looking for garbage in it would take a twentieth of the time
    from xget_lib.node import background

    gc.freeze()
    gc.enable()
    return background.run(config, sources, dest, channel, notifier)
