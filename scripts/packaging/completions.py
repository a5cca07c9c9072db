"""Completions for bash, zsh and fish, made from the help text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scripts.packaging.help_text import blocks
from xget_lib.config import METHODS, TREES
from xget_lib.usage import Usage

_CHOICES = {"auth": METHODS, "open": TREES, "linger": ("forever",)}
"""Options with values that are words."""
_KINDS = {"FILE": "file", "PATH": "file", "DIR": "directory", "HOST": "host", "USERS": "user", "NAME": "user"}
"""What the value of an option is, by its name in the help text."""
_ROLES = re.compile(r"^[a-z]+(?:, [a-z]+)*: ")
_LONGEST = 80
"""Characters of a description."""


@dataclass(frozen=True)
class _Option:
    """`kind`: what its value is: file, directory, host, user, words or other; empty for a flag."""

    name: str
    short: str
    argument: str
    kind: str
    words: tuple[str, ...]
    description: str


def bash(text: str) -> str:
    """For bash 4.4 or newer, with bash-completion or without it."""
    options = _options(text)
    cases = "".join(
        f"    {'|'.join(spelling for option in options if option.kind == kind for spelling in _spellings(option))})\n"
        f"        {command}\n        return\n        ;;\n"
        for kind, command in _BASH_VALUES.items()
        if any(option.kind == kind for option in options)
    )
    cases += "".join(
        f"    {'|'.join(_spellings(option))})\n"
        f"        mapfile -t COMPREPLY < <(compgen -W '{' '.join(option.words)}' -- \"$current\")\n"
        f"        return\n        ;;\n"
        for option in options
        if option.kind == "words"
    )
    names = " ".join(f"--{option.name}{'=' if option.argument else ''}" for option in options)
    return _BASH.format(cases=cases, names=names, commands=" ".join(Usage(text).commands))


def zsh(text: str) -> str:
    """For the completion system of zsh, compinit."""
    lines = []
    for option in _options(text):
        value = f":{option.argument}:{_zsh_action(option)}" if option.argument else ""
        described = f"[{_zsh_escaped(option.description)}]{value}"
        equals, plus = ("=", "+") if option.argument else ("", "")
        if option.short:
            both = f"({option.short} --{option.name})"
            lines.append(f"'{both}'{{{option.short}{plus},--{option.name}{equals}}}'{described}'")
        else:
            lines.append(f"'--{option.name}{equals}{described}'")
    return _ZSH.format(options=" \\\n    ".join(lines), commands=" ".join(Usage(text).commands))


def fish(text: str) -> str:
    """For fish 3 or newer."""
    lines = ["# Completion of xget for fish. Made from the text of `xget --help`."]
    for command in Usage(text).commands:
        lines.append(f"complete -c xget -n __fish_use_subcommand -a {command}")
    for option in _options(text):
        words = ["complete -c xget"]
        words += [f"-s {option.short[1:]}"] if option.short else []
        words += [f"-l {option.name}", *_fish_value(option)]
        words.append("-d '" + option.description.replace("\\", "\\\\").replace("'", "\\'") + "'")
        lines.append(" ".join(words))
    return "\n".join([*lines, ""])


def _options(text: str) -> list[_Option]:
    """All options of the help text, in its order."""
    described: dict[str, str] = {}
    for block in blocks(text):
        for spelling, description in block.options:
            name = re.search(r"--([a-z-]+)", spelling)
            if name:
                described[name[1]] = _short(description)
    return [
        _Option(
            option.name,
            option.short or "",
            option.argument or "",
            _kind(option.name, option.argument),
            tuple(_CHOICES.get(option.name, ())),
            described.get(option.name, ""),
        )
        for option in Usage(text).options.values()
    ]


def _kind(name: str, argument: str | None) -> str:
    if argument is None:
        return ""
    return "words" if name in _CHOICES else _KINDS.get(argument, "other")


def _short(description: str) -> str:
    """The beginning of a description: the first thing that it says."""
    said = _ROLES.sub("", description, count=1)
    first = re.split(r" \(|; |: |\. | \[default|, such as|, also as", said)[0]
    return first if len(first) <= _LONGEST else first[: first.rindex(" ", 0, _LONGEST)] + "..."


# bash


def _spellings(option: _Option) -> list[str]:
    return [f"--{option.name}", *([option.short] if option.short else [])]


_BASH_VALUES = {
    "file": 'compopt -o filenames\n        mapfile -t COMPREPLY < <(compgen -f -- "$current")',
    "directory": 'compopt -o filenames\n        mapfile -t COMPREPLY < <(compgen -d -- "$current")',
    "host": 'mapfile -t COMPREPLY < <(compgen -A hostname -- "$current")',
    "user": 'mapfile -t COMPREPLY < <(compgen -u -- "$current")',
    "other": ":",
}

_BASH = """\
# Completion of xget for bash. Made from the text of `xget --help`.

_xget() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} option=${{COMP_WORDS[COMP_CWORD - 1]}}
    COMPREPLY=()
    # bash splits --name=value into three words.
    if [[ $current == = ]]; then
        current=
    elif [[ $option == = ]] && ((COMP_CWORD > 1)); then
        option=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    case $option in
{cases}    esac
    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W '{names}' -- "$current")
        [[ ${{#COMPREPLY[@]}} -ne 1 || ${{COMPREPLY[0]}} != *= ]] || compopt -o nospace
        return
    fi
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
    if ((COMP_CWORD == 1)); then
        mapfile -O ${{#COMPREPLY[@]}} -t COMPREPLY < <(compgen -W '{commands}' -- "$current")
    fi
}}

complete -F _xget xget
"""

# zsh


def _zsh_action(option: _Option) -> str:
    if option.kind == "words":
        return f"({' '.join(option.words)})"
    return {"file": "_files", "directory": "_files -/", "host": "_hosts", "user": "_users"}.get(option.kind, " ")


def _zsh_escaped(text: str) -> str:
    return re.sub(r"([\[\]:\\])", r"\\\1", text).replace("'", "'\\''")


_ZSH = """\
#compdef xget
# Completion of xget for zsh. Made from the text of `xget --help`.

_xget_first() {{
    local -a commands
    commands=({commands})
    _alternative 'commands:command:compadd -a commands' 'files:path:_files'
}}

_arguments -s -S \\
    {options} \\
    '1: :_xget_first' \\
    '*:path:_files'
"""

# fish


def _fish_value(option: _Option) -> list[str]:
    if option.kind == "words":
        return [f"-x -a '{' '.join(option.words)}'"]
    return {
        "": [],
        "file": ["-r -F"],
        "directory": ["-x -a '(__fish_complete_directories)'"],
        "host": ["-x -a '(__fish_print_hostnames)'"],
        "user": ["-x -a '(__fish_complete_users)'"],
    }.get(option.kind, ["-x"])
