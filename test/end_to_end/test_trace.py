"""The 9P trace of a running master, client and child: `-D 2`."""

from __future__ import annotations

import re
from pathlib import Path

from test.support.cluster import Cluster, eventually
from test.support.plain_client import PlainClient
from test.support.trees import write

LINE = re.compile(r"xget\[\d+\] TRACE: 127\.0\.0\.1:\d+: (->|<-) [TR]\w+ tag \w+")


def test_each_9p_message_is_in_the_log(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    write(tmp_path / "served" / "file", b"content" * 1000)
    master = cluster.master(tmp_path / "served", "-D", "2")
    log = tmp_path / "client.log"
    assert cluster.client(master, tmp_path / "dest", options=["-D", "2", "--log", str(log)]).ended().status == 0
    assert re.search(r"TRACE: .*: <- Tread tag \d+ fid \d+ offset 0 count \d+", master.logged("<- Tread"))
    master.logged("-> Rread tag")
    client = log.read_text()
    assert "-> Tread tag" in client and "<- Rread tag" in client
    (child,) = master.wait_for_children(1)
    with PlainClient(int(child["port"]), "files") as reader:
        assert reader.read_all("file") == b"content" * 1000
    eventually(lambda: "wname ['file']" in log.read_text(), "a trace of the child")
    for text in (client, master.log.read_text()):
        traced = [line for line in text.splitlines() if "TRACE" in line]
        assert traced and all(LINE.search(line) for line in traced)
        assert "content" not in "".join(traced)


def test_debug_messages_alone_are_without_it(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    write(tmp_path / "served" / "file", b"content")
    master = cluster.master(tmp_path / "served", "-D", "1")
    assert cluster.get(master, tmp_path / "dest").status == 0
    assert "TRACE" not in master.log.read_text()
