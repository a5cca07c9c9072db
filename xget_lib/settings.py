"""What a run does, and with which values: from the command line, the configuration file and the defaults.

`read` is for the run itself, `shown` for `xget config`, which prints where each value comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xget_lib import config, config_file
from xget_lib.config import Config
from xget_lib.config_file import ARGUMENTS, ConfigFile, Setting
from xget_lib.errors import UsageError, printable
from xget_lib.usage import CLIENT, CONFIG, DOCTOR, LIST, MASTER, SIGN, STATUS, STOP, Parsed, Usage

COMMAND_LINE, FILE, CREDENTIAL, OTHER_OPTION, DEFAULT = "command line", "file", "credential", "option", "default"
"""The kinds of a source."""


Options = dict[str, str | bool | list[str]]


@dataclass(frozen=True)
class Source:
    """Where a value comes from. `setting`: in the file. `option`: another option, which implies the value."""

    kind: str
    setting: Setting | None = None
    option: str | None = None


@dataclass(frozen=True)
class Settings:
    """`role` is `master`, `client`, or a command such as `status`. `words` are its arguments."""

    role: str
    words: list[str]
    config: Config
    file: ConfigFile
    sources: Mapping[str, Source]
    """By long option name, and by the name of an argument in the file."""
    about: str = ""
    """Of `doctor`: whether it examines for a master or for a client. Then `words` has the path, if one is known."""


def read(usage: Usage, parsed: Parsed) -> Settings:
    """What to run. Raises UsageError."""
    if parsed.error is not None:
        raise parsed.error
    read_file = config_file.read_if_right if _is_command(parsed, DOCTOR) else config_file.read
    file = read_file(_text(parsed, "config"), usage)
    role, words = _role(parsed, parsed.words, file)
    if role != DOCTOR:
        return _settings(usage, parsed, file, role, words)
    about = _examined(parsed, words[1:], file)
    path = words[1:] or file.arguments(about)[-1:]
    return _settings(usage, parsed, file, role, [DOCTOR, *path], about)


def _is_command(parsed: Parsed, command: str) -> bool:
    """Whether the command line is that of a command: its name may also be a <source>."""
    return parsed.command == command and (parsed.command_first or len(parsed.words) == 1)


def _examined(parsed: Parsed, words: list[str], file: ConfigFile) -> str:
    """Whether `doctor` is to examine for a master or for a client. Raises UsageError where the file has the arguments
    of both, and nothing says which are meant."""
    if _wanted(parsed) is not None or "host" in parsed.options or not words:
        role = _server_role(parsed, words, file)
        if role == CLIENT or _wanted(parsed) is not None or file.arguments(MASTER):
            return role
    is_of_client = "host" in file.of(CLIENT) or file.arguments(CLIENT)
    return CLIENT if is_of_client and not file.arguments(MASTER) else MASTER


def is_shown(parsed: Parsed) -> bool:
    """Whether the command line is that of `xget config`, which is followed by that of a run."""
    return _is_command(parsed, CONFIG)


def shown(usage: Usage, parsed: Parsed) -> list[Settings]:
    """What holds for the command line after `config`: for both roles, where it says of none. Raises UsageError."""
    if parsed.error is not None:
        raise parsed.error
    options = {name: value for name, value in parsed.options.items() if name != "json"}
    run = Parsed(options, parsed.words[1:])
    file = config_file.read(_text(run, "config"), usage)
    if run.words or "host" in options:
        role, words = _role(run, run.words, file)
        return [_settings(usage, run, file, role, words)]
    wanted = _wanted(run)
    roles = [role for role in (MASTER, CLIENT) if file.arguments(role)] or [MASTER, CLIENT]
    roles = [wanted] if wanted is not None else roles
    return [
        _settings(usage, Parsed(_options_for(usage, options, role, roles)), file, role, file.arguments(role))
        for role in roles
    ]


def _options_for(usage: Usage, options: Options, role: str, roles: list[str]) -> Options:
    """Without those that are only for another of these roles."""
    others = [other for other in roles if other != role]
    return {
        name: value
        for name, value in options.items()
        if usage.is_for(name, role) or not any(usage.is_for(name, other) for other in others)
    }


def _settings(usage: Usage, parsed: Parsed, file: ConfigFile, role: str, words: list[str], about: str = "") -> Settings:
    usage.check_role(parsed, role)
    given = {name: value for name, value in parsed.options.items() if name not in ("config", "role")}
    in_file = file.of(role)
    if about:
        in_file = {
            key: value
            for key, value in file.of(about).items()
            if key in config_file.ARGUMENTS or usage.is_for(key, role)
        }
    in_section = [name for name in ("host", "port") if name in in_file and in_file[name].section]
    if "host" not in given and in_section == ["host"] and _names_port(in_file["host"].value):
        in_file.pop("port", None)  # the section counts more
    defaults: dict[str, Any] = dict.fromkeys((name for name in usage.flags if name not in ("help", "version")), False)
    defaults |= usage.defaults
    defaults |= {"workers": config.default_workers(), "secret": config.credential()}
    built = config.build(defaults, {name: setting.value for name, setting in in_file.items()}, given)
    sources = {name: _source(name, given, in_file, built) for name in config.OPTIONS}
    for name in ARGUMENTS:
        is_given = bool(parsed.words)
        sources[name] = Source(COMMAND_LINE) if is_given else _of_file(name, in_file) or Source(DEFAULT)
    return Settings(role, words, built, file, sources, about)


def _source(name: str, given: Mapping[str, Any], in_file: Mapping[str, Setting], built: Config) -> Source:
    if name == "port" and "port" not in given and _names_port(given.get("host") or _value(in_file, "host")):
        name = "host"
    if given.get(name) is not None:
        return Source(COMMAND_LINE)
    if name == "linger" and built.dry_run:
        return Source(OTHER_OPTION, option="dry-run")
    found = _of_file(name, in_file)
    if found is not None:
        return found
    if name == "linger" and built.follow:
        return Source(OTHER_OPTION, option="follow")
    if name == "auth" and built.auth:
        return Source(OTHER_OPTION, option="secret")
    return Source(CREDENTIAL if name == "secret" and built.secret is not None else DEFAULT)


def _of_file(name: str, in_file: Mapping[str, Setting]) -> Source | None:
    return Source(FILE, in_file[name]) if name in in_file else None


def _value(in_file: Mapping[str, Setting], name: str) -> Any:
    return in_file[name].value if name in in_file else None


def _names_port(host: Any) -> bool:
    return isinstance(host, str) and config.split_host(host)[1] is not None


def _text(parsed: Parsed, name: str) -> str | None:
    value = parsed.options.get(name)
    return value if isinstance(value, str) else None


def _wanted(parsed: Parsed) -> str | None:
    """The role that is named by `--role`."""
    wanted = _text(parsed, "role")
    if wanted not in (None, MASTER, CLIENT):
        raise UsageError(f"--role {printable(wanted)}: neither {MASTER} nor {CLIENT}")
    return wanted


def _role(parsed: Parsed, words: list[str], file: ConfigFile) -> tuple[str, list[str]]:
    """Which form of the usage the arguments have, and its arguments. Raises UsageError if it has none."""
    if parsed.command is not None and _is_command(parsed, parsed.command):
        has_host = "host" in parsed.options or "host" in file.of(parsed.command)
        _check_words(parsed.command, words[1:], has_host=has_host)
        return parsed.command, words
    role = _server_role(parsed, words, file)
    words = words or file.arguments(role)
    if role == CLIENT:
        if len(words) < 2:
            raise UsageError(f"missing {'<dest>' if words else '<source> and <dest>'} (see --help)")
        if "host" not in parsed.options and "host" not in file.of(CLIENT):
            raise UsageError("missing -n HOST (see --help)")
    elif not words:
        raise UsageError("missing <path>, or -n HOST <source>... <dest> (see --help)")
    elif len(words) > 1:
        raise UsageError(f"unexpected argument {printable(words[1])} (a client needs -n HOST; see --help)")
    return role, words


def _check_words(command: str, words: list[str], *, has_host: bool) -> None:
    """Raise UsageError for what cannot stand behind a command."""
    most = {SIGN: 1, LIST: 1, DOCTOR: 1, STOP: len(words), STATUS: 0 if has_host else len(words)}.get(command, 0)
    if len(words) > most:
        takes = "one" if most else "none"
        raise UsageError(f"unexpected argument {printable(words[most])} ({command} takes {takes})")
    if command == SIGN and not words:
        raise UsageError("missing <path> to sign (see --help)")
    if command == LIST and not has_host:
        raise UsageError("list needs -n HOST (see --help)")


def _server_role(parsed: Parsed, words: list[str], file: ConfigFile) -> str:
    """Whether this is a master or a client. Raises UsageError where the file has the arguments of both."""
    wanted = _wanted(parsed)
    if wanted is not None:
        return wanted
    # If the file names a master, this is a client, as with -n.
    if "host" in parsed.options or (len(words) > 1 and "host" in file.of(CLIENT)):
        return CLIENT
    if words:
        return MASTER
    has = [role for role in (MASTER, CLIENT) if file.arguments(role)]
    if len(has) > 1:
        raise UsageError(
            f"{printable(file.path or '')}: has the path of a master and the destination of a client"
            f" (choose one with --role={MASTER} or --role={CLIENT})"
        )
    return has[0] if has else MASTER
