"""The parts of the help text in `xget_lib/cli.py`, the single source of the manual page and of the completions."""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

_HEADING = re.compile(r"(\S[^\n]*):\n(?=  )")
_ITEM = re.compile(r"^  (-\S.*?)(?:  +(.*))?$")


@dataclass
class Block:
    """What stands between two blank lines, or below a heading.

    One of the rest is filled: text, options, or lines that stay as they are.
    """

    heading: str = ""
    paragraph: str = ""
    options: list[tuple[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def read_help(root: Path) -> str:
    """The help text of the sources in a directory, without running them."""
    text = ast.get_docstring(ast.parse((root / "xget_lib/cli.py").read_text(encoding="utf-8")))
    assert text, "xget_lib/cli.py has no help text"
    return text


def blocks(text: str) -> list[Block]:
    """All of the help text, in its order. Text at the margin is a block of its own, also right below options."""
    apart = re.sub(r"^( .*\n)(?=\S)", r"\1\n", text.strip(), flags=re.MULTILINE)
    return [_block(part) for part in re.split(r"\n(?:[ ]*\n)+", apart)]


def _block(part: str) -> Block:
    block = Block()
    heading = _HEADING.match(part)
    if heading:
        block.heading = heading[1]
        part = part[heading.end() :]
    if _ITEM.match(part.partition("\n")[0]):
        for line in part.splitlines():
            found = _ITEM.match(line)
            if found:
                block.options.append((found[1], found[2] or ""))
            else:
                spelling, description = block.options[-1]
                block.options[-1] = (spelling, f"{description} {line.strip()}".strip())
    elif part.startswith(" "):
        block.lines = textwrap.dedent(part).splitlines()
    else:
        block.paragraph = " ".join(part.splitlines())
    return block
