"""`xget.py stop`: masters, downloads and child servers of this machine stop as after SIGTERM."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from xget_lib.config import Config
from xget_lib.control.local_choice import chosen, described
from xget_lib.control.outcome import failed
from xget_lib.errors import CommandFailed, Exit, NothingRuns, UsageError
from xget_lib.process.local_processes import LocalProcess, local_processes
from xget_lib.report.output import print_error, print_line

_AT_ONCE = 32


def run(config: Config, words: Sequence[str]) -> int:
    """Stop the process that the words fit (`local_choice`), or with --all each of them, and wait until it has ended,
    for --timeout at most. Say which have. Returns the exit status.

    Raises NothingRuns if there is none, UsageError if several are meant without --all, and CommandFailed if one does
    not stop.
    """
    if config.host:
        raise UsageError("stop works on this machine only (run it there, without -n)")
    found = chosen(local_processes(), words)
    if not found:
        raise NothingRuns(words)
    if len(found) > 1 and not config.all:
        for process in found:
            print_error(f"xget: {described(process)}")
        raise UsageError(f"{len(found)} processes are meant (name one by its role, port or path, or use --all)")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        problems = list(pool.map(lambda process: _stop(process, config.timeout), found))
    for process, problem in zip(found, problems, strict=True):
        if config.json:
            facts = {"role": process.role, "pid": process.pid, "port": process.port, "path": process.path}
            print_line(json.dumps({**facts, "stopped": not problem, **({"problem": problem} if problem else {})}))
        elif not problem and not config.quiet:
            print_line(f"stopped: {described(process)}")
    left = [f"{described(each)}: {problem}" for each, problem in zip(found, problems, strict=True) if problem]
    if left:
        return failed(config, CommandFailed("stop", "; ".join(left), Exit.FAILED))
    return Exit.OK


def _stop(process: LocalProcess, seconds: float) -> str:
    """Returns why it has not stopped; "" if it has."""
    try:
        if process.stop(seconds):
            return ""
        return f"has not ended in {seconds:g} s (kill -KILL {process.pid} ends it at once)"
    except TimeoutError:
        return f"does not answer (is it stopped? kill -KILL {process.pid} ends it at once)"
    except PermissionError:
        return "is another user's (run this command as that user, or as root)"
    except (FileNotFoundError, ConnectionError):
        return ""  # it has ended meanwhile
    except OSError as error:
        return error.strerror or str(error)
