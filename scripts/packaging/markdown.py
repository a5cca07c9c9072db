"""Our documents as manual pages: headings, paragraphs, lists, tables and examples, as far as the documents use them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from scripts.packaging.roff import Page

_ITEM = re.compile(r"(?P<mark>-|\d+\.) (?P<text>.*)", re.DOTALL)


def write_markdown(page: Page, text: str) -> None:
    """Adds a document to a page. Its title, the first line, is left out."""
    for kind, lines in _blocks(text.splitlines()):
        if kind == "example":
            page.example(lines)
        elif kind == "table":
            page.table(_rows(lines))
        elif kind == "heading":
            _heading(page, lines[0])
        else:
            _text(page, " ".join(line.strip() for line in lines))


def _heading(page: Page, line: str) -> None:
    marks, _, title = line.partition(" ")
    if len(marks) == 2:
        page.section(title)
    elif len(marks) > 2:
        page.subsection(title)


def _text(page: Page, text: str) -> None:
    item = _ITEM.fullmatch(text)
    if item:
        page.item("*" if item["mark"] == "-" else item["mark"], item["text"])
    else:
        page.paragraph(text)


def _blocks(lines: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Kinds and lines, in their order."""
    kind, block, fenced = "", list[str](), False
    for line in [*lines, ""]:
        if line.startswith("```"):
            fenced = not fenced
            new = ""
        elif fenced or line.startswith("    "):
            new = "example"
        else:
            new = _kind(line, kind)
        starts = bool(_ITEM.match(line)) and new == "text"
        if kind and (new != kind or starts or kind == "heading"):
            yield kind, _without_blank_ends(block, kind)
            block = []
        kind = new
        if kind:
            block.append(line[4:] if kind == "example" and not fenced else line)


def _kind(line: str, before: str) -> str:
    if not line.strip():
        return "example" if before == "example" else ""
    if line.startswith("#"):
        return "heading"
    return "table" if line.startswith("|") else "text"


def _without_blank_ends(lines: list[str], kind: str) -> list[str]:
    while kind == "example" and lines and not lines[-1].strip():
        lines.pop()
    return lines


def _rows(lines: Sequence[str]) -> list[list[str]]:
    """The cells of a table; the second line only separates its head."""
    rows = [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))] for line in lines
    ]
    return [rows[0], *rows[2:]]
