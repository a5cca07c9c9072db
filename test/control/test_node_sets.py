"""Sets of nodes: with ClusterShell in this Python, with its program, and without either."""

from __future__ import annotations

import builtins
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from xget_lib.control.node_sets import expand, fold
from xget_lib.errors import UsageError


def no_clustershell(usual: Any) -> Any:
    def imports(name: str, *rest: Any) -> Any:
        if name.startswith("ClusterShell"):
            raise ImportError(name)
        return usual(name, *rest)

    return imports


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory with all programs that there are; this Python has no ClusterShell."""
    monkeypatch.setattr(builtins, "__import__", no_clustershell(builtins.__import__))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_names_and_addresses_are_read_without_clustershell(program: Path) -> None:
    assert expand("n1,head.cluster,10.0.0.1,fe80::1%eth0,n1") == ["n1", "head.cluster", "10.0.0.1", "fe80::1%eth0"]
    for text in ("n[1-3]", "a b", "@all", "n1,,n2", ""):
        with pytest.raises(UsageError, match="needs ClusterShell"):
            expand(text)
    names = [f"n{number}" for number in range(200)]
    assert fold(names).endswith("n98, n99, …")


def test_a_set_of_nodes_is_clustershells() -> None:
    pytest.importorskip("ClusterShell")
    assert expand("n[1-3],head!n2") == ["head", "n1", "n3"]
    with pytest.raises(UsageError, match="--expect n"):
        expand("n[1-")
    with pytest.raises(UsageError, match="0 nodes"):
        expand("n1!n1")
    assert fold(["n1", "n3", "n2"]) == "n[1-3]"
    assert fold(["fe80::1"]) == "fe80::1"


def test_where_another_python_has_clustershell_its_program_is_asked(program: Path) -> None:
    pytest.importorskip("ClusterShell")
    script = Path(sys.executable).with_name("nodeset")
    (program / "nodeset").write_text(f"#!{sys.executable}\n{script.read_text().partition(chr(10))[2]}")
    (program / "nodeset").chmod(0o755)
    assert expand("n[1-3],head!n2") == ["head", "n1", "n3"]
    assert expand("-n[1-2]") == ["-n1", "-n2"], "this is no option"
    with pytest.raises(UsageError, match=r"--expect n\[1-: Parse error"):
        expand("n[1-")
    with pytest.raises(UsageError, match="0 nodes"):
        expand("n1!n1")
    assert fold(["n1", "n3", "n2", "head"]) == "head,n[1-3]"


def test_a_program_that_fails_is_said(program: Path) -> None:
    (program / "nodeset").symlink_to(shutil.which("false", path="/usr/bin:/bin") or pytest.fail("no false"))
    with pytest.raises(UsageError, match="nodeset fails"):
        expand("@all")
    assert fold(["n1", "n2"]) == "n1, n2"


@pytest.mark.parametrize(
    "text", ["n[1-99999999]", "n[1-2000]p[1-2000]", "a,n[0-9,100-99999999]", "n[1-" + "9" * 60 + "]"]
)
def test_a_set_of_too_many_nodes_is_refused_at_once(text: str) -> None:
    with pytest.raises(UsageError, match="more than 1000000 nodes"):
        expand(text)
