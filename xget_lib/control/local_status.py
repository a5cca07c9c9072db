"""`xget.py status` without a host: every master and client of this machine, in a line each.

Each is asked over its own socket, which needs no secret; where this user may not do that, over its port. All are asked
at once, each with a deadline of its own. One that is stopped or hangs does not take the time of others, and is named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from gevent import get_hub
from gevent.pool import Pool

from xget_lib.config import Config
from xget_lib.control.local_choice import chosen
from xget_lib.control.outcome import failed
from xget_lib.control.remote import TIMEOUT, read_status
from xget_lib.errors import CommandFailed, Exit, LinkLost, NinepError, NotAdmitted, NothingRuns, printable, program
from xget_lib.net.blocking import in_thread
from xget_lib.net.credentials import credentials_of
from xget_lib.ninep.auth import Credentials
from xget_lib.process.local_processes import MASTER, LocalProcess, local_processes
from xget_lib.report.columns import columns
from xget_lib.report.events import counted
from xget_lib.report.output import print_line
from xget_lib.report.status import duration, table

_AT_ONCE = 64
"""Processes that are asked at once, at most: each costs a descriptor and a thread."""
_HEADER = ("ROLE", "PID", "PORT", "AGE", "GENERATION", "STATE", "WHAT")


@dataclass(frozen=True)
class Answer:
    """What a process says of itself, or why it does not."""

    process: LocalProcess
    status: Mapping[str, Any] | None
    problem: str = ""
    refused: bool = False
    """Whether it is well, as far as this user may know."""

    def as_json(self) -> dict[str, Any]:
        known = self.process
        facts = {"role": known.role, "pid": known.pid, "port": known.port, "path": known.path, "master": known.master}
        return {**facts, **self.status} if self.status is not None else {**facts, "problem": self.problem}


def run(config: Config, words: Sequence[str]) -> int:
    """Print a line for each process that the words fit (`local_choice`). Returns the exit status.

    Raises NothingRuns if there is none, and CommandFailed if one does not answer.
    """
    processes = chosen(local_processes(), words)
    if not processes:
        raise NothingRuns(words)
    answers = ask_all(config, processes)
    for line in _json(answers) if config.json else _text(answers, details=config.verbose):
        print_line(line)
    silent = [answer for answer in answers if answer.status is None and not answer.refused]
    if silent:
        named = ", ".join(str(answer.process.pid) for answer in silent)
        return failed(config, CommandFailed("status", f"no answer from process {named}", Exit.FAILED))
    return Exit.OK


def ask_all(config: Config, processes: Sequence[LocalProcess]) -> list[Answer]:
    """What each of them says of itself, without those that have ended meanwhile. Raises UsageError for credentials that
    cannot be used."""
    get_hub().threadpool.maxsize = _AT_ONCE
    ask = partial(_ask, seconds=min(config.timeout, TIMEOUT), credentials=credentials_of(config))
    return [answer for answer in Pool(_AT_ONCE).imap(ask, processes) if answer is not None]


def _ask(process: LocalProcess, seconds: float, credentials: Credentials) -> Answer | None:
    """None if it has ended meanwhile."""
    try:
        status = in_thread(process.ask, {"command": "status"}, seconds)
        return Answer(process, status) if status is not None else None
    except TimeoutError:
        return Answer(process, None, "does not answer (is it stopped?)")
    except (FileNotFoundError, ConnectionError):
        return None
    except PermissionError:
        return _ask_by_port(process, seconds, credentials)
    except OSError as error:
        return Answer(process, None, error.strerror or str(error))


def _ask_by_port(process: LocalProcess, seconds: float, credentials: Credentials) -> Answer | None:
    """Ask as other machines do: this user may not command the process."""
    try:
        status = read_status("localhost", process.port, seconds, credentials)
    except NotAdmitted as error:
        return Answer(process, None, error.why, refused=True)
    except LinkLost as error:
        return Answer(process, None, error.why)
    except (NinepError, ValueError) as error:
        return Answer(process, None, str(error))
    return Answer(process, status) if status.get("pid") == process.pid else None


def _json(answers: Sequence[Answer]) -> list[str]:
    return [json.dumps(answer.as_json()) for answer in answers]


def _text(answers: Sequence[Answer], *, details: bool) -> list[str]:
    if details:
        blocks = (
            [*table(answer.as_json()).splitlines(), ""] if answer.status else _row_alone(answer) for answer in answers
        )
        return [line for block in blocks for line in block][:-1]
    return columns([_HEADER, *map(_row, answers)])


def _row_alone(answer: Answer) -> list[str]:
    return [" ".join(filter(None, _row(answer))), ""]


def _row(answer: Answer) -> tuple[str, ...]:
    known, status = answer.process, answer.status or {}
    what = f"{known.path} from {known.master}" if known.master else known.path
    age = duration(status["seconds"]) if answer.status is not None else ""
    generation = str(status.get("generation") or "")[:16]
    role = str(status.get("role", known.role))
    row = (role, str(known.pid), str(known.port), age, generation, _state(answer), what)
    return tuple(map(printable, row))


def _state(answer: Answer) -> str:
    status = answer.status
    if status is None:
        return answer.problem
    if status.get("problem"):
        return f"PROBLEM: see {program()} status -v"
    if answer.process.role == MASTER:
        if not status.get("generation"):
            return "scanning"
        states = (status.get("distribution") or {}).get("states") or {}
        nodes = sum(states.values())
        return f"{counted(nodes, 'node')}, {states.get('complete', 0)} complete" if nodes else "serving"
    if not status.get("generation"):
        return "waits for the master"
    held = f"{100 * status['held'] // (status['chunks'] or 1)} %" if status["chunks"] else "100 %"
    if status.get("role") == "download":
        return f"has {held}"
    ends = status.get("ends_in")
    outdated = "outdated, " if status.get("outdated") else ""
    return f"{outdated}serves {held}" + (f", ends in {duration(max(0, ends))}" if ends is not None else "")
