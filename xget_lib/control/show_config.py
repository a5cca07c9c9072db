"""`xget.py config`: prints the settings of a run, and where each comes from, as a configuration file or as JSON.

Of a secret it prints the name of its file, never what is in there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from xget_lib.config import OPTIONS, DeleteLimit
from xget_lib.errors import Exit, printable
from xget_lib.report.output import print_line
from xget_lib.settings import DEFAULT, FILE, OTHER_OPTION, Settings, Source
from xget_lib.usage import CLIENT, MASTER

_COMMENT_AT = 40
"""Column, where the values leave room."""


def run(shown: Sequence[Settings], *, as_json: bool) -> int:
    """Print the settings of each role. Returns the exit status."""
    for settings in shown:
        for line in [json.dumps(_facts(settings))] if as_json else _lines(settings):
            print_line(line)
    return Exit.OK


def _values(settings: Settings) -> Iterator[tuple[str, Any]]:
    """(key, value) of what has an effect in the role; the value is None where it is not set."""
    words = settings.words
    if settings.role == MASTER:
        yield "path", words[0] if words else None
    elif settings.role == CLIENT:
        yield "sources", words[:-1] or None
        yield "destination", words[-1] if words else None
    for name in OPTIONS:
        roles = settings.file.roles[name]
        if not roles or settings.role in roles:
            value = getattr(settings.config, name.replace("-", "_"))
            form: Callable[[Any], Any] = _FORMS.get(name, _plain)
            yield name, form(value) if value is not None else None


def _plain(value: Any) -> Any:
    """A value as the file can have it."""
    if isinstance(value, tuple):
        return [str(each) for each in value] or None
    if isinstance(value, DeleteLimit):
        return str(value) if value.is_percentage else value.number
    if isinstance(value, float):
        return "forever" if value == math.inf else int(value) if value.is_integer() else value
    return value


def _at(value: tuple[str, int]) -> str:
    host, port = value
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _from_to(value: tuple[int, int]) -> str:
    first, last = value
    return f"{first}-{last}"


_FORMS: Mapping[str, Callable[[Any], str]] = {"http": _at, "ports": _from_to}
"""How the file has the values of these options; `_plain` says it of the others."""


def _facts(settings: Settings) -> dict[str, Any]:
    values = {}
    for key, value in _values(settings):
        source = settings.sources[key]
        values[key] = {"value": value, "source": source.kind}
        if source.setting is not None:
            values[key] |= {"file": source.setting.path, "line": source.setting.line}
        if source.option is not None:
            values[key] |= {"option": source.option}
    return {"role": settings.role, "file": settings.file.path, "settings": values}


def _lines(settings: Settings) -> Iterator[str]:
    """A file that says the same, with comments."""
    yield f"# {printable(settings.file.path)}" if settings.file.path else "# no configuration file"
    yield f"[{settings.role}]"
    for key, value in _values(settings):
        text = f"# {key} is not set" if value is None else f"{key} = {printable(json.dumps(value, ensure_ascii=False))}"
        comment = "" if value is None and settings.sources[key].kind == DEFAULT else _comment(settings.sources[key])
        yield f"{text:{_COMMENT_AT}}  # {comment}" if comment else text


def _comment(source: Source) -> str:
    if source.kind == FILE and source.setting is not None:
        return source.setting.place
    if source.kind == OTHER_OPTION:
        return f"because of {source.option}"
    return source.kind
