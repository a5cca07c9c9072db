"""Packages import only what stands above them in the list, the pure ones do no I/O, and each module has a unit test.

The list is the architecture; a slip in it is cheap to make and dear to undo, so the imports are read from the source
(every import, also those inside functions) and compared.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = [
    *("errors", "config", "usage", "config_file", "settings", "ninep", "manifest", "fs", "signing", "snapshot"),
    *("download", "swarm", "serve"),
    *("process", "ipc", "report", "net", "page", "extensions", "classic", "master", "worker", "node", "control"),
    *("version", "doctor", "cli"),
]

NETWORK = {"gevent", "socket", "socketserver", "ssl", "select", "selectors", "asyncio", "http", "urllib"}
PROCESSES = {"subprocess", "multiprocessing", "threading", "signal"}
CLOCKS_AND_CHANCE = {"time", "datetime", "random", "secrets", "uuid"}
ALLOWED = {
    "random.Random",  # the type of an argument; who makes one chooses the seed
    *("select.poll", "select.POLLERR", "select.POLLPRI"),  # of a file in /proc
}
FORBIDDEN = {
    "errors": NETWORK | PROCESSES | CLOCKS_AND_CHANCE,
    "ninep": NETWORK | PROCESSES | CLOCKS_AND_CHANCE,
    "manifest": NETWORK | PROCESSES | CLOCKS_AND_CHANCE | {"os"},
    "swarm": NETWORK | PROCESSES | CLOCKS_AND_CHANCE,
    "fs": NETWORK,
    "signing": NETWORK,
    "snapshot": NETWORK,
    "download": NETWORK,
    "serve": NETWORK,
    "process": {"gevent"},
}

SYSTEM_TESTS = {"bench", "clients", "end_to_end", "kernel", "sim"}
"""Directories of tests of several parts together: what only they import has no unit test."""
NOT_IMPORTED = {
    "xget_lib.download.install": "test/download/test_install.py: its steps are those of a whole download",
    "xget_lib.node.background": "a process of its own: test/end_to_end",
    "xget_lib.node.service_state": "test/end_to_end/test_service_manager.py: with a client that downloads and serves",
    "xget_lib.process.daemon": "test/process/test_daemon.py runs it in programs of its own",
    "xget_lib.process.rlimit": "test/process/test_rlimit.py runs it in programs of its own",
}
"""Modules with logic that no unit test imports, and what tests them instead."""


def imports(source: str, module: str, *, is_package: bool) -> Iterator[str]:
    """The full names that the text of `module` imports; `from a import b` gives a.b, as b may be a module."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            yield from (f"{base}.{alias.name}" for alias in node.names)


def complaints(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """What is wrong with the imports of one module; empty when nothing is."""
    own = module.split(".")[1]
    found = []
    for name in imports(source, module, is_package=is_package):
        parts = name.split(".")
        if parts[0] in FORBIDDEN.get(own, set()) and name not in ALLOWED:
            found.append(f"{module} imports {name}")
        if parts[0] == "xget_lib" and len(parts) > 1 and parts[1] in ORDER and ORDER.index(parts[1]) > ORDER.index(own):
            found.append(f"{module} imports {name}, which stands below it")
    return found


def sources() -> list[Path]:
    return sorted((ROOT / "xget_lib").rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_obey_the_order_of_the_packages(path: Path) -> None:
    parts = path.relative_to(ROOT).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    module = ".".join(parts[:-1] if is_package else parts)
    if module == "xget_lib":
        assert not list(imports(path.read_text(), module, is_package=True)), "xget_lib itself imports nothing"
        return
    assert parts[1] in ORDER, f"{parts[1]} has no place in the order of packages"
    assert complaints(path.read_text(), module, is_package=is_package) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("xget_lib.ninep.session", "from xget_lib.serve.store import Store"),
        ("xget_lib.ninep.session", "from ..serve import store"),
        ("xget_lib.ninep.session", "def late():\n    import gevent.socket"),
        ("xget_lib.serve.store", "import socket"),
        ("xget_lib.swarm.picker", "import time"),
        ("xget_lib.swarm.picker", "from random import shuffle"),
        ("xget_lib.process.nursery", "from xget_lib import master"),
        ("xget_lib.process.nursery", "from gevent import monkey"),
    ],
)
def test_an_import_out_of_order_is_found(module: str, source: str) -> None:
    assert complaints(source, module)


def test_an_import_in_order_is_fine() -> None:
    assert not complaints(
        "import os\nfrom xget_lib.errors import XGetError\nfrom . import wire", "xget_lib.ninep.session"
    )


def test_what_may_be_left_out_is_imported_by_itself_alone() -> None:
    """`xget_lib/extensions.py` loads it by name, if it is there."""
    for path in sources():
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if not module.startswith("xget_lib.classic."):
            names = imports(path.read_text(), module, is_package=path.name == "__init__.py")
            assert not [name for name in names if name.startswith("xget_lib.classic")], module


@pytest.mark.parametrize(
    "module",
    [
        "cli",
        "master.start",
        "node.foreground",
        "process.credentials",
        "process.daemon",
        "process.libmunge",
        "process.nursery",
    ],
)
def test_who_forks_comes_without_gevent(module: str) -> None:
    """The nursery forks for as long as the master lives, and a fork of a running gevent hub is one too many."""
    code = f"import sys, xget_lib.{module}; print('gevent' in sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert loaded.stdout.strip() == "False"


def has_logic(source: str) -> bool:
    """Whether a function in it has a body of more than three lines, its docstring left out."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
            if body and (body[-1].end_lineno or 0) - body[0].lineno >= 3:
                return True
    return False


def imported_by_unit_tests() -> set[str]:
    """Every module, and every name in one, that a unit test imports."""
    names: set[str] = set()
    for path in (ROOT / "test").rglob("test_*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[1] not in SYSTEM_TESTS:
            names.update(imports(path.read_text(), ".".join(parts), is_package=False))
    return names | {name.rpartition(".")[0] for name in names}


def test_each_module_with_logic_is_imported_by_a_unit_test() -> None:
    imported = imported_by_unit_tests() | set(NOT_IMPORTED)
    with_logic = [path for path in sources() if has_logic(path.read_text())]
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in with_logic]
    assert [module for module in modules if module not in imported] == []


def test_what_is_excepted_from_unit_tests_exists_and_needs_it() -> None:
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sources()}
    assert set(NOT_IMPORTED) <= modules - imported_by_unit_tests()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('def add(a, b):\n    """Two\n    numbers."""\n    a += b\n    return a', False),
        ("def add(a, b, c):\n    a += b\n    a += c\n    a += 1\n    return a", True),
        ("class A:\n    def add(self, a):\n        a(\n            1,\n            2,\n        )", True),
    ],
)
def test_a_function_of_more_than_three_lines_is_logic(source: str, expected: bool) -> None:
    assert has_logic(source) is expected
