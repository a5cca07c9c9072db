"""What a master needs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from test.support.configured import configured
from test.support.network import quiet_hub
from xget_lib.doctor import source
from xget_lib.doctor.findings import Finding
from xget_lib.doctor.source import Looked, examine, examine_port, examine_user, look_through, watches
from xget_lib.fs import mounts
from xget_lib.net.listen import listen
from xget_lib.process.local_processes import LocalProcess
from xget_lib.process.runtime_directory import Place


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with quiet_hub():
        yield


@pytest.fixture
def served(tmp_path: Path) -> Path:
    top = tmp_path / "served"
    (top / "a/b").mkdir(parents=True)
    (top / "a/file").write_text("x")
    return top


def examined(path: Path | str, **options: object) -> list[Finding]:
    return list(examine(configured(**options), os.fsencode(path)))


def test_a_directory_that_is_well(served: Path, tmp_path: Path) -> None:
    found = examined(served, cache=str(tmp_path / "cache/of/this"))
    assert [each.check for each in found] == ["source", "source", "watching", "cache"]
    assert {each.result for each in found} == {"ok"}
    assert found[1].what == "3 names; directories, with this one: 3"
    assert [each.check for each in examined(served / "a/file")] == ["source", "cache"]


def test_what_cannot_be_served(served: Path) -> None:
    (found,) = examined(served / "gone")
    assert (found.result, found.what) == ("problem", f"{served / 'gone'}: No such file or directory")
    (found,) = examined("/dev/null")
    assert found.what == "/dev/null is neither a file nor a directory"


def test_what_cannot_be_read_is_named(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    access = os.access

    def forbids(path: str | bytes, mode: int) -> bool:
        return not os.fsencode(path).endswith(b"file") and access(path, mode)

    monkeypatch.setattr(os, "access", forbids)
    found = examined(served)
    assert found[1].result == "note"
    assert f"1 cannot be read, such as {served / 'a/file'}: clients will exit with 1" in found[1].what
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert examined(served)[0].what == f"{served}: Permission denied"


def test_a_large_directory_is_looked_through_for_a_short_time(served: Path) -> None:
    device = served.stat().st_dev
    assert not look_through(bytes(served), device, time.monotonic()).is_all
    whole = look_through(bytes(served), device, time.monotonic() + 100)
    assert (whole.is_all, whole.names, whole.directories) == (True, 3, 3)
    assert look_through(bytes(served), device + 1, time.monotonic() + 100).directories == 1


def test_more_directories_than_the_kernel_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "max_user_watches"
    limit.write_text("1000\n")
    monkeypatch.setattr(source, "_WATCHES", str(limit))
    assert watches(Looked(directories=1000)).result == "ok"
    found = watches(Looked(directories=1001))
    assert (found.result, found.advice) == ("note", "sysctl fs.inotify.max_user_watches=2002")
    limit.unlink()
    assert "inotify" in watches(Looked()).what


def test_a_directory_of_another_machine(served: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"1 1 0:99 / {served} rw - nfs4 head:/ rw\n")
    monkeypatch.setattr(mounts, "MOUNTS", str(table))
    assert "other machines can change nfs4" in examined(served)[1].what


def test_a_digest_cache_that_cannot_be_written(served: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    found = examined(served, cache=str(tmp_path / "file/cache"))[-1]
    assert (found.check, found.result) == ("cache", "note")


def test_a_port_that_is_free_or_taken() -> None:
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        config = configured(port=port, bind="127.0.0.1")
        found = examine_port(config, [])
        assert (found.result, found.what) == ("problem", f"127.0.0.1 port {port}: Address already in use")
        master = LocalProcess(cast(Place, None), "master", 77, port, "/srv", "")
        assert examine_port(config, [master]).what.endswith("is that of the master 77, which serves /srv")
    assert examine_port(config, []).what == f"127.0.0.1 port {port} is free"
    assert examine_port(configured(bind="192.0.2.1"), []).result == "problem"


@pytest.mark.root
def test_the_user_that_a_master_is_to_become() -> None:
    assert list(examine_user(configured())) == []
    (found,) = examine_user(configured(user="nobody"))
    assert found.what == "--user nobody: uid 65534"
    (found,) = examine_user(configured(user="nosuchuser"))
    assert (found.result, found.exit) == ("problem", 2)
