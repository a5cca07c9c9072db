"""What a master writes into the directory that it serves is no part of what it serves."""

from __future__ import annotations

import os
from pathlib import Path

from test.support.nodes import configured
from test.support.snapshots import kinds
from xget_lib.master.digest_saver import cache_path
from xget_lib.master.own_files import own_files
from xget_lib.snapshot.scan import scan


def test_log_cache_and_pid_file_are_left_out_wherever_links_lead(tmp_path: Path) -> None:
    served, link = tmp_path / "served", tmp_path / "link"
    (served / "var").mkdir(parents=True)
    link.symlink_to(served)
    config = configured(1, log=str(link / "var" / "log"), cache=str(served / "cache"), pidfile=str(tmp_path / "pid"))
    cache = cache_path(config.cache, bytes(link))
    name = os.path.basename(cache)
    assert own_files(config, bytes(link)) == (b"cache", b"cache/" + name, b"var/log")


def test_only_the_file_of_digests_is_left_out_if_it_is_in_the_served_directory_itself(tmp_path: Path) -> None:
    config = configured(1, cache=str(tmp_path))
    (path,) = own_files(config, bytes(tmp_path))
    assert path == os.path.basename(cache_path(config.cache, bytes(tmp_path)))


def test_a_log_that_grows_changes_nothing(tmp_path: Path) -> None:
    tree, log = tmp_path / "served", tmp_path / "served" / "a" / "log"
    log.parent.mkdir(parents=True)
    log.write_text("one line\n")
    before = scan(bytes(tree), own_files=[b"a/log"])
    assert b"a/log" not in kinds(before)
    assert (b"a/log", "what this master writes itself", True) in [
        (each.path, each.why, each.expected) for each in before.outline.omitted
    ]
    log.write_text("one line\nand another\n")
    assert scan(bytes(tree), own_files=[b"a/log"]).encode() == before.encode()
