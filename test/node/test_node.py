"""The life of a node: it waits for its master, downloads what that names, and goes on serving it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count as count_up
from pathlib import Path
from typing import Any

import gevent
import pytest
from blake3 import blake3
from gevent.event import AsyncResult

from test.support.downloads import Served
from test.support.keys import KeyFiles
from test.support.network import quiet_hub, until
from test.support.nodes import Master, Peer, configured
from test.support.trees import noise, write
from xget_lib.errors import MalformedManifest, MasterUnreachable, NotTrusted
from xget_lib.manifest.signature import Signature
from xget_lib.net.listen import listen
from xget_lib.node import node as node_module
from xget_lib.node import waits as waits_module
from xget_lib.node.awake import now
from xget_lib.node.node import Node
from xget_lib.swarm.messages import Address, News, Scanning

SIZE = 100_000
FORGED = Signature(5, 1, bytes(64))


class Events:
    """What a node tells."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, **facts: Any) -> None:
        self.told.append((event, facts))

    def facts_of(self, event: str) -> list[dict[str, Any]]:
        return [facts for told, facts in self.told if told == event]


def news(served: Served, *peers: Address) -> News:
    """Names a generation that the node gets from these peers."""
    return News(served.manifest.generation, len(served.manifest.encode()), peers, master_first=False)


def in_greenlet(run: Callable[[], dict[str, Any]]) -> AsyncResult[dict[str, Any]]:
    ended: AsyncResult[dict[str, Any]] = AsyncResult()

    def call() -> None:
        try:
            ended.set(run())
        except Exception as error:
            ended.set_exception(error)

    gevent.spawn(call)
    return ended


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    with quiet_hub():
        yield


@pytest.fixture
def first(tmp_path: Path) -> Served:
    (tmp_path / "first").mkdir()
    write(tmp_path / "first" / "same", noise(SIZE, 1))
    write(tmp_path / "first" / "other", noise(SIZE, 2))
    return Served(tmp_path / "first")


@pytest.fixture
def second(tmp_path: Path, first: Served) -> Served:
    (tmp_path / "second").mkdir()
    write(tmp_path / "second" / "same", noise(SIZE, 1))
    write(tmp_path / "second" / "other", noise(SIZE, 3), mtime=1_600_000_000_000_000_000)
    return Served(tmp_path / "second")


def connected(served: Served, dest: Path, **options: Any) -> tuple[Master, Node, Events]:
    """A master, and a node that has not begun."""
    master, events = Master(served.directory, served), Events()
    return master, Node(configured(master.port, **options), [b"."], bytes(dest), events), events


def test_a_node_downloads_what_the_master_names_and_serves_it(first: Served, tmp_path: Path) -> None:
    master, node, events = connected(first, tmp_path / "dest")
    running = in_greenlet(node.download)
    master.name(news(first, Peer(first.directory, first).address))
    done = running.get()
    assert done is not None
    assert (tmp_path / "dest" / "other").read_bytes() == noise(SIZE, 2)
    assert (done["files"], done["bytes"], done["reused"]) == (2, 2 * SIZE, 0)
    assert node.fetched() == {"fetched": 2 * SIZE, "from_master": 0, "peers": 1}
    assert events.facts_of("start")[0]["generation"] == first.manifest.generation.hex()
    assert node.child.status()["held"] == first.layout.chunk_count
    assert not node.outdated and node.incomplete is None


def test_a_newer_generation_is_downloaded_from_what_is_the_same(first: Served, second: Served, tmp_path: Path) -> None:
    master, node, _ = connected(first, tmp_path / "dest")
    running = in_greenlet(node.download)
    master.name(news(first, Peer(first.directory, first).address))
    running.get()
    node.newer.clear()
    master.name(news(second, Peer(second.directory, second).address))
    node.newer.wait()
    assert node.outdated
    done = node.update()
    assert (tmp_path / "dest" / "other").read_bytes() == noise(SIZE, 3)
    assert done["reused"] == SIZE and node.fetched()["fetched"] == SIZE
    assert not node.outdated


def test_what_is_the_same_in_a_newer_generation_is_served_without_a_download(
    first: Served, second: Served, tmp_path: Path
) -> None:
    master, node, _ = connected(first, tmp_path / "dest")
    running = in_greenlet(node.download)
    master.name(news(first, Peer(first.directory, first).address))
    running.get()
    node.newer.clear()
    master.name(news(second, Peer(second.directory, second).address))
    node.newer.wait()
    node.rebase()
    served = node.child.served
    assert served is not None and served.generation == second.manifest.generation
    same, layout = second.file_named(b"same"), second.layout
    held = {chunk for chunk in range(layout.chunk_count) if chunk in served.store.held}
    assert held == {chunk for chunk in range(layout.chunk_count) if set(layout.chunk_files(chunk)) == {same}} != set()
    assert (tmp_path / "dest" / "other").read_bytes() == noise(SIZE, 2)
    assert node.outdated


def spoilt(served: Served, dest: Path) -> Path:
    """A copy in which one file has other content, with the right size and time."""
    shutil.copytree(served.directory, dest)
    write(dest / "other", noise(SIZE, 9))
    return dest


def test_a_file_that_turns_out_to_have_other_content_is_repaired(
    first: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dest = spoilt(first, tmp_path / "dest")
    master, node, _ = connected(first, dest)
    running = in_greenlet(node.download)
    master.name(news(first, Peer(first.directory, first).address))
    done = running.get()
    assert done is not None and done["unchanged"] == 2
    until(lambda: "repaired 1 of the files that had the right size and time, but other content" in caplog.messages)
    assert "other: size and time match, but the content does not; fetching it again" in caplog.messages
    assert (dest / "other").read_bytes() == noise(SIZE, 2)
    assert node.child.status()["held"] == first.layout.chunk_count
    node.rebase()


def test_a_file_that_cannot_be_repaired_is_named_as_what_to_run_again_for(
    first: Served, second: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dest = spoilt(first, tmp_path / "dest")
    master, node, _ = connected(first, dest, timeout=0.05)
    running = in_greenlet(node.download)
    master.name(news(first))
    running.get()
    node.newer.clear()
    master.name(news(second))
    node.newer.wait()
    until(lambda: any(message.startswith("cannot repair files: ") for message in caplog.messages))
    assert (dest / "other").read_bytes() == noise(SIZE, 9)
    node.stop_repairing()


def test_a_dry_run_changes_and_serves_nothing(first: Served, tmp_path: Path) -> None:
    master, node, events = connected(first, tmp_path / "dest", dry_run=True)
    running = in_greenlet(node.download)
    master.name(news(first, Peer(first.directory, first).address))
    done = running.get()
    assert done is not None
    assert done["would"]["bytes"] == 2 * SIZE
    assert {facts["path"] for facts in events.facts_of("step")} >= {"same", "other"}
    assert not (tmp_path / "dest").exists()
    assert node.child.served is None


def test_a_node_without_a_master_gives_up_after_its_timeout(tmp_path: Path) -> None:
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    listening.close()
    node = Node(configured(port, timeout=0.2), [b"."], bytes(tmp_path / "dest"), Events())
    with pytest.raises(MasterUnreachable):
        node.download()


def test_a_node_says_what_it_waits_for(first: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits_module, "FIRST", 0.01)
    master, node, events = connected(first, tmp_path / "dest")
    running = in_greenlet(node.download)
    until(lambda: events.facts_of("stall"))
    message = events.facts_of("stall")[0]["message"]
    assert message.startswith("waiting for its first news from the master at 127.0.0.1 port ")
    assert message.endswith("; the download begins as soon as that is done")
    master.name(news(first, Peer(first.directory, first).address))
    running.get()


def test_a_scan_that_gets_on_is_waited_for_without_a_limit_and_a_line_says_how_far_it_is(
    first: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits_module, "FIRST", 0.4)
    master, node, events = connected(first, tmp_path / "dest", timeout=0.4, stall_timeout=0.4)
    running = in_greenlet(node.download)
    began = now()
    while now() < began + 2:
        master.name(Scanning(7, 40))
        gevent.sleep(0.05)
    assert not running.ready()
    message = events.facts_of("stall")[0]["message"]
    assert "it has been scanning its directory for 7 s; 40 % of new content is hashed" in message
    master.name(news(first, Peer(first.directory, first).address))
    running.get()


def test_a_scan_that_hangs_again_and_again_ends_the_run(first: Served, tmp_path: Path) -> None:
    """It gets on for a moment each time: any such moment is no progress."""
    master, node, _ = connected(first, tmp_path / "dest", timeout=1.0)
    running = in_greenlet(node.download)
    for count in count_up():
        if running.ready():
            break
        master.name(Scanning(count, 0, "nothing was read for 12 s" if count % 4 else ""))
        gevent.sleep(0.05)
    with pytest.raises(MasterUnreachable, match="it has nothing to serve: nothing was read for 12 s"):
        running.get()


def test_a_manifest_that_is_not_what_the_master_names_is_refused(
    first: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "_OVERTAKEN", 0.01)
    master, node, _ = connected(first, tmp_path / "dest")
    running = in_greenlet(node.download)
    master.name(News(blake3(b"another").digest(), len(first.manifest.encode()), (), master_first=True))
    with pytest.raises(MalformedManifest, match="not the generation that the master announced"):
        running.get()
    assert not (tmp_path / "dest").exists()


# --trust.


@pytest.fixture
def keys(tmp_path: Path) -> KeyFiles:
    return KeyFiles(tmp_path)


def signed_news(served: Served, keys: KeyFiles, serial: int) -> News:
    signature = keys.sign(served.manifest.generation, serial).signature
    return replace(news(served, Peer(served.directory, served).address), signature=signature)


def test_a_node_that_trusts_keys_takes_what_they_have_signed_and_remembers_the_serial(
    first: Served, second: Served, tmp_path: Path, keys: KeyFiles
) -> None:
    dest = tmp_path / "dest"
    master, node, _ = connected(first, dest, trust=str(keys.public))
    running = in_greenlet(node.download)
    master.name(signed_news(first, keys, 5))
    running.get()
    assert (dest / "other").read_bytes() == noise(SIZE, 2)
    assert json.loads((dest / ".xget" / "serial").read_text())["serial"] == 5
    assert node.child.news is not None and node.child.news.signature is not None
    for serial in (4, 5):
        node.newer.clear()
        master.name(signed_news(second, keys, serial))
        node.newer.wait()
        with pytest.raises(NotTrusted, match=f"signed with serial {serial} of "):
            node.update()
        with pytest.raises(NotTrusted):
            node.rebase()
    assert (dest / "other").read_bytes() == noise(SIZE, 2)
    node.newer.clear()
    master.name(signed_news(second, keys, 6))
    node.newer.wait()
    node.update()
    assert (dest / "other").read_bytes() == noise(SIZE, 3)


def test_a_generation_that_was_signed_anew_is_noticed(first: Served, tmp_path: Path, keys: KeyFiles) -> None:
    """Otherwise what was signed in between could be taken later."""
    master, node, _ = connected(first, tmp_path / "dest", trust=str(keys.public))
    running = in_greenlet(node.download)
    master.name(signed_news(first, keys, 5))
    running.get()
    node.newer.clear()
    assert not node.outdated
    master.name(signed_news(first, keys, 9))
    node.newer.wait()
    assert node.outdated
    node.update()
    assert not node.outdated
    assert json.loads((tmp_path / "dest" / ".xget" / "serial").read_text())["serial"] == 9


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_is_not_signed_costs_nothing_and_is_not_passed_on(
    first: Served, tmp_path: Path, keys: KeyFiles, dry_run: bool
) -> None:
    for number, wrong in enumerate(
        (news(first), signed_news(first, KeyFiles(tmp_path, "other"), 5), replace(news(first), signature=FORGED))
    ):
        dest = tmp_path / f"dest{number}"
        master, node, _ = connected(first, dest, trust=str(keys.public), dry_run=dry_run)
        running = in_greenlet(node.download)
        master.name(wrong)
        with pytest.raises(NotTrusted):
            running.get()
        assert node.child.news is None and node.child.manifest is None
        assert not dest.exists()


def test_a_dry_run_refuses_an_older_generation_and_remembers_none(
    first: Served, second: Served, tmp_path: Path, keys: KeyFiles
) -> None:
    dest = tmp_path / "dest"
    for served, serial, options in ((first, 5, {}), (second, 6, {"dry_run": True}), (first, 5, {"dry_run": True})):
        master, node, _ = connected(served, dest, trust=str(keys.public), **options)
        running = in_greenlet(node.download)
        master.name(signed_news(served, keys, serial))
        running.get()
    master, node, _ = connected(second, dest, trust=str(keys.public), dry_run=True)
    running = in_greenlet(node.download)
    master.name(signed_news(second, keys, 4))
    with pytest.raises(NotTrusted):
        running.get()


def test_an_older_generation_is_taken_if_that_is_allowed(
    first: Served, second: Served, tmp_path: Path, keys: KeyFiles
) -> None:
    for served, serial, allowed in ((first, 5, False), (second, 4, True), (second, 4, False)):
        master, node, _ = connected(served, tmp_path / "dest", trust=str(keys.public), allow_rollback=allowed)
        running = in_greenlet(node.download)
        master.name(signed_news(served, keys, serial))
        running.get()
    assert (tmp_path / "dest" / "other").read_bytes() == noise(SIZE, 3)
