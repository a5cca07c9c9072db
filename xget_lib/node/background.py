"""The background half of `xget.py -n`: downloads, then serves as the child server.

It sends events to the foreground half (`foreground`) and outlives it. If the channel between them ends before the
download is done, the foreground half has been killed, and the download stops. During the download the process belongs
to the terminal's session, so that ^Z and job control work. Afterwards it leaves the session.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

import gevent

from xget_lib.config import Config
from xget_lib.errors import Exit, Failed, Interrupted, LinkLost, XGetError
from xget_lib.net.blocking import wait_readable, wait_writable
from xget_lib.net.threads import replace_threads
from xget_lib.node.child import Child
from xget_lib.node.commands import NodeCommands
from xget_lib.node.follow import Follower, rebase
from xget_lib.node.node import Node
from xget_lib.node.service_state import ServiceState
from xget_lib.process import daemon
from xget_lib.process.channel import Channel
from xget_lib.process.confinement import keep_only_reading
from xget_lib.process.fork import outlive_parent
from xget_lib.process.notify import Notifier
from xget_lib.process.pidfile import Pidfile
from xget_lib.report.events import NOTHING
from xget_lib.report.log import LOGGER, catch_greenlets, load_handlers, place

if TYPE_CHECKING:
    from xget_lib.node.own_page import NodePage


def run(
    config: Config, sources: Sequence[bytes], dest: bytes, channel: Channel, notifier: Notifier | None = None
) -> int:
    """Run the background half. Returns the exit status of its process. `notifier`: of a service manager.

    Of the caller's descriptors only `channel` and stderr are still open; stderr is closed when the download is done.
    """
    channel.wait_readable = wait_readable
    channel.wait_writable = wait_writable
    catch_greenlets()
    sender = EventSender(channel)
    begun = time.monotonic()
    done: dict[str, Any] = {**NOTHING, "notes": []}
    status: int = Exit.OK
    node: Node | None = None
    commands: NodeCommands | None = None
    page: NodePage | None = None
    notifier = notifier or Notifier()
    service: ServiceState | None = None
    serves_on = False
    try:
        node = Node(config, sources, dest, sender.tell)
        service = ServiceState(notifier, node, f"{config.host} port {config.port}")
        downloading = gevent.spawn(node.download)
        stop = partial(_stop, node, service, downloading)
        _handle_signals(node, service, stop)
        if config.http is not None:
            from xget_lib.node import own_page  # 6 ms of each start

            page = own_page.NodePage(node, config)
        commands = NodeCommands(node.child, partial(stop, signal.SIGTERM))
        foreground = gevent.spawn(_interrupt_with_foreground, channel, downloading)
        done |= downloading.get()
        foreground.kill()
        serves_on = bool(config.linger)
        for failure in node.failures:
            sender.tell_error(failure)
        status = node.failures[0].exit_status if node.failures else Exit.OK
    except XGetError as error:
        status = error.exit_status
        sender.tell_error(error)
    except Exception as error:
        LOGGER.exception("internal error")
        status = Exit.FAILED
        sender.tell(
            "error",
            message=f"internal error: {type(error).__name__}: {error} (see the traceback in the log)",
        )
    if node is not None:
        done |= node.fetched()
    child = node.child if node is not None and serves_on else None
    with ExitStack() as stack:
        if child is not None:
            child.take_over()
            if commands is not None:
                commands.role_changed()
            if config.pidfile:
                try:
                    stack.callback(Pidfile(config.pidfile).remove)
                except Failed as error:
                    done["notes"].append(str(error))
        outlive_parent()
        daemon.detach()
        if child is not None:
            done["serves"] = _serves(child, config)
        if service is not None and status == Exit.OK:
            # Before the foreground half ends: its end must not be that of the service.
            service.in_place(serves_on=child is not None)
        elif sender.first_error:
            notifier.failed(sender.first_error)
        sender.tell(**done | {"exit": int(status), "seconds": round(time.monotonic() - begun, 3)})
        sender.close()
        if node is not None and child is not None:
            if config.follow:
                following = Follower(node)
                child.linger(config.linger)
                status = following.end()
            else:
                directories = commands.directories if commands is not None else []
                rebasing, confining = gevent.spawn(rebase, node), gevent.spawn(_confine, node, config, directories)
                child.linger(config.linger)
                rebasing.kill()
                confining.kill()
        if node is not None:
            node.stop_repairing()
            node.child.drain()
        if commands is not None:
            commands.close()
        if page is not None:
            page.close()
    return status


def _confine(node: Node, config: Config, directories: Sequence[str]) -> None:
    """Once nothing is left to be written, this process can only read, but for its log, pid file, and sockets, some
    of them in `directories`."""
    node.wait_until_repaired()
    files = [each for each in (config.log, config.pidfile) if each]
    load_handlers()
    given_up = keep_only_reading([*map(os.path.dirname, files), *node.child.socket_directories, *directories])
    LOGGER.info("all that is in place is verified; this process only serves it, and gives up %s", given_up)
    replace_threads()


def _interrupt_with_foreground(channel: Channel, downloading: gevent.Greenlet[..., Any]) -> None:
    """Interrupt the download when the foreground half asks for it, or has ended."""
    received = channel.receive()
    number = received[0][1] if received is not None else signal.SIGTERM
    downloading.kill(Interrupted(number), block=False)


def _serves(child: Child, config: Config) -> dict[str, Any]:
    """What the event `done` says of the process that is left."""
    linger = config.linger if config.linger < inf else None
    log = place(config.log, config.log_format)
    return {"pid": os.getpid(), "port": child.port, "linger": linger, "follows": config.follow, "log": log}


def _stop(node: Node, service: ServiceState, downloading: gevent.Greenlet[..., Any], number: int) -> None:
    """Interrupt a download, or end a child server."""
    if downloading.ready():
        service.stops()  # not at the end of --linger, after which a service may count as active
        node.child.stop()
    else:
        downloading.kill(Interrupted(number), block=False)


def _handle_signals(node: Node, service: ServiceState, stop: Callable[[int], None]) -> None:
    """SIGTERM and SIGINT interrupt a download and end a child server; SIGUSR1 logs the status; SIGHUP: the secret or
    the certificates may have changed."""
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop, number)
    gevent.signal_handler(signal.SIGHUP, service.read_credentials)
    gevent.signal_handler(signal.SIGUSR1, lambda: LOGGER.warning("status: %s", json.dumps(node.child.status())))


class EventSender:
    """Sends events to the foreground half while that exists. Later, events that have a message go to the log."""

    def __init__(self, channel: Channel) -> None:
        self._channel: Channel | None = channel
        self.first_error = ""
        """Its message."""

    def tell(self, event: str, **facts: Any) -> None:
        if event == "error":
            self.first_error = self.first_error or str(facts["message"])
        if self._channel is None:
            self._log(event, facts)
            return
        try:
            self._channel.send(["event", {"event": event, **facts}])
        except LinkLost:
            # `_interrupt_with_foreground` acts on the end of the channel.
            LOGGER.debug("event %s not sent: the foreground process is gone", event)

    def tell_error(self, error: XGetError) -> None:
        for line in error.lines:
            LOGGER.error("%s", line)
            self.tell("error", message=line)

    def close(self) -> None:
        """The last event is sent."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _log(self, event: str, facts: Mapping[str, Any]) -> None:
        if "message" in facts:
            LOGGER.log(logging.WARNING if event == "stall" else logging.INFO, "%s", facts["message"])
