"""Names that a destination does not tell apart: none replaces another in silence, and none is removed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from test.support.downloads import Served, fetch, finish, inspect, run_download
from test.support.filesystems import mounted
from xget_lib.download.dry_run import dry_run_steps
from xget_lib.download.folding import other_spellings, same_names
from xget_lib.errors import PartlyRefused, XGetError
from xget_lib.fs.rooted import Root
from xget_lib.manifest.selection import select

FILES = ("README", "readme", "Lib/a", "Lib/x", "lib/b", "lib/X", "Straße", "STRASSE", "other/One", "other/two")
ON_EXFAT = {"README": "README", "Lib/a": "Lib/a", "Lib/x": "Lib/x", "STRASSE": "STRASSE", "Straße": "Straße"}


@pytest.fixture
def exfat(tmp_path: Path) -> Iterator[Path]:
    with mounted("exfat", tmp_path) as top:
        yield top


def tree(base: Path, files: tuple[str, ...] = FILES) -> Served:
    served = base / "served"
    for name in files:
        (served / name).parent.mkdir(parents=True, exist_ok=True)
        (served / name).write_text(name)
    return Served(served)


def files_in(dest: Path) -> dict[str, str]:
    return {str(path.relative_to(dest)): path.read_text() for path in dest.rglob("*") if path.is_file()}


def run(served: Served, dest: Path, *sources: bytes, **options: Any) -> tuple[int, list[str]]:
    """Bytes fetched, and the lines of what failed, without the path of the destination."""
    failures: list[XGetError] = []
    fetched = run_download(served, dest, *sources, on_end=lambda each: failures.extend(each.failures), **options)
    return fetched, lines(failures, dest)


def dry(served: Served, dest: Path, *sources: bytes, **options: Any) -> tuple[list[tuple[str, bytes]], list[str]]:
    failures: list[XGetError] = []
    selection = select(served.manifest, sources or (b".",))
    steps = list(dry_run_steps(bytes(dest), served.manifest, selection, failures=failures, **options))
    return [(step.action, step.path) for step in steps], lines(failures, dest)


def lines(failures: list[XGetError], dest: Path) -> list[str]:
    assert all(isinstance(each, PartlyRefused) and each.exit_status == 6 for each in failures)
    return [line.removeprefix(f"{dest}/") for each in failures for line in each.lines]


def refusal(path: str, first: str) -> str:
    return (
        f"{path}: this destination does not tell the name from {first}, which is there"
        " (rename one of them at the master)"
    )


@pytest.mark.root
@pytest.mark.parametrize("delete", [False, True])
def test_of_names_that_differ_in_case_the_first_stays_and_the_other_is_an_error(
    exfat: Path, tmp_path: Path, delete: bool
) -> None:
    served, dest = tree(tmp_path), exfat / "dest"
    options: dict[str, bool] = {"delete": delete, "remembers": True}
    expected = {name: name for name in FILES if name not in ("readme", "lib/b", "lib/X")}
    refused = [refusal("lib", "Lib"), refusal("readme", "README")]
    (exfat / "dEsT two").mkdir()  # an empty file system does not show a dry run that it ignores case
    steps, foreseen = dry(served, dest, **options)
    assert sorted(foreseen) == refused
    fetched, failed = run(served, dest, **options)
    assert sorted(failed) == refused
    assert fetched == sum(map(len, map(str.encode, expected)))
    assert {path.decode() for action, path in steps if action == "fetch"} == set(expected)
    assert files_in(dest) == expected
    again, foreseen = dry(served, dest, **options)
    assert ([step for step in again if step[1] != b"."], sorted(foreseen)) == ([], refused)
    fetched, failed = run(served, dest, **options)
    assert (fetched, sorted(failed)) == (0, refused)
    assert files_in(dest) == expected
    assert sorted(os.listdir(dest)) == ["Lib", "README", "STRASSE", "Straße", "other"]


@pytest.mark.root
def test_sources_with_one_name_are_told_apart_too(exfat: Path, tmp_path: Path) -> None:
    served, dest = tree(tmp_path), exfat / "dest"
    assert run(served, dest, b"README", b"readme", b"other")[1] == [refusal("readme", "README")]
    assert set(files_in(dest)) == {"README", "other/One", "other/two"}


@pytest.mark.root
def test_delete_keeps_what_the_master_spells_otherwise(exfat: Path, tmp_path: Path) -> None:
    served, dest = tree(tmp_path, ("README", "Lib/a", "more")), exfat / "dest"
    (dest / "lib").mkdir(parents=True)
    (dest / "lib" / "A").write_text("")
    (dest / "readme").write_text("")
    (dest / "MORE or less").write_text("")
    assert run(served, dest, delete=True)[1] == []
    assert {name.lower(): text for name, text in files_in(dest).items()} == {
        "readme": "README",
        "lib/a": "Lib/a",
        "more": "more",
    }


@pytest.mark.root
def test_a_part_of_an_interrupted_run_is_not_disturbed_by_the_question(exfat: Path, tmp_path: Path) -> None:
    served, dest = tree(tmp_path), exfat / "dest"
    with served.download(dest) as download:
        inspect(download)
        fetch(download, served, [0])
    (dest / ".xget" / "names").mkdir()
    (dest / ".xget" / "names" / "of a run that was killed").touch()
    with served.download(dest) as download:
        inspect(download)
        fetch(download, served)
        finish(download)
    assert ".xget" not in os.listdir(dest)
    assert len(files_in(dest)) == len(FILES) - 3


def test_a_destination_that_tells_case_apart_gets_every_file(tmp_path: Path) -> None:
    served, dest = tree(tmp_path), tmp_path / "dest"
    assert dry(served, dest)[1] == []
    assert run(served, dest, delete=True)[1] == []
    assert set(files_in(dest)) == set(FILES)
    assert dry(served, dest, delete=True) == ([], [])


def test_further_names_of_a_file_are_no_other_spellings(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    os.link(tmp_path / "a", tmp_path / "A")
    with Root(bytes(tmp_path)) as root:
        assert other_spellings(root, b"", [b"A"], [b"a"]) == set()
        assert other_spellings(root, b"", [b"A"], [b"gone", b"Gone"]) == set()


def test_a_destination_is_not_asked_where_no_names_are_similar(tmp_path: Path) -> None:
    served = tree(tmp_path, ("one", "two/one", "three"))
    selection = select(served.manifest, [b"."])
    assert same_names(b"/nowhere", None, served.manifest, selection, may_write=False) == {}


@pytest.mark.parametrize(
    ("names", "same"),
    [
        ((b"A", b"a"), [None, 0]),
        (("é".encode(), "e\u0301".encode(), "É".encode()), [None, 0, 0]),
        ((b"\xff", b"\xfe"), [None, None]),
    ],
)
def test_a_directory_with_the_attribute_f_compares_as_unicode_says(
    names: tuple[bytes, ...], same: list[int | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file system here can have it; the kernel's own comparison is Unicode's."""
    monkeypatch.setattr("xget_lib.download.folding._is_casefolded", lambda path: True)
    served = tmp_path / "served"
    served.mkdir()
    for name in names:
        (served / os.fsdecode(name)).touch()
    manifest = Served(served).manifest
    (tmp_path / "dest").mkdir()
    with Root(bytes(tmp_path / "dest")) as root:
        found = same_names(root.path, root, manifest, select(manifest, [b"."]), may_write=False)
    assert len(found) == sum(each is not None for each in same)
