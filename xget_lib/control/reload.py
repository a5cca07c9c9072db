"""`xget.py reload`: the master on this machine scans its directory now."""

from __future__ import annotations

import json

from xget_lib.config import Config
from xget_lib.control.local_choice import described
from xget_lib.errors import CommandFailed, Exit, UsageError, printable
from xget_lib.process import control_socket
from xget_lib.process.local_processes import MASTER, LocalProcess, local_processes
from xget_lib.report.events import counted, size
from xget_lib.report.output import print_error
from xget_lib.report.waiting import Wait, WaitLines


def run(config: Config, *, port_is_given: bool) -> int:
    """Print what the master serves when it has scanned. Returns the exit status: 8 if it serves its former generation,
    and 1 if it keeps its former secret.

    Unless a port is given, it may be the only master of this machine, whatever its port. It waits as long as the master
    is at work, which may be hours. Raises Failed if there is no such master, UsageError if it may be one of several,
    and MasterUnreachable if it says nothing for --timeout.
    """
    only = None if port_is_given else _only_master(config.port)
    port, connect = (config.port, None) if only is None else (only.port, only.place.connect)
    lines = WaitLines(lambda line: None if config.quiet else print_error(f"xget: {line}"))

    def waits(working: str) -> None:
        then = f"giving up after {config.timeout:g} s without a sign of it"
        lines.look(Wait("the end of the scan", f"the master of port {port}", then, working or "no answer"))

    command = {"command": "reload", "force": config.force}
    answer = control_socket.request(port, command, config.timeout, waits, connect)
    if config.json:
        print(json.dumps(answer), flush=True)
    credentials = str(answer.get("credentials_problem") or "")
    if answer.get("problem"):
        raise CommandFailed(
            "reload", "; ".join(filter(None, (str(answer["problem"]), credentials))), answer.get("exit", Exit.FAILED)
        )
    if not config.json and not config.quiet:
        state = "new generation" if answer["new"] else "nothing changed: generation"
        signed = f", signed with serial {answer['serial']}" if answer.get("serial") is not None else ""
        what = f"{counted(answer['files'], 'file')}, {size(answer['bytes'])}{signed}"
        print(f"{state} {answer['generation'][:16]}: {what}", flush=True)
        for line in answer["omitted"]:
            print(f"not served: {printable(str(line))}", flush=True)
    if credentials:
        raise CommandFailed("reload", credentials, Exit.FAILED)
    return Exit.OK


def _only_master(usual: int) -> LocalProcess | None:
    """The only master that runs here; None if there is none, or one of them has the usual port. Raises UsageError."""
    masters = [process for process in local_processes() if process.role == MASTER]
    if not masters or any(process.port == usual for process in masters):
        return None
    if len(masters) > 1:
        for process in masters:
            print_error(f"xget: {described(process)}")
        raise UsageError(f"{len(masters)} masters run here, none of them on port {usual} (choose one with -p)")
    return masters[0]
