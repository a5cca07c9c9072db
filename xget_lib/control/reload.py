"""`xget.py reload`: the master on this machine scans its directory now."""

from __future__ import annotations

import json

from xget_lib.config import Config
from xget_lib.errors import CommandFailed, Exit, printable
from xget_lib.process import control_socket
from xget_lib.report.events import counted, size
from xget_lib.report.output import print_error
from xget_lib.report.waiting import Wait, WaitLines


def run(config: Config) -> int:
    """Print what the master serves when it has scanned. Returns the exit status: 8 if it serves its former generation,
    and 1 if it keeps its former secret.

    It waits as long as the master is at work, which may be hours. Raises Failed if no master of this port runs on this
    machine, and MasterUnreachable if it says nothing for --timeout.
    """
    lines = WaitLines(lambda line: None if config.quiet else print_error(f"xget: {line}"))

    def waits(working: str) -> None:
        then = f"giving up after {config.timeout:g} s without a sign of it"
        lines.look(Wait("the end of the scan", f"the master of port {config.port}", then, working or "no answer"))

    answer = control_socket.request(config.port, {"command": "reload", "force": config.force}, config.timeout, waits)
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
