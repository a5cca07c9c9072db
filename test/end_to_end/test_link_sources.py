"""Sources that are symbolic links, or below one: what lands in the destination, and what is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from test.support.cluster import Cluster, Master, eventually
from test.support.trees import write


@pytest.fixture
def source(cluster: Cluster) -> Path:
    root = cluster.base / "served"
    for release in "12":
        (root / "releases" / release).mkdir(parents=True)
        write(root / "releases" / release / "vmlinuz", f"kernel {release}".encode())
    (root / "current").symlink_to("releases/2")
    (root / "out").symlink_to("..")
    return root


def lines(dest: Path) -> dict[str, str]:
    """Each name in a destination, with its content or target, without what a download is working on."""
    found = {}
    for path in sorted(dest.rglob("*")):
        name = str(path.relative_to(dest))
        if name.startswith(".xget"):
            continue
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = path.read_text()
    return found


@pytest.mark.parametrize(
    ("source_path", "expected"),
    [
        ("current/", {"current/vmlinuz": "kernel 2"}),
        ("current/.", {"current/vmlinuz": "kernel 2"}),
        ("current/vmlinuz", {"vmlinuz": "kernel 2"}),
    ],
)
def test_a_link_with_a_slash_or_a_name_after_it_is_followed(
    cluster: Cluster, source: Path, source_path: str, expected: dict[str, str]
) -> None:
    master = cluster.master(source)
    dest = cluster.base / "dest"
    ended = cluster.get(master, dest, source_path)
    assert ended.status == 0 and lines(dest) == expected
    assert ended.done["files"] == 1 and ended.done["notes"] == []
    again = cluster.get(master, dest, source_path)
    assert again.status == 0 and again.done["fetched"] == 0 and lines(dest) == expected


def test_a_link_alone_is_copied_as_a_link_and_the_note_says_how_to_get_the_rest(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    dest = cluster.base / "dest"
    ended = cluster.get(master, dest, "current")
    assert ended.status == 0 and lines(dest) == {"current": "-> releases/2"}
    (note,) = ended.done["notes"]
    assert note.startswith("current: copied as a symbolic link to releases/2 ") and "write current/)" in note


@pytest.mark.parametrize(
    ("source_path", "why"),
    [
        ("out/", "out is a link to .., which leads out of what the master serves"),
        ("current/vmlinuz/", "not a directory (remove the / at its end"),
    ],
)
def test_what_cannot_be_followed_is_refused_in_words_and_nothing_is_written(
    cluster: Cluster, source: Path, source_path: str, why: str
) -> None:
    ended = cluster.get(cluster.master(source), cluster.base / "dest", source_path)
    assert ended.status == 4 and why in ended.stderr and ended.stderr.count("\n") == 1
    assert not (cluster.base / "dest").exists()


def test_a_follower_of_a_link_gets_what_it_leads_to_after_it_is_switched(cluster: Cluster, source: Path) -> None:
    master: Master = cluster.master(source)
    dest = cluster.base / "dest"
    cluster.client(master, dest, "current/", options=["--follow"])
    eventually(lambda: lines(dest) == {"current/vmlinuz": "kernel 2"}, "the first release")
    (source / "new").symlink_to("releases/1")
    (source / "new").replace(source / "current")
    eventually(lambda: lines(dest) == {"current/vmlinuz": "kernel 1"}, "the release that the link leads to now")


def test_unfinished_pieces_of_another_download_are_not_served_at_any_depth(cluster: Cluster, source: Path) -> None:
    (source / "releases" / ".xget" / "parts").mkdir(parents=True)
    write(source / "releases" / ".xget" / "parts" / "0123", b"unfinished")
    ended = cluster.get(cluster.master(source), cluster.base / "dest", ".")
    assert ended.status == 0
    assert ended.done["notes"] == ["releases/.xget skipped: temporary data of XGet"]
    assert not [name for name in lines(cluster.base / "dest") if ".xget" in name]
