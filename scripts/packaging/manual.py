"""The manual pages and completions of a release, from the help text, the example configuration and the documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from scripts.packaging import completions
from scripts.packaging.help_text import Block, blocks, read_help
from scripts.packaging.markdown import write_markdown
from scripts.packaging.release import Release
from scripts.packaging.roff import Page

COMPLETIONS = {
    "bash-completion/completions/xget": completions.bash,
    "zsh/vendor-completions/_xget": completions.zsh,
    "fish/vendor_completions.d/xget.fish": completions.fish,
}
"""Below /usr/share."""

_SECTIONS = {"Usage": "Synopsis"}
"""Headings of the help text that have another name in a manual page."""
_EXIT_STATUS = "Exit status: "
"""Begins a paragraph of the help text. README.md says more."""


def write_pages(release: Release, place: Path) -> None:
    """Writes the pages below a directory such as /usr/share/man."""
    for section, name, page in (
        (1, "xget", command_page(release)),
        (5, "xget.toml", configuration_page(release)),
        (7, "xget-protocol", protocol_page(release)),
    ):
        path = place / f"man{section}" / f"{name}.{section}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="ascii")


def write_completions(release: Release, place: Path) -> None:
    """Writes the completions below a directory such as /usr/share."""
    text = read_help(release.root)
    for name, make in COMPLETIONS.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make(text), encoding="utf-8")


# xget(1)


def command_page(release: Release) -> str:
    text = read_help(release.root).replace("xget.py", "xget")
    title, *rest = blocks(text)
    summary = title.paragraph.removeprefix("xget: ").rstrip(".")
    page = Page("xget", 1, summary, release.version, release.epoch)
    examples = [block for block in rest if block.heading == "Examples"]
    section = ""
    for block in rest:
        if block in examples or block.paragraph.startswith(_EXIT_STATUS):
            continue
        wanted = _section(block)
        if wanted != section:
            page.section(wanted)
            section = wanted
        if block.heading.endswith(" options"):
            page.subsection(block.heading)
        _write(page, block)
    page.section("Exit status")
    for status, meaning in _table_below((release.root / "README.md").read_text(encoding="utf-8"), "## Exit status"):
        page.tagged(status, meaning)
    for block in examples:
        page.section(block.heading)
        _write(page, block)
    guide = (release.root / "docs/guide.md").read_text(encoding="utf-8")
    for job, how in _table_below(guide, "## Everyday tasks"):
        page.tagged(job, _with_places(how))
    _files_and_more(page, release.root)
    return page.text()


def _section(block: Block) -> str:
    """The section of the page that a block of the help text belongs to."""
    if block.options:
        return "Options"
    return _SECTIONS.get(block.heading, block.heading) or "Description"


def _write(page: Page, block: Block) -> None:
    if block.lines:
        page.example(block.lines)
    for spelling, description in block.options:
        page.tagged(spelling, description)
    if block.paragraph:
        page.paragraph(block.paragraph)


def _files_and_more(page: Page, root: Path) -> None:
    operations = (root / "docs/operations.md").read_text(encoding="utf-8")
    page.section("Files")
    for name, meaning in _table_below(operations, "| file or port |"):
        page.tagged(name.replace("`", ""), _with_places(meaning.replace("(section ", "(docs/operations.md, section ")))
    page.section("See also")
    page.paragraph(
        "**xget.toml**(5), **xget-protocol**(7), **rsync**(1), **systemctl**(1). "
        "The documents in `/usr/share/doc/xget` describe how to use and run XGet, its security, and every message."
    )


def _with_places(text: str) -> str:
    """A text that names documents as the source does, with their names in a package."""
    return re.sub(r"\bdocs/(\w+\.md)", r"/usr/share/doc/xget/\1", text)


def _table_below(text: str, mark: str) -> Iterator[tuple[str, str]]:
    """The rows of the first table that begins with a line, or that stands below it: of two cells, without the head."""
    below = text[text.index(mark) :]
    table = re.search(r"^\|[^\n]*\n\|[-| ]+\n((?:\|[^\n]*\n)+)", below, re.MULTILINE)
    assert table, f"no table at {mark}"
    for line in table[1].splitlines():
        first, _, second = line.strip("| ").partition(" | ")
        yield first.strip(), second.strip()


# xget.toml(5)


@dataclass
class Setting:
    """Some settings with the comment above them, or only a comment, or the heading of a section."""

    heading: str = ""
    comment: str = ""
    settings: list[str] = field(default_factory=list)


def configuration_page(release: Release) -> str:
    first, *rest = settings((release.root / "conf/xget.toml").read_text(encoding="utf-8"))
    page = Page("xget.toml", 5, "configuration file of xget", release.version, release.epoch)
    page.section("Description")
    page.paragraph(first.comment)
    section = ""
    for setting in rest:
        # A line of comment says for what the section is that follows.
        if setting.heading and not section.startswith(setting.heading):
            section = setting.heading
            page.section(section)
        if setting.settings:
            page.tagged(", ".join(setting.settings), _with_places(setting.comment))
        elif setting.comment:
            page.paragraph(_with_places(setting.comment))
    page.section("See also")
    page.paragraph("**xget**(1)")
    return page.text()


def settings(text: str) -> Iterator[Setting]:
    """The parts of the example configuration file, which blank lines separate."""
    for part in re.split(r"\n{2,}", text.strip()):
        setting = Setting()
        for line in part.splitlines():
            heading = re.fullmatch(r"(?:# --- |(?:#: ?)?\[)(.*?)\]?", line)
            if heading:
                setting.heading = heading[1]
            elif line.startswith("#: ") or not line.startswith("#"):
                setting.settings.append(line.removeprefix("#: "))
            else:
                setting.comment = f"{setting.comment} {line.removeprefix('#').strip()}".strip()
        yield setting


# xget-protocol(7)


def protocol_page(release: Release) -> str:
    page = Page("xget-protocol", 7, "the protocol between nodes of xget", release.version, release.epoch)
    write_markdown(page, "## Description\n\n" + (release.root / "docs/protocol.md").read_text(encoding="utf-8"))
    page.section("See also")
    page.paragraph("**xget**(1)")
    return page.text()
