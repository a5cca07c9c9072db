"""Reads a command line as the usage text describes it, and says what is wrong with it in words.

The usage text in `cli.py` is the single source: docopt reads the options from it. The arguments are matched here,
because docopt refuses an option that is given twice and `--`, and its errors do not name what is wrong.

The description of an option begins with the roles that it is for: `master:`, `client, status:`. Without them it is for
all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import docopt

from xget_lib.config import did_you_mean
from xget_lib.errors import UsageError, printable

MASTER = "master"
CLIENT = "client"
SIGN = "sign"
LIST = "list"
STATUS = "status"
STOP = "stop"
CONFIG = "config"
DOCTOR = "doctor"

_COMMAND = re.compile(r"^  xget\.py ([a-z]+)\b", re.MULTILINE)
_OPTION = re.compile(
    r"^  (?:-\w(?: [A-Z]+)?, )?--([a-z-]+)(?:=([A-Z-]+))? {2,}(?:([a-z]+(?:, [a-z]+)*): )?", re.MULTILINE
)
_REPEATABLE = re.compile(r"^  (?:-\w(?: [A-Z]+)?, )?--([a-z-]+)=.*may be repeated", re.MULTILINE)
_DEFAULT = re.compile(r"--([a-z-]+)=[^\n]*?\[default: (\S+)\]")


@dataclass(frozen=True)
class Option:
    """One option. `argument` is the name of its value, None for a flag; `roles` is empty where it is for all."""

    name: str
    short: str | None
    argument: str | None
    roles: tuple[str, ...]
    repeatable: bool = False
    """Whether all its values count. Of another option the last one does."""

    @property
    def usage(self) -> str:
        return f"--{self.name}={self.argument}" if self.argument else f"--{self.name}"


@dataclass
class Parsed:
    """A command line. `options` has those that are given, by long name: the last value, or True for a flag,
    or a list of all values where the option may be repeated."""

    options: dict[str, str | bool | list[str]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    command: str | None = None
    """The first word, if it is one of the commands and stands before `--`."""
    command_first: bool = False
    """Whether it stands before -n: behind that, it may be a <source> of this name."""
    error: UsageError | None = None
    """The first thing that is wrong. The rest is read nevertheless: --json says how to report it."""


class Usage:
    """What the usage text says. `commands` are its forms that begin with a word."""

    def __init__(self, text: str) -> None:
        self.commands = tuple(_COMMAND.findall(text))
        described = {
            name: (argument or None, tuple(roles.split(", ")) if roles else ())
            for name, argument, roles in _OPTION.findall(text)
        }
        self.options: dict[str, Option] = {}
        unwrapped = re.sub(r"\n {20,}", " ", text)  # so that no line of a description begins like an option
        repeatable = set(_REPEATABLE.findall(unwrapped))
        for option in docopt.parse_options(unwrapped):
            name = (option.longer or "").removeprefix("--")
            self.options[name] = Option(name, option.short, *described[name], name in repeatable)
        self.defaults: dict[str, str] = dict(_DEFAULT.findall(unwrapped))

    @property
    def flags(self) -> list[str]:
        return [option.name for option in self.options.values() if option.argument is None]

    def parse(self, arguments: Sequence[str]) -> Parsed:
        """Read arguments; see Parsed for what is wrong with them."""
        return _Parser(self, arguments).parsed

    def is_for(self, option: str, role: str) -> bool:
        """Whether an option has an effect in a role."""
        roles = self.options[option].roles
        return not roles or role in roles

    def check_role(self, parsed: Parsed, role: str) -> None:
        """Raise UsageError for an option that has no effect in a role."""
        for name in parsed.options:
            if not self.is_for(name, role):
                # `doctor` takes what those take for whom it examines.
                roles = [each for each in self.options[name].roles if each != DOCTOR]
                raise UsageError(f"--{name}: has no effect for {_a(role)} (only for {' and '.join(map(_a, roles))})")


class _Parser:
    """Reads one command line, from left to right."""

    def __init__(self, usage: Usage, arguments: Sequence[str]) -> None:
        self.parsed = Parsed()
        self._usage = usage
        self._short = {option.short: option for option in usage.options.values() if option.short}
        self._rest = list(arguments)
        while self._rest:
            argument = self._rest.pop(0)
            try:
                self._take(argument)
            except UsageError as error:
                self.parsed.error = self.parsed.error or error

    def _take(self, argument: str) -> None:
        if argument == "--":
            self.parsed.words += self._rest
            self._rest.clear()
        elif argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            self._set(self._long(name), value if equals else None, argument.partition("=")[0])
        elif argument.startswith("-") and argument != "-":
            self._take_letters(argument[1:])
        else:
            if not self.parsed.words and argument in self._usage.commands:
                self.parsed.command = argument
                self.parsed.command_first = "host" not in self.parsed.options
            self.parsed.words.append(argument)

    def _long(self, name: str) -> Option:
        """The option with a name, or with a name that begins like this."""
        options = self._usage.options
        found = [name] if name in options else [each for each in options if name and each.startswith(name)]
        if len(found) > 1:
            names = " or ".join(f"--{each}" for each in found)
            raise UsageError(f"option --{printable(name)} is ambiguous (did you mean {names}?)")
        if not found:
            raise UsageError(f"unknown option --{printable(name)}{did_you_mean(name, options, '--') or _SEE_HELP}")
        return options[found[0]]

    def _take_letters(self, letters: str) -> None:
        while letters:
            letter, letters = f"-{letters[0]}", letters[1:]
            option = self._short.get(letter)
            if option is None:
                raise UsageError(f"unknown option {printable(letter)}{_SEE_HELP}")
            if option.argument:
                self._set(option, letters or None, letter)
                return
            self._set(option, None, letter)

    def _set(self, option: Option, value: str | None, spelled: str) -> None:
        if option.argument is None:
            if value is not None:
                raise UsageError(f"option {spelled} takes no value, but got {printable(value)!r}")
            self.parsed.options[option.name] = True
            return
        if value is None:
            if not self._rest:
                raise UsageError(f"option {spelled} needs a value ({option.usage})")
            value = self._rest.pop(0)
        former = self.parsed.options.get(option.name)
        if option.repeatable:
            self.parsed.options[option.name] = [*(former if isinstance(former, list) else []), value]
        else:
            self.parsed.options[option.name] = value


_SEE_HELP = " (see --help)"


def _a(role: str) -> str:
    return f"a {role}" if role in (MASTER, CLIENT) else f"the command {role}"
