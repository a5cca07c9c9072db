"""What else is on this machine: configuration files, other masters and clients, and services of systemd."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from glob import glob

from xget_lib import config_file
from xget_lib.config import Config
from xget_lib.config_file import ConfigFile
from xget_lib.control.local_status import Answer, ask_all
from xget_lib.doctor.findings import Finding, note, ok, problem
from xget_lib.errors import Exit, UsageError, printable
from xget_lib.process.local_processes import MASTER, local_processes
from xget_lib.usage import Usage

_BOOTED = "/run/systemd/system"
"""It is there where systemd is the service manager: sd_booted(3)."""
_UNITS = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--no-pager", "--full", "xget*"]
_SYSTEMCTL_WITHIN = 5.0
"""Seconds."""


def configuration(file: ConfigFile, usage: Usage) -> Iterator[Finding]:
    """The file of this run, and those of services: `/etc/xget/NAME.toml`."""
    if file.problem:
        yield problem("config", file.problem, "correct it; the rest was examined without it", Exit.USAGE)
    elif file.path:
        yield ok("config", f"{printable(file.path)}, {len(file.settings)} settings")
    others = sorted(glob(os.path.join(os.path.dirname(config_file.SYSTEM_FILE), "*.toml")))
    for path in others:
        if file.path is not None and os.path.realpath(path) == os.path.realpath(file.path):
            continue
        if path == config_file.SYSTEM_FILE and file.problem:
            continue
        try:
            config_file.read(path, usage)
        except UsageError as error:
            advice = "correct it: what reads it cannot start"
            yield problem("config", str(error).removeprefix("--config "), advice, Exit.USAGE)
        else:
            yield ok("config", printable(path))
    if not file.path and not file.problem and not others:
        yield ok("config", "no configuration file")


def processes(config: Config) -> Iterator[Finding]:
    """The masters and clients of this machine, as far as this user may see them."""
    answers = ask_all(config, list(local_processes()))
    if not answers:
        yield ok("processes", "no other xget runs here, as far as this user sees")
    for answer in answers:
        yield _of_process(answer)


def _of_process(answer: Answer) -> Finding:
    process, status = answer.process, answer.status
    where = f"{process.role} {process.pid} of {printable(process.path)}, port {process.port}"
    if status is None and answer.refused:
        return ok("processes", f"{where}: does not tell this user more")
    if status is None:
        advice = f"look at it; kill -CONT {process.pid} if it is stopped"
        return problem("processes", f"{where}: {printable(answer.problem)}", advice)
    trouble = str(status.get("problem") or status.get("nursery_problem") or "")
    if trouble:
        advice = "see its log" if process.role == MASTER else "see its log, and that of the master"
        return problem("processes", f"{where}: {printable(trouble)}", advice)
    return ok("processes", where)


def services() -> Iterator[Finding]:
    """The units of XGet that systemd knows. Nothing where there is no systemd."""
    if not os.path.isdir(_BOOTED):
        return
    try:
        listed = subprocess.run(_UNITS, capture_output=True, text=True, timeout=_SYSTEMCTL_WITHIN, check=False)
    except FileNotFoundError:
        return
    except subprocess.TimeoutExpired:
        yield note("services", f"systemctl does not answer in {_SYSTEMCTL_WITHIN:g} s")
        return
    yield from services_in(listed.stdout)


def services_in(listed: str) -> Iterator[Finding]:
    """What the lines of `systemctl list-units` say: unit, load, active, sub and description."""
    for line in listed.splitlines():
        unit, *words = line.split(maxsplit=4) or [""]
        if len(words) < 3 or unit.endswith(".slice"):
            continue
        state = f"{printable(unit)}: {printable(words[1])} ({printable(words[2])})"
        if words[0] == "not-found":
            yield note("services", f"{printable(unit)}: wanted by something, but there is no such unit")
        elif "failed" in words[1:3] or words[2] == "auto-restart":
            advice = f"systemctl status {printable(unit)}, journalctl -u {printable(unit)}"
            yield problem("services", state, advice)
        else:
            yield ok("services", state)
