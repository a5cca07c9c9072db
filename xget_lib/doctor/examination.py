"""`xget doctor`: examines one thing after the other, and prints what it finds.

Nothing that it does stays: what it tries out in a destination is removed, also when a signal ends it. Every wait has a
deadline. A step that fails does not keep the others from being done, unless they need it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import gevent
from gevent import get_hub

from xget_lib.config import Config
from xget_lib.config_file import ConfigFile
from xget_lib.control.outcome import failed
from xget_lib.control.remote import TIMEOUT
from xget_lib.doctor import credentials, destination, machine, reach, source, surroundings
from xget_lib.doctor.destination import Content
from xget_lib.doctor.findings import PROBLEM, Finding, exit_status, note, ok, problem, summary, summary_as_json
from xget_lib.doctor.servers import Master
from xget_lib.errors import AddressRefused, CommandFailed, Exit, NoFreePort
from xget_lib.net.listen import listen_in
from xget_lib.net.route import Route
from xget_lib.ninep.auth import Credentials
from xget_lib.process.local_processes import local_processes
from xget_lib.report.output import print_line
from xget_lib.usage import MASTER, Usage

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Signal(BaseException):
    """A signal ends the command."""


def run(config: Config, path: bytes | None, about: str, file: ConfigFile, usage: Usage) -> int:
    """Print what is found. `about`: MASTER or CLIENT, for which the machine is examined. `path`: what a master is to
    serve, or a destination. Returns the exit status.

    Raises CommandFailed where there is a problem, and UsageError for a path without a current directory.
    """
    _end_on_signals()
    findings: list[Finding] = []
    try:
        for finding in _examine(config, path, about, file, usage):
            findings.append(finding)
            if config.json:
                print_line(finding.as_json())
            elif not config.quiet or finding.result == PROBLEM:
                print_line(finding.line)
    except _Signal as signalled:
        return 128 + int(signalled.args[0])
    if config.json:
        print_line(summary_as_json(findings))
    status = exit_status(findings)
    if status != Exit.OK:
        return failed(config, CommandFailed("doctor", summary(findings), status))
    if not config.json and not config.quiet:
        print_line(summary(findings))
    return int(status)


def _examine(config: Config, path: bytes | None, about: str, file: ConfigFile, usage: Usage) -> Iterator[Finding]:
    yield from machine.examine(config, about)
    yield from surroundings.configuration(file, usage)
    usable = None
    for found in credentials.examine(config):
        if isinstance(found, Finding):
            yield found
        else:
            usable = found
    if usable is not None:
        yield from surroundings.processes(config)
    yield from surroundings.services()
    if about == MASTER:
        yield from _for_master(config, path)
        return
    content = None
    for each in _network(config, usable):
        if isinstance(each, Finding):
            yield each
        else:
            content = each
    yield _serving_port(config)
    if path is not None:
        yield from destination.examine(config, path, content, list(local_processes()))
    else:
        yield note("destination", "none is named, so none was examined", "name it: xget doctor -n HOST DEST")


def _network(config: Config, credentials: Credentials | None) -> Iterator[Finding | Content]:
    """The way to the master, the master, and nodes. `credentials`: None if those of this machine cannot be used. Also
    what the master serves, if it says so."""
    if config.host is None:
        yield note("master", "none is named: the network was not examined", "name it with -n HOST")
        return
    route = None
    for each in reach.examine(config.host, config.port, min(config.timeout, TIMEOUT)):
        if isinstance(each, Route):
            route = each
            continue
        yield each
        if each.result == PROBLEM:
            return
    if credentials is not None:
        master = Master(config, config.host, route)
        yield from master.examine(credentials)
        if master.content is not None:
            yield master.content


def _for_master(config: Config, path: bytes | None) -> Iterator[Finding]:
    yield from source.examine_user(config)
    yield source.examine_port(config, list(local_processes()))
    if path is not None:
        yield from source.examine(config, path)
    else:
        yield note("source", "no directory is named, so none was examined", "name it: xget doctor PATH")


def _serving_port(config: Config) -> Finding:
    """Whether a client finds a port to serve on. That others can connect to it cannot be tested from here."""
    try:
        with listen_in(config.bind, config.ports) as listening:
            port = listening.getsockname()[1]
    except AddressRefused as error:
        advice = "choose an address of this machine with --bind"
        return problem("serving", str(error), advice)
    except NoFreePort as error:
        return problem("serving", str(error).partition(" (")[0], "give more with --ports, or see `xget status`")
    ports = f"ports {config.ports[0]} to {config.ports[1]}" if config.ports else f"any free port, such as {port}"
    return ok("serving", f"a client serves on {ports}; whether other nodes can reach it was not tested")


def _end_on_signals() -> None:
    """A signal ends the command as an exception in its main greenlet, so that everything is removed."""
    main = gevent.getcurrent()

    def end(number: int) -> None:
        get_hub().loop.run_callback(main.throw, _Signal(number))

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            gevent.signal_handler(number, end, number)
