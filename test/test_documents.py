"""The documents name only files, options, defaults and messages that exist.

A path is a word in `back quotes` or in an indented or fenced block that ends in a known suffix or a slash, or whose
first part is a directory here. It is relative to the top, to xget_lib, to docs, or to the directory whose line stands
above it in a block, further to the left. Absolute paths, <placeholders> and patterns are not checked.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from test.sim.scenario import Scenario
from xget_lib import cli, errors
from xget_lib.errors import Exit, XGetError
from xget_lib.manifest import entry, extents, index, manifest
from xget_lib.master import tracker_io, workers
from xget_lib.net import accept, connection, link, lobby, munge, outgoing, send_turns, tls, turns
from xget_lib.ninep import limits, session
from xget_lib.node import generation_restarts, read_ranges
from xget_lib.report import rate_limited_log
from xget_lib.serve import served
from xget_lib.serve.swarm import SLOTS_LIMIT
from xget_lib.swarm import former_nodes
from xget_lib.swarm import messages as swarm_messages
from xget_lib.swarm.messages import LINE_LIMIT
from xget_lib.worker import message_pace

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
USER_DOCUMENTS = [path for path in DOCUMENTS if path.name not in ("CHANGELOG.md",)]

WORD = re.compile(r"(?<![\w./<>*~$-])[\w.@-]+(?:/[\w.@-]+)*/?(?![\w/<>*])")
SUFFIXES = (".py", ".md", ".toml", ".sh", ".txt", ".service", ".svg", ".yaml")
BASES = ("", "xget_lib/", "docs/")


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


# Paths


def is_path(word: str, root: Path) -> bool:
    if word.endswith(SUFFIXES) or (word.endswith("/") and word.strip("./")):
        return True
    return "/" in word and any((root / base / word.split("/")[0]).is_dir() for base in BASES)


def named_paths(text: str, root: Path) -> Iterator[tuple[str, list[str]]]:
    """Each path as it is written, and where it may be, from the top."""
    fenced = False
    above: list[tuple[int, str]] = []  # indentation and directory of the lines that this one may belong to
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            indent = len(line) - len(line.lstrip())
            above = [(column, name) for column, name in above if column < indent]
            inside = "".join(name for _, name in above)
            words = [word for word in WORD.findall(line) if is_path(word, root)]
            if words and words[0].endswith("/") and line.lstrip().startswith(words[0]):
                yield words[0], [inside + words[0], *(base + words[0] for base in BASES)]
                above.append((indent, words.pop(0)))
                inside = "".join(name for _, name in above)
            yield from ((word, [inside + word, *(base + word for base in BASES)]) for word in words)
        else:
            above = []
            quoted = " ".join([*re.findall(r"`([^`\s]+)`", line), *re.findall(r"\]\(([^)\s:]+)\)", line)])
            yield from ((word, [base + word for base in BASES]) for word in WORD.findall(quoted) if is_path(word, root))


def missing_paths(text: str, root: Path) -> list[str]:
    return [
        word for word, candidates in named_paths(text, root) if not any((root / name).exists() for name in candidates)
    ]


EXAMPLES = re.compile(r"bench-results/(RUN\.json)?|(\./odd|boot|images)/.*|\.service|a/b/|current/|cur\.\.\.")
"""Paths in the documents that are not files of the project."""


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_in_the_documents_exists(path: Path) -> None:
    assert [word for word in missing_paths(path.read_text(), ROOT) if not EXAMPLES.fullmatch(word)] == []


def test_the_paths_are_found() -> None:
    assert len(list(named_paths(text_of("ARCHITECTURE.md"), ROOT))) > 40


@pytest.mark.parametrize(
    "text",
    [
        "See `ninep/gone.py`.",
        "See `xget_lib/gone/`.",
        "See `ninep/gone`.",
        "See [gone](gone.md).",
        "    xget_lib/\n      ninep/     the protocol\n        gone.py   nothing\n",
        "```\nxget_lib/\n  ninep/\n    wire.py  gone.py\n```\n",
        "    xget_lib/\n      ninep/\n    wire.py   at the wrong place\n",
    ],
)
def test_a_path_that_does_not_exist_is_found(text: str, tmp_path: Path) -> None:
    (tmp_path / "xget_lib" / "ninep").mkdir(parents=True)
    (tmp_path / "xget_lib" / "ninep" / "wire.py").touch()
    assert len(missing_paths(text, tmp_path)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "See `ninep/wire.py` and `xget_lib/ninep/`; T/R messages, `/srv/images`, `<dest>/gone.py`, `test/*.py`, `2.0`.",
        "    xget_lib/\n      ninep/     read/write\n        wire.py   nothing\n",
        "```\nxget_lib/\n  ninep/\n    wire.py\n```\nSee `ninep/wire.py`.",
    ],
)
def test_what_exists_or_is_no_path_is_accepted(text: str, tmp_path: Path) -> None:
    (tmp_path / "xget_lib" / "ninep").mkdir(parents=True)
    (tmp_path / "xget_lib" / "ninep" / "wire.py").touch()
    assert missing_paths(text, tmp_path) == []


# The walkthroughs in ARCHITECTURE.md

WALK = re.compile(r"^### (.*) \((\d+) files\)\n\n((?:\d+\. .*\n)+)", re.MULTILINE)


def test_the_walks_name_different_files_and_count_them_right() -> None:
    walks = WALK.findall(text_of("ARCHITECTURE.md"))
    assert len(walks) == 3
    for title, count, items in walks:
        files = re.findall(r"^(\d+)\. `([^`]+)`", items, re.MULTILINE)
        assert [int(number) for number, _ in files] == list(range(1, int(count) + 1)), title
        assert len({file for _, file in files}) == int(count), title
        assert [file for _, file in files if not (ROOT / "xget_lib" / file).is_file()] == [], title


def test_the_architecture_lists_every_package_in_order() -> None:
    from test.test_layers import ORDER

    listed = re.findall(r"^      (\w+)(?:/|\.py) ", text_of("ARCHITECTURE.md"), re.MULTILINE)
    assert listed == ORDER


# Options and defaults


def help_text() -> str:
    return re.sub(r"\n {20,}", " ", cli.__doc__ or "")


def long_options() -> set[str]:
    return set(re.findall(r"(--[a-z][a-z-]*)", help_text()))


def short_options() -> set[str]:
    return set(re.findall(r"^  (-[a-zA-Z])[ ,]", help_text(), re.MULTILINE))


OTHER_PROGRAMS = re.compile(
    r"scripts/bench|scripts/package|dpkg |rpm |dnf |python3? -m|make |mount |systemctl|pytest|pip |pre-commit|rsync"
    r"|ruff|mypy|curl|cp "
    r"|clush|pdsh|sbatch|srun|sinfo|ansible|buildah|podman|cloud-init"
    r"|`--(every|kill|slow|tree|nodes|against|case|latency|forks|network)\b|`-[Sf]\b"
)
"""Lines with the options of other programs."""


@pytest.mark.parametrize("path", USER_DOCUMENTS, ids=lambda path: path.name)
def test_every_option_in_the_documents_exists(path: Path) -> None:
    unknown = []
    for line in path.read_text().splitlines():
        if OTHER_PROGRAMS.search(line):
            continue
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", line):
            if option not in long_options():
                unknown.append(option)
        for option in re.findall(r"`(-[a-zA-Z])(?: [A-Z0-9]+)?`", line):
            if option not in short_options():
                unknown.append(option)
    assert unknown == []


def defaults() -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+)=[^\n]*?\[default: (\S+)\]", help_text()))


@pytest.mark.parametrize("path", USER_DOCUMENTS, ids=lambda path: path.name)
def test_every_default_in_the_documents_is_that_of_the_help(path: Path) -> None:
    """A default is written as `--option` ... (default), as `-m` (default), or as default, `--option`."""
    short = {"-p": "port", "-m": "max-direct", "-r": "retries", "-D": "debug"}
    known = defaults()
    stated = re.findall(r"`(?:--([a-z-]+)|(-[a-zA-Z]))(?: [A-Z]+)?`[^.(`]{0,25}\((\d+)\)", path.read_text())
    stated += [(option, "", value) for value, option in re.findall(r"(\d+) s, `--([a-z-]+)`", path.read_text())]
    for long, letter, value in stated:
        assert known[long or short[letter]] == value, (long or letter, value)


def test_a_port_in_the_documents_is_the_default_port() -> None:
    for path in USER_DOCUMENTS:
        assert set(re.findall(r"port[= ](\d{5})\b", path.read_text())) <= {defaults()["port"], "33571", "43023"}


LIMITS = {
    "connections from one host to a master": accept.PER_HOST,
    "connections from one host to a child": accept.PER_PEER,
    "connections without a proof, with `--secret` or `--tls`": accept.UNPROVED,
    "time for the TLS handshake, to prove the secret and to attach, with `--tls` or `--secret`": round(
        lobby.PROVE_WITHIN
    ),
    "bytes sent before the secret is proved": lobby.RECEIVED_LIMIT,
    "MUNGE credentials that are decoded at the same time": munge.AT_ONCE,
    "time to decode a MUNGE credential, with the time that it waits": round(munge.DECODE_WITHIN),
    "connections without a proof that began TLS, with `--tls`": lobby.HANDSHAKES,
    "KiB of a TLS handshake, with `--tls`": tls.HANDSHAKE_LIMIT >> 10,
    "generations that can be read, the newest included": served.KEPT,
    "open files of one connection": limits.MAX_OPEN,
    "fids of one connection": limits.MAX_FIDS,
    "MiB of memory for what clients keep here": limits.MEMORY >> 20,
    "MiB of memory for what one host keeps here": limits.MEMORY_OF_HOST >> 20,
    "requests that wait for their turn on one connection": limits.MAX_TAGS,
    "KiB of such requests on one connection": limits.MAX_QUEUED_BYTES >> 10,
    "KiB of one request": limits.MAX_REQUEST >> 10,
    "waiting reads of one connection": limits.MAX_WAITING,
    "waiting reads of one host": limits.WAITING_OF_HOST,
    "waiting reads": limits.WAITING_OF_PROCESS,
    "slots or turns of one connection": SLOTS_LIMIT,
    "slots or turns of one host": limits.SLOTS_OF_HOST,
    "slots or turns": limits.SLOTS_OF_PROCESS,
    "malformed requests in a row": session.MAX_MALFORMED,
    "ms of processor time of one host in a row": round(turns.TURN * 1000),
    "ms in a row in which one connection of a host sends content, while others of this host wait and content is sent to"
    " other hosts": round(send_turns._TURN * 1000),
    "KiB that are on their way on this connection then": send_turns._LEAST >> 10,
    "ms in a row in which one of two worker processes sends to a host that has connections to both, while content is"
    " sent to other hosts": round(send_turns._SLICE * 1000),
    "worker processes of a master for one host": workers._WORKERS_OF_HOST,
    "bytes of a line in `peers` or `log`": LINE_LIMIT,
    "bytes of the text of an error": session.ENAME_MAX,
    "messages of one host that a worker passes on to the master": round(message_pace.RATE),
    "log messages of one kind per minute caused by one host": rate_limited_log.LINES,
    "log messages of one kind per minute with the same cause, apart from numbers": rate_limited_log.ALIKE,
    "log messages of one kind per minute caused by all hosts": rate_limited_log.ALL_LINES,
    "ends of runs in the status of a master": tracker_io._ENDED_SHOWN,
    "nodes in the status of a master": tracker_io._CHILDREN_SHOWN,
    "hosts whose former nodes are remembered, for `xget status --expect`": former_nodes._HOSTS,
    "former nodes of one host": former_nodes._OF_ONE_HOST,
    "characters of the name that a node says it has": swarm_messages.NAME_LIMIT,
    "time that a connection may have no fid": round(connection._FID_TIMEOUT),
    "time to receive one message": round(connection._MESSAGE_TIMEOUT),
    "time to make room for a reply": round(outgoing._SEND_TIMEOUT),
}
"""By the first cell of its row in docs/operations.md."""
NO_NUMBERS = {
    "connections of a master",
    "connections of a child",
    "open files",
    "files being sent at the same time",
    "chunks on their way from the master to one host",
    "seconds that chunks are on their way from the master to one host, in all",
    "checks of a chunk that a node reports as wrong",
}
"""The rows of limits that are no fixed numbers."""


@pytest.mark.parametrize(("limit", "value"), LIMITS.items())
def test_the_limits_are_those_of_the_code(limit: str, value: int) -> None:
    assert re.search(rf"^\| {re.escape(limit)} \| {value}\b", text_of("docs/operations.md"), re.MULTILINE)


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("bytes of a line of news", swarm_messages.NEWS_LIMIT),
        ("peers in a line of news", swarm_messages.PEERS_LIMIT),
        ("bytes of a manifest", index.MANIFEST_LIMIT),
        ("entries of a manifest", manifest.ENTRIES_LIMIT),
        ("different sets of permissions, owner and extended attributes in a manifest", manifest.METADATA_LIMIT),
        ("directories in each other", entry.DEPTH_LIMIT),
        ("bytes of the path of a directory", entry.DIRECTORY_LIMIT),
        ("holes of one file", extents.EXTENTS_LIMIT),
        ("bytes per second of a manifest, at least", read_ranges.LOWEST_RATE),
        ("characters of an error, or of another text, that are shown", errors.TEXT_LIMIT),
        ("seconds for which a master may let a client wait", int(swarm_messages.SETTLING_LIMIT)),
        ("restarts without a gain because of new generations", generation_restarts.LIMIT),
        ("requests that were given up and are not confirmed, on one connection", link.FLUSHES_LIMIT),
    ],
)
def test_the_limits_of_what_a_server_may_send_are_those_of_the_code(limit: str, value: int) -> None:
    assert re.search(rf"^\| {re.escape(limit)}[^|]* \| {value}\b", text_of("docs/operations.md"), re.MULTILINE)


def test_every_limit_has_a_row() -> None:
    assert {row[0] for row in rows("docs/operations.md", "## 4. Limits")} == {*LIMITS, *NO_NUMBERS}
    source = "".join(inspect.getsource(each) for each in (limits, accept))
    names = set(re.findall(r"^([A-Z_]+) = ", source, re.MULTILINE))
    costs = {name for name in names if name.endswith("_COST") or name.startswith("_")} | {"SHORT_REQUEST"}
    test = inspect.getsource(inspect.getmodule(rows))  # type: ignore[arg-type]  # this module
    assert [name for name in names - costs if not re.search(rf"\b(limits|accept)\.{name}\b", test)] == []


def test_the_simulator_has_the_default_of_the_help() -> None:
    assert defaults()["max-direct"] == str(Scenario.max_direct)


# Exit statuses and messages


def rows(name: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading."""
    table = text_of(name).partition(heading)[2].partition("|---")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]]


def test_every_exit_status_has_a_row() -> None:
    listed = {int(number) for row in rows("README.md", "## Exit status") for number in row[0].split(",")}
    assert listed == set(Exit)


def test_every_error_class_has_a_row_with_its_exit_status() -> None:
    listed = {row[0].strip("`"): row[2] for row in rows("docs/operations.md", "## 6. Errors")}
    classes = {name: each for name, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, XGetError)}
    assert set(listed) == set(classes)
    statuses = {name: str(int(each.exit_status)) for name, each in classes.items()}
    assert listed == {**statuses, "Interrupted": "130, 143"}


def as_text(node: ast.expr) -> str:
    """The text of a message in the source, with … for each part that varies."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return re.sub(r"%[-.0-9]*[a-z]", "…", str(node.value)) if isinstance(node, ast.Constant) else "…"


def messages(expressions: Iterable[ast.expr]) -> Iterator[str]:
    """What a module logs at level info and above, and what it notes."""
    for call in (node for node in expressions if isinstance(node, ast.Call)):
        if not isinstance(call.func, ast.Attribute):
            continue
        logger = ast.unparse(call.func.value).endswith("LOGGER")
        if logger and call.func.attr in ("info", "warning", "error", "exception"):
            yield as_text(call.args[0])
        elif (
            call.func.attr == "log"
            and len(call.args) > 1
            and not ast.unparse(call.args[0]).endswith(("DEBUG", "TRACE"))
        ):
            yield as_text(call.args[1 if logger else 2])
        elif call.func.attr == "note":
            yield as_text(call.args[1])


def test_every_message_of_the_log_and_every_note_has_a_row() -> None:
    trees = [ast.parse(path.read_text()) for path in (ROOT / "xget_lib").rglob("*.py")]
    expressions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.expr)]
    logged = {text for text in messages(expressions) if re.search(r"\w", text)}
    texts = {as_text(node) for node in expressions if isinstance(node, ast.JoinedStr | ast.Constant)}
    listed = text_of("docs/operations.md").partition("## 7. Log messages")[2].partition("\n## 9. ")[0]
    cells = [line.split("|")[-3] for line in listed.splitlines() if line.startswith("|")]
    described = {text for cell in cells for text in re.findall(r"`([^`]+)`", cell)}
    assert sorted(logged - described) == [], "these have no row"
    assert sorted(described - texts) == [], "these do not exist any more"


# Errors: each text has a row, and a test meets it

FINAL = {"UsageError", "DestinationRefused", "PathRefused", "AddressRefused", "Failed"}
"""The errors whose texts a user reads."""
NOT_MET = {
    "unknown job …": "a worker of another version",
    "the process that starts workers has died (start the master again)": "test_nursery kills it, and reads the status",
    "runs as another user (run this command as that user, or as root)": "needs a second user with a socket of its own",
}
"""Texts that no test can name, and why."""


def error_texts(names: set[str], *paths: Path) -> set[str]:
    """The texts of errors in the source, with … for what varies. The last argument of an error is its text."""
    calls = (
        node
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names and node.args
    )
    texts = {re.sub("…+", "…", as_text(call.args[-1])) for call in calls}
    return {text for text in texts if text.strip("…")}


def test_every_usage_error_has_a_row_and_every_row_an_error() -> None:
    sources = (ROOT / "xget_lib").rglob("*.py")
    texts = error_texts({"UsageError"}, *sources) | error_texts({"ValueError"}, ROOT / "xget_lib" / "config.py")
    listed = {
        text for row in rows("docs/operations.md", "### Usage errors") for text in re.findall(r"`([^`]+)`", row[0])
    }
    assert sorted(texts - listed) == [], "these have no row"
    assert sorted(listed - texts) == [], "these do not exist any more"


def test_every_error_is_met_by_a_test() -> None:
    """Its longest part that does not vary, without the advice at the end, stands in a test."""
    tests = "".join(path.read_text() for path in (ROOT / "test").rglob("*.py") if path.name != "test_documents.py")
    config = ROOT / "xget_lib" / "config.py"
    texts = error_texts(FINAL, *(ROOT / "xget_lib").rglob("*.py")) | error_texts({"ValueError"}, config)
    parts = {text: max(text.partition(" (")[0].split("…"), key=len).strip(" .:'") for text in texts - set(NOT_MET)}
    assert len(parts) > 40
    assert sorted(text for text, part in parts.items() if part not in tests) == []


# The Makefile


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    named = set()
    for path in USER_DOCUMENTS:
        for line in path.read_text().splitlines():
            named |= set(re.findall(r"(?:`|^    )make ([a-z]+)", line))
    assert named and named <= targets


def test_the_makefile_is_valid() -> None:
    for target in ("check", "unit", "all", "sim", "fuzz", "format"):
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True, timeout=60)
