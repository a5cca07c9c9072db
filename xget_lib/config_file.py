"""The configuration file: which one is read, what is wrong with it, and what it says for one role.

    port = 20004                    at the top: for every role
    [master]                        for a master, and for `reload` and `sign`, which work for one
    path = "/srv/images"
    [client]                        for a client
    host = "head"
    sources = ["."]
    destination = "/var/lib/images"

The keys are the long option names without the leading dashes, and the arguments of the two roles: so that
`xget --config FILE` is a whole command. Other commands (`status`) read both sections, for the ports and the secret.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from xget_lib import config
from xget_lib.errors import UsageError, printable
from xget_lib.usage import CLIENT, MASTER, SIGN, Usage

SYSTEM_FILE = "/etc/xget/xget.toml"
"""Read where it exists, unless `--config` or the variable names another one."""
VARIABLE = "XGET_CONFIG"
"""In the environment: the file instead of that. Empty: none."""

ARGUMENTS = {"path": (MASTER,), "sources": (CLIENT,), "destination": (CLIENT,)}
"""The keys that are no options, and their roles."""
_NOT_IN_A_FILE = {"config", "role", "help", "version"}
_SECTIONS = {MASTER: (MASTER, "reload", SIGN), CLIENT: (CLIENT,)}
"""Each section, and the roles that it is for."""
_OF_THIS_MACHINE = "status"
"""Does not ask the host that stands in the section of clients: without -n it is about this machine."""
_NOT_SHOWN = {"secret", "key", "sign-key", "tls-key"}
"""Keys whose wrong value is not repeated: it may be the secret itself, in the place of the name of its file."""


@dataclass(frozen=True)
class Setting:
    """A value, and where it stands."""

    section: str
    value: Any
    path: str
    line: int | None

    @property
    def place(self) -> str:
        return _place(self.path, self.line)


@dataclass(frozen=True)
class ConfigFile:
    """A file that was read and checked. `path` is None, and there are no settings, where none is read."""

    roles: Mapping[str, tuple[str, ...]]
    """The roles of each key; none: all."""
    path: str | None = None
    settings: Mapping[tuple[str, str], Setting] = field(default_factory=dict)
    """By section ("" at the top) and key."""
    problem: str = ""
    """Why it was not read. Only `xget doctor` goes on without it."""

    def of(self, role: str) -> dict[str, Setting]:
        """What holds for a role, by key. A section counts more than the top."""
        sections = [section for section, roles in _SECTIONS.items() if role in roles] or [CLIENT, MASTER]
        found = {}
        for wanted in ("", *sections):
            for (section, key), setting in self.settings.items():
                roles = self.roles[key]
                beside = (wanted, role, key) == (CLIENT, _OF_THIS_MACHINE, "host")
                if section == wanted and (not roles or role in roles) and not beside:
                    found[key] = setting
        return found

    def arguments(self, role: str) -> list[str]:
        """The arguments of a role, if the file has them: a path, or sources (without any: all) and a destination."""
        found = self.of(role)
        if role == MASTER:
            return words("path", found["path"].value) if "path" in found else []
        if role != CLIENT or "destination" not in found:
            return []
        sources = words("sources", found["sources"].value) if "sources" in found else ["."]
        return [*sources, *words("destination", found["destination"].value)]


def read(given: str | None, usage: Usage) -> ConfigFile:
    """The file that is named (`--config`; "" for none), or else that of the environment, or of the system.

    Raises UsageError, with the file and the line, for one that cannot be read, or that says what cannot be.
    """
    named = os.environ.get(VARIABLE) if given is None else given
    path = SYSTEM_FILE if named is None else named
    roles = _roles(usage)
    if not path or (named is None and not _is_there(path)):
        return ConfigFile(roles)
    what = "--config " if given is not None else ""
    hint = "" if given is not None else " (--config= reads no file)"
    text = _read_text(path, what, hint)
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        why, _, at = str(error).partition(" (at line ")
        number = at.partition(",")[0]
        raise UsageError(f"{_place(path, int(number) if number.isdigit() else None)}: {printable(why)}") from None
    lines = dict(_lines(text))
    settings = {}
    for section, key, value in _keys(path, values, lines, roles):
        setting = Setting(section, value, path, lines.get((section, key)))
        _check(key, setting, roles)
        settings[section, key] = setting
    return ConfigFile(roles, path, settings)


def read_if_right(given: str | None, usage: Usage) -> ConfigFile:
    """As `read`; what is wrong is in `problem`."""
    try:
        return read(given, usage)
    except UsageError as error:
        return ConfigFile(_roles(usage), problem=str(error))


def _roles(usage: Usage) -> dict[str, tuple[str, ...]]:
    """The roles of each key."""
    return {name: option.roles for name, option in usage.options.items() if name not in _NOT_IN_A_FILE} | ARGUMENTS


def _is_there(path: str) -> bool:
    """Whether there is a file, or may be one: what this user may not know is not nothing."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    except OSError:
        pass
    return True


def _read_text(path: str, what: str, hint: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read().decode()
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            line = error.object.count(b"\n", 0, error.start) + 1
            raise UsageError(f"{_place(path, line)}: not UTF-8") from None
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{what}{printable(path)}: {why}{hint}") from None


def _keys(
    path: str, values: Mapping[str, Any], lines: Mapping[tuple[str, str], int], roles: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, str, Any]]:
    """(section, key, value) of each key. Raises UsageError for a section that does not exist."""
    for name, value in values.items():
        place = _place(path, lines.get(("", name)))
        if name in _SECTIONS:
            if not isinstance(value, dict):
                raise UsageError(f"{place}: {name} is a section: write [{name}]")
            yield from ((name, key, inner) for key, inner in value.items())
        elif isinstance(value, dict) and name not in roles:
            raise UsageError(f"{place}: unknown section {name!r}{config.did_you_mean(name, _SECTIONS)}")
        else:
            yield "", name, value


def _check(key: str, setting: Setting, roles: Mapping[str, tuple[str, ...]]) -> None:
    """Raise UsageError for a key that does not exist or stands in the wrong section, or a value that it cannot have."""
    place, section = setting.place, setting.section
    if key not in roles:
        raise UsageError(f"{place}: unknown option {key!r}{config.did_you_mean(key, roles)}")
    if section and roles[key] and not set(_SECTIONS[section]) & set(roles[key]):
        right = [other for other, for_roles in _SECTIONS.items() if set(for_roles) & set(roles[key])]
        where = f"in the section [{right[0]}]" if right else "above all sections"
        raise UsageError(f"{place}: {key} has no effect in the section [{section}] (write it {where})")
    try:
        if key in ARGUMENTS:
            words(key, setting.value)
        else:
            config.check(key, setting.value)
    except ValueError as error:
        shown = "the value" if key in _NOT_SHOWN else printable(repr(setting.value))
        raise UsageError(f"{place}: {key}: {shown} is {error}") from None


def words(key: str, value: Any) -> list[str]:
    """The arguments that a key stands for. Raises ValueError."""
    texts = value if key == "sources" and isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) and text and "\0" not in text for text in texts):
        raise ValueError("not a text, or an empty one" if key != "sources" else "not a list of texts, or an empty one")
    return texts


def _lines(text: str) -> Iterator[tuple[tuple[str, str], int]]:
    """((section, key), line) of each key of a valid file, with lines counted from 1; sections are keys at the top.

    tomllib does not say where a key stands. So each statement is read by itself: the lines until they are valid.
    """
    section, statement, first = "", "", 1
    for number, line in enumerate(text.split("\n"), 1):
        statement += f"{line}\n"
        try:
            found = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue  # a text or a list of several lines
        if statement.lstrip().startswith("["):
            section = next(iter(found))
            yield ("", section), first
        else:
            for key, value in found.items():
                yield (section, key), first
                if not section and isinstance(value, dict):
                    yield from (((key, inner), first) for inner in value)
        statement, first = "", number + 1


def _place(path: str, line: int | None) -> str:
    return f"{printable(path)} line {line}" if line else printable(path)
