"""`xget.py status`: of all processes of this machine (`local_status`), or of a server and its whole distribution."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from xget_lib.config import Config
from xget_lib.control import local_status
from xget_lib.control.expected import Expectation, compare
from xget_lib.control.node_sets import expand
from xget_lib.control.outcome import failed
from xget_lib.control.remote import TIMEOUT, read_file, read_status
from xget_lib.errors import CommandFailed, Exit, LinkLost, MasterUnreachable, NinepError, NotAdmitted, XGetError
from xget_lib.net.credentials import credentials_of
from xget_lib.report import output
from xget_lib.report.distribution import Distribution
from xget_lib.report.distribution_text import tree_lines
from xget_lib.report.output import print_line
from xget_lib.report.status import table

_EVERY = 2.0
"""Seconds between two looks with --watch."""


def run(config: Config, words: Sequence[str]) -> int:
    """Print the status of the server at -n, or of the processes of this machine that the words name; return the exit
    status: with --expect, 0 only if all expected nodes have the current generation in place.

    With --watch, print it again and again, until a signal ends that, or all expected nodes have it. Raises NotAdmitted
    or MasterUnreachable if a server gives no status, and as `local_status.run`.
    """
    expected = expand(config.expect) if config.expect is not None else None
    if not config.watch:
        return _show(config, words, expected)
    return _watch(lambda: _show(config, words, expected), until_ok=expected is not None, as_json=config.json)


def _watch(show: Callable[[], int], *, until_ok: bool, as_json: bool, rounds: int = -1) -> int:
    """`rounds`: how often, at most; negative: for ever."""
    first = True
    while rounds and not output.is_lost():
        rounds -= 1
        if not as_json:
            output.clear_terminal()
            print_line(time.strftime("%F %T"))
        try:
            status = show()
        except CommandFailed as error:
            status = int(error.exit_status)
            if not as_json:
                print_line(str(error))
        except XGetError as error:
            if first:
                raise
            status = int(error.exit_status)
            print_line(json.dumps({"problem": str(error)}) if as_json else str(error))
        if until_ok and status == Exit.OK:
            return status
        first = False
        if rounds:
            time.sleep(_EVERY)
    return Exit.OK


def _show(config: Config, words: Sequence[str], expected: Sequence[str] | None) -> int:
    if config.host is None:
        return local_status.run(config, words)
    status, nodes = _read(config, with_nodes=expected is not None or config.tree)
    expectation = compare(expected, nodes) if expected is not None and nodes is not None else None
    if config.json:
        extra = {"expected": expectation.as_json()} if expectation is not None else {}
        listed = json.loads(nodes.encode()) if config.tree and nodes is not None else {}
        print_line(json.dumps({**status, **extra, **listed}))
    else:
        _print(status, nodes if config.tree else None, expectation)
    if expectation is not None and not expectation.met:
        why = f"not all expected nodes are complete: {expectation.problem}"
        return failed(config, CommandFailed("status", why, Exit.FAILED))
    return Exit.OK


def _print(status: dict[str, Any], nodes: Distribution | None, expectation: Expectation | None) -> None:
    for line in table(status).splitlines():
        print_line(line)
    for line in tree_lines(nodes) if nodes is not None else ():
        print_line(line)
    for line in expectation.lines() if expectation is not None else ():
        print_line(line)


def _read(config: Config, *, with_nodes: bool) -> tuple[dict[str, Any], Distribution | None]:
    """What the server says of itself, and the list of its nodes. Raises NotAdmitted, MasterUnreachable, CommandFailed,
    ProtocolViolation."""
    assert config.host is not None
    begun = time.monotonic()
    # A child is asked too: its certificate need not contain the name by which it is asked for.
    seconds, credentials = min(config.timeout, TIMEOUT), credentials_of(replace(config, host=None))
    where = config.host, config.port
    try:
        status = read_status(*where, seconds, credentials)
        if not with_nodes:
            return status, None
        try:
            text = read_file(*where, "nodes", "the list of its nodes", seconds, credentials)
        except NinepError as error:
            why = f"{config.host} port {config.port} does not list nodes: {error} (is it a master of this version?)"
            raise CommandFailed("status", why, Exit.FAILED) from None
        return status, Distribution.decode(text)
    except NotAdmitted:
        raise
    except (LinkLost, NinepError, ValueError) as error:
        why = error.why if isinstance(error, LinkLost) else str(error)
        raise MasterUnreachable(*where, time.monotonic() - begun, why) from None
