"""Manual pages that man and mandoc have no complaint about, with everything that their sources have."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.packaging.help_text import blocks, read_help
from scripts.packaging.manual import command_page, configuration_page, protocol_page, settings, write_pages
from scripts.packaging.markdown import write_markdown
from scripts.packaging.release import Release, read_release
from scripts.packaging.roff import Page, inline, literal
from test.packaging.packages import ROOT
from test.support.installed import lacking
from xget_lib.usage import Usage

RELEASE = read_release(ROOT)
NAMES = ("man1/xget.1", "man5/xget.toml.5", "man7/xget-protocol.7")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("man")
    write_pages(RELEASE, place)
    return place


def shown(path: Path) -> str:
    """A page as a reader sees it, on a terminal so wide that no description is divided."""
    if shutil.which("man") is None:
        lacking("man is not installed (apt install man-db)")
    environment = {"PATH": "/usr/bin:/bin", "MANWIDTH": "1000", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""}
    command = ["man", "--warnings", "--local-file", str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_man_shows_a_page_without_a_warning(pages: Path, name: str) -> None:
    assert "NAME" in shown(pages / name)


@pytest.mark.parametrize("name", NAMES)
def test_mandoc_has_no_warning(pages: Path, name: str) -> None:
    if shutil.which("mandoc") is None:
        lacking("mandoc is not installed (apt install mandoc)")
    command = ["mandoc", "-T", "lint", "-W", "warning", str(pages / name)]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout == ""


def test_the_page_of_the_command_has_every_option_and_all_of_its_description(pages: Path) -> None:
    text = read_help(ROOT)
    page = re.sub(r"\s+", " ", shown(pages / NAMES[0]))
    assert all(f"--{name}" in page for name in Usage(text).options)
    for block in blocks(text):
        for spelling, description in block.options:
            assert f"{spelling} {re.sub('[`<>]', '', description)}" in page
    for heading in ("SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "FILES", "SEE ALSO"):
        assert f" {heading} " in page


def test_the_page_of_the_configuration_file_has_every_key(pages: Path) -> None:
    page = shown(pages / NAMES[1])
    keys = re.findall(r"^#: ([a-z-]+) = ", (ROOT / "conf/xget.toml").read_text(), re.MULTILINE)
    assert len(keys) > 40
    assert [key for key in keys if f"{key} = " not in page] == []


def test_each_section_of_the_configuration_file_is_one_section_of_its_page(pages: Path) -> None:
    headings = re.findall(r"^[A-Z][A-Z, ]+$", shown(pages / NAMES[1]), re.MULTILINE)
    assert headings.count("MASTER, AND THE COMMANDS RELOAD AND SIGN") == headings.count("CLIENT") == 1, headings
    assert "MASTER" not in headings


def test_the_page_has_all_everyday_tasks_and_names_documents_where_a_package_has_them(pages: Path) -> None:
    table = (ROOT / "docs/guide.md").read_text().partition("## Everyday tasks\n")[2].partition("\n## ")[0]
    jobs = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)[1:]
    assert len(jobs) > 20
    page, configuration = (re.sub(r"\s+", " ", shown(pages / name)) for name in NAMES[:2])
    assert [job for job in jobs if f" {job} " not in page] == []
    for text in (page, configuration):
        assert re.findall(r"(?<!/usr/share/doc/xget/)\b(?:docs/)?\w+\.md", text) == []
    assert "(section " not in page


def test_the_page_of_the_protocol_has_all_words_of_the_document(pages: Path) -> None:
    document = (ROOT / "docs/protocol.md").read_text()
    words = set(re.findall(r"[A-Za-z]{4,}", re.sub(r"\]\([^)]*\)", "]", document)))
    page = subprocess.run(
        ["man", "--local-file", str(pages / NAMES[2])],
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "400", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    found = {word.lower() for word in re.findall(r"[A-Za-z]{4,}", page)}
    assert {word for word in words if word.lower() not in found} == set()


def test_pages_say_their_version_and_date() -> None:
    release = Release(ROOT, "7.5", "", 86400)
    for page in (command_page(release), configuration_page(release), protocol_page(release)):
        assert page.splitlines()[1].endswith('"1970-01-02" "XGet 7.5"')


# The parts.


@pytest.mark.parametrize(
    ("text", "roff"),
    [
        ("a\\b", "a\\eb"),
        ("--no-owners", "\\fB\\-\\-no\\-owners\\fR"),
        ("well-known", "well-known"),
        ("use `-n HOST` for <dest>", "use \\fB\\-n HOST\\fR for \\fIdest\\fR"),
        ("see [guide](guide.md)", "see guide"),
        ("**bold** it's", "\\fBbold\\fR it\\(aqs"),
        ("10 µs", "10 \\[u00B5]s"),
    ],
)
def test_text_is_escaped(text: str, roff: str) -> None:
    assert inline(text) == roff


def test_a_line_is_never_taken_for_a_macro() -> None:
    page = Page("name", 1, "what it is", "1", 0)
    page.paragraph(".xget is a directory")
    page.example([".TH", "'quoted"])
    lines = page.text().splitlines()
    assert "\\&.xget is a directory" in lines
    assert "\\&.TH" in lines
    assert literal("'quoted") in lines


def test_markdown_becomes_sections_items_tables_and_examples() -> None:
    page = Page("name", 1, "what it is", "1", 0)
    write_markdown(
        page,
        "# Title\n\n## First\n\nText of\ntwo lines.\n\n- one\n  more\n- two\n\n    code\n\n    again\n\n"
        "| a | b |\n|---|---|\n| 1 | 2\\|3 |\n",
    )
    text = page.text()
    assert "Title" not in text
    for part in (
        '.SH "FIRST"\nText of two lines.\n.IP "*" 4\none more\n.IP "*" 4\ntwo\n',
        ".nf\ncode\n\nagain\n.fi\n",
        "T{\n1\nT}\tT{\n2|3\nT}\n.TE\n",
    ):
        assert part in text


def test_the_help_text_has_options_that_go_on_in_further_lines() -> None:
    parts = blocks(
        "xget: what\n\nUsage:\n  xget <path>\n\nOptions:\n"
        "  -a, --all    one\n               two\n  --long-name=X\n       text\n"
    )
    assert parts[1].lines == ["xget <path>"]
    assert parts[2].heading == "Options"
    assert parts[2].options == [("-a, --all", "one two"), ("--long-name=X", "text")]


def test_text_right_below_options_is_no_part_of_them() -> None:
    parts = blocks("Output options:\n  -a    one\n        two\nExit status: 0 success,\n1 failure.\n")
    assert (parts[0].heading, parts[0].options) == ("Output options", [("-a", "one two")])
    assert parts[1].paragraph == "Exit status: 0 success, 1 failure."


@pytest.mark.parametrize("order", ["as now", "examples first, options in groups"])
def test_the_sections_of_the_page_of_the_command_are_in_the_usual_order(tmp_path: Path, order: str) -> None:
    text = (ROOT / "xget_lib/cli.py").read_text()
    if order != "as now":
        text = (
            '"""xget: what\n\nUsage:\n  xget.py <path>\n\nExamples:\n  head:  xget.py /srv\n\nText.\n\nMore text.\n\n'
            'First options:\n  -a  one\n\nOther options:\n  -b  two\nExit status: 0 success.\n"""\n'
        )
    for name in ("README.md", "docs/operations.md", "docs/guide.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "xget_lib").mkdir()
    (tmp_path / "xget_lib/cli.py").write_text(text)
    page = command_page(Release(tmp_path, "1", "", 0))
    sections = re.findall(r'^\.SH "?([A-Z ]+)"?$', page, re.MULTILINE)
    usual = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "FILES", "SEE ALSO"]
    assert sections == [each for each in usual if each in sections]
    assert len(sections) >= 7


def test_settings_of_the_example_file_keep_their_comment() -> None:
    parts = list(settings("# Head.\n\n# --- master\n\n# What\n# it is.\n#: a = 1\n#: b = 2\n\n[client]\n\n#: c = 3\n"))
    assert [(part.heading, part.comment, part.settings) for part in parts] == [
        ("", "Head.", []),
        ("master", "", []),
        ("", "What it is.", ["a = 1", "b = 2"]),
        ("client", "", []),
        ("", "", ["c = 3"]),
    ]
