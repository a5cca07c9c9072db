"""Writes manual pages with the macros of man(7), as groff and mandoc read them.

A page needs few macros, and only text that is escaped right. So this is code of ours and no library.
"""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Sequence
from itertools import zip_longest

_INLINE = re.compile(
    r"`(?P<code>[^`]+)`"
    r"|\*\*(?P<strong>[^*]+)\*\*"
    r"|\[(?P<link>[^\]]+)\]\((?P<target>[^)\s]+)\)"
    r"|(?P<option>(?<![\w-])--?[a-zA-Z][a-z-]*)"
    r"|(?P<place><[a-z]+>)"
)
_SPECIAL = {"\\": "\\e", "^": "\\(ha", "~": "\\(ti", "`": "\\(ga", "'": "\\(aq"}
_WIDEST_COLUMN = 24
"""Characters. A column of a table that is wider shares what is left of the line."""
_LINE = 78
"""Characters of a line in the source of a page."""


class Page:
    """One manual page, from its name to its last section."""

    def __init__(self, name: str, section: int, summary: str, version: str, epoch: int) -> None:
        """`summary`: what the page is about, in one line. `epoch`: its date, in seconds since 1970."""
        date = time.strftime("%Y-%m-%d", time.gmtime(epoch))
        self._lines = [
            "'\\\" t",  # man(1) then runs tbl, for the tables
            f'.TH {name.upper()} {section} "{date}" "XGet {literal(version)}"',
            ".nh",  # a name that is divided cannot be copied
            ".ad l",
            ".SH NAME",
            f"{name} \\- {inline(summary)}",
        ]

    def section(self, title: str) -> None:
        self._lines.append(f".SH {_quoted(inline(title.upper()))}")

    def subsection(self, title: str) -> None:
        self._lines.append(f".SS {_quoted(inline(title))}")

    def paragraph(self, text: str) -> None:
        if not self._lines[-1].startswith((".SH", ".SS")):
            self._lines.append(".PP")
        self._lines += _filled(text)

    def item(self, mark: str, text: str) -> None:
        """A paragraph with a mark such as a number beside it."""
        self._lines += [f".IP {_quoted(literal(mark))} 4", *_filled(text)]

    def tagged(self, tag: str, text: str) -> None:
        """A term in bold, and its explanation further to the right."""
        self._lines += [".TP", f"\\fB{literal(tag)}\\fR", *_filled(text)]

    def example(self, lines: Sequence[str]) -> None:
        """Lines that stay as they are."""
        if not self._lines[-1].startswith((".SH", ".SS")):
            self._lines.append(".PP")
        self._lines += [".RS 4", ".nf", *(_line(literal(line)) for line in lines), ".fi", ".RE"]

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Rows of cells; the first row is the head."""
        widths = [max(len(cell) for cell in column) for column in zip_longest(*rows, fillvalue="")]
        formats = " ".join("lx" if width > _WIDEST_COLUMN else "l" for width in widths)
        bold = " ".join("lbx" if width > _WIDEST_COLUMN else "lb" for width in widths)
        self._lines += [".TS", "allbox;", bold, f"{formats}."]
        for row in rows:
            cells = [*row, *[""] * (len(widths) - len(row))]
            self._lines += ["T{", "\nT}\tT{\n".join("\n".join(_filled(cell)) for cell in cells), "T}"]
        self._lines += [".TE", ".sp"]

    def text(self) -> str:
        return "\n".join([*self._lines, ""])


def literal(text: str) -> str:
    """Text as it is, with dashes that can be copied to a command line."""
    return "".join(map(_character, text)).replace("-", "\\-")


def inline(text: str) -> str:
    """Text with `code`, **strong** words, [links](target), options and <places>, as in the documents."""
    parts = []
    end = 0
    for found in _INLINE.finditer(text):
        parts += [_plain(text[end : found.start()]), _marked(found)]
        end = found.end()
    return "".join([*parts, _plain(text[end:])])


def _marked(found: re.Match[str]) -> str:
    if found["link"]:
        return inline(found["link"])
    if found["place"]:
        return f"\\fI{literal(found['place'][1:-1])}\\fR"
    return f"\\fB{literal(found['code'] or found['strong'] or found['option'])}\\fR"


def _plain(text: str) -> str:
    return "".join(map(_character, text))


def _character(character: str) -> str:
    return _SPECIAL.get(character) or (character if character.isascii() else f"\\[u{ord(character):04X}]")


def _filled(text: str) -> list[str]:
    """Text in lines that people can read and compare. Where they end means nothing."""
    lines = textwrap.wrap(inline(text), _LINE, break_long_words=False, break_on_hyphens=False)
    return [_line(line) for line in lines]


def _line(text: str) -> str:
    """A line that is not taken for a macro."""
    return f"\\&{text}" if text[:1] in (".", "'") else text


def _quoted(text: str) -> str:
    return '"' + text.replace('"', "\\(dq") + '"'
