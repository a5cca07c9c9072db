"""Signed generations with real processes: what no key has signed, or an older one, is never taken, whoever sends it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Ended, Master, Running, eventually, free_port, status_of
from test.support.hostile_master import hostile_master
from test.support.keys import KeyFiles
from test.support.large_swarm import large_swarm
from test.support.plain_client import PlainClient
from test.support.relay import MIB, Relay
from test.support.trees import MOMENT, differences, mixed_tree, noise, small_tree, write
from xget_lib.swarm.messages import News

STILL = ["--linger", "0", "--timeout", "3"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Beside it there is room for a signature file that is its own."""
    (tmp_path / "head").mkdir()
    source = small_tree(tmp_path / "head" / "served")
    os.utime(source, ns=(MOMENT, MOMENT))
    return source


@pytest.fixture
def keys(tmp_path: Path) -> KeyFiles:
    return KeyFiles(tmp_path)


def sign(cluster: Cluster, keys: KeyFiles, tree: Path, *options: str) -> dict[str, object]:
    ended = cluster.run("sign", "--json", "--key", keys.private, *options, tree)
    assert ended.status == 0, ended
    signed: dict[str, object] = json.loads(ended.stdout)
    return signed


def trusting(keys: KeyFiles, *options: str) -> list[str]:
    return ["--trust", str(keys.public), *options]


def change(source: Path, text: bytes) -> None:
    write(source / "top", text, mtime=MOMENT + sum(text))
    os.utime(source, ns=(MOMENT, MOMENT))


def copied(dest: Path, source: Path) -> list[str]:
    """Differences, but for what a client keeps in the destination, which is a file of its own."""
    return [line for line in differences(source, dest) if ".xget" not in line and line != "hard links"]


def refused(ended: Ended, why: str) -> None:
    """One line, status 5."""
    (line,) = ended.stderr.splitlines()
    assert (ended.status, ended.done["exit"]) == (5, 5) and why in line, ended


def followed(cluster: Cluster, master: Master, dest: Path, *options: str) -> Path:
    """A follower that has everything; its log."""
    log = cluster.base / f"{dest.name}.log"
    known = len(master.children())
    client = cluster.client(master, dest, options=["--follow", "--log", str(log), *options])
    assert client.ended().status == 0
    eventually(lambda: len(master.children()) == known + 1, "the follower is not known")
    return log


def logged(log: Path, text: str, count: int = 1) -> None:
    eventually(lambda: log.read_text().count(text) >= count, f"{text!r} in the log")


def reloaded(cluster: Cluster, master: Master) -> Ended:
    return cluster.run("reload", "--json", "-p", str(master.port))


# Who signs.


def test_a_master_with_the_key_signs_each_generation_and_clients_and_peers_take_it(
    cluster: Cluster, source: Path, keys: KeyFiles
) -> None:
    write(source / "large", noise(5 * MIB, 5))
    master = cluster.master(source, "--sign-key", str(keys.private))
    for name in ("first", "second"):
        ended = cluster.client(master, cluster.base / name, options=trusting(keys)).ended()
        assert ended.status == 0 and copied(cluster.base / name, source) == []
    assert ended.done["peers"] == 1
    first = master.status()["serial"]
    change(source, b"changed\n")
    assert cluster.get(master, cluster.base / "first", options=trusting(keys)).status == 0
    assert copied(cluster.base / "first", source) == [] and master.status()["serial"] > first
    child = master.children()[-1]
    with PlainClient(child["port"], "swarm") as client:
        line = News.decode(client.read(client.open("peers"), 0, 64 * 1024))
    assert line.signature is not None, "a child tells what it was told"


def test_a_signature_file_in_what_is_served_is_refused(cluster: Cluster, source: Path, keys: KeyFiles) -> None:
    inside = source / "xget.sig"
    for command in (["sign", "--key", keys.private], ["--sign-key", keys.private], ["-p", str(free_port())]):
        ended = cluster.run(*command, "--signature", inside, source)
        assert ended.status == 2 and f"--signature {inside}: is in what it signs" in ended.stderr, ended
    assert not inside.exists()


def test_the_serial_of_a_master_goes_on_after_a_restart(cluster: Cluster, source: Path, keys: KeyFiles) -> None:
    serials = []
    for text in (b"one\n", b"one\n", b"two\n"):
        change(source, text)
        master = cluster.master(source, "--sign-key", str(keys.private))
        serials.append(master.status()["serial"])
        assert cluster.get(master, cluster.base / "dest", options=trusting(keys)).status == 0
        master.signal(signal.SIGTERM)
        assert master.ended().status == 0
    assert serials[0] == serials[1] < serials[2]


def test_what_was_signed_elsewhere_is_served_by_a_master_without_the_key(
    cluster: Cluster, tmp_path: Path, keys: KeyFiles
) -> None:
    (tmp_path / "head").mkdir()
    source = mixed_tree(tmp_path / "head" / "served", files=40)
    with open(source / "sparse", "wb") as file:
        file.truncate(3 * MIB)
        os.pwrite(file.fileno(), noise(70_000, 1), MIB)
    os.utime(source, ns=(MOMENT, MOMENT))
    signed = sign(cluster, keys, source)
    master = cluster.master(source)
    assert master.status()["generation"] == signed["generation"]
    dest = cluster.base / "dest"
    assert cluster.get(master, dest, options=trusting(keys)).status == 0
    shutil.rmtree(dest / ".xget")
    os.utime(dest, ns=(MOMENT, MOMENT))
    assert differences(source, dest) == []


def test_options_that_change_what_is_served_must_agree_and_the_log_says_so(
    cluster: Cluster, source: Path, keys: KeyFiles
) -> None:
    sign(cluster, keys, source, "-o")
    master = cluster.master(source)
    refused(cluster.get(master, cluster.base / "dest", options=trusting(keys)), "the master has no signature of it")
    master.logged("xget.sig has no signature of generation ")
    without_names = cluster.master(source, "-o")
    assert cluster.get(without_names, cluster.base / "dest", options=trusting(keys)).status == 0


def test_a_link_that_is_switched_brings_its_signature(cluster: Cluster, tmp_path: Path, keys: KeyFiles) -> None:
    releases = [small_tree(tmp_path / "releases" / name) for name in ("41", "42")]
    change(releases[1], b"release 42\n")
    for release in releases:
        sign(cluster, keys, release)
    current = tmp_path / "current"
    current.symlink_to("releases/41")
    master = cluster.master(current)
    for release in releases:
        (tmp_path / "next").symlink_to(f"releases/{release.name}")
        (tmp_path / "next").rename(current)
        assert cluster.get(master, cluster.base / "dest", options=trusting(keys)).status == 0
        assert copied(cluster.base / "dest", release) == []
    (tmp_path / "next").symlink_to("releases/41")
    (tmp_path / "next").rename(current)
    refused(cluster.get(master, cluster.base / "dest", options=trusting(keys)), "has had serial")


def test_a_single_file_is_signed_too(cluster: Cluster, source: Path, keys: KeyFiles) -> None:
    sign(cluster, keys, source / "top")
    assert (source / "xget.sig").exists()
    master = cluster.master(source / "top")
    assert cluster.get(master, cluster.base / "dest", options=trusting(keys)).status == 0
    assert (cluster.base / "dest" / "top").read_bytes() == b"at the top\n"


def test_a_copy_is_served_under_the_signature_of_the_original(cluster: Cluster, source: Path, keys: KeyFiles) -> None:
    """A node of one cluster is the head node of the next. Nobody has to trust either."""
    sign(cluster, keys, source)
    dest = cluster.base / "next" / "served"
    dest.parent.mkdir()
    assert cluster.get(cluster.master(source), dest, options=trusting(keys)).status == 0
    shutil.copy(source.parent / "xget.sig", dest.parent)
    ended = cluster.get(cluster.master(dest), cluster.base / "node", options=trusting(keys))
    assert ended.status == 0 and copied(cluster.base / "node", source) == []


# What is refused.


def test_nothing_unsigned_or_signed_by_another_key_is_taken_and_nothing_is_written(
    cluster: Cluster, source: Path, tmp_path: Path, keys: KeyFiles
) -> None:
    master, dest = cluster.master(source), cluster.base / "dest"
    for options in ([], ["--dry-run"]):
        refused(cluster.get(master, dest, options=trusting(keys, *options)), "the master has no signature of it")
    sign(cluster, KeyFiles(tmp_path, "stranger"), source)
    reloaded(cluster, master)
    refused(cluster.get(master, dest, options=trusting(keys)), "none of the keys in ")
    assert not dest.exists()
    sign(cluster, keys, source)
    reloaded(cluster, master)
    assert cluster.get(master, dest, options=trusting(keys)).status == 0


def test_a_signature_file_that_was_altered_is_worth_nothing(cluster: Cluster, source: Path, keys: KeyFiles) -> None:
    """Of a former generation, with a higher serial, for the generation that is served now."""
    sign(cluster, keys, source)
    file = source.parent / "xget.sig"
    line = json.loads(file.read_text())
    change(source, b"changed by a stranger\n")
    master = cluster.master(source)
    generation = master.status()["generation"]
    for forged in ({"generation": generation}, {"generation": generation, "serial": line["serial"] + 1}):
        file.write_text(json.dumps({**line, **forged}) + "\n")
        reloaded(cluster, master)
        refused(cluster.get(master, cluster.base / "dest", options=trusting(keys)), "none of the keys in ")


def test_an_older_generation_is_refused_by_runs_and_after_a_restart_of_everything(
    cluster: Cluster, source: Path, keys: KeyFiles
) -> None:
    dest, file = cluster.base / "dest", source.parent / "xget.sig"
    old = sign(cluster, keys, source)
    old_line = file.read_text()
    change(source, b"newer\n")
    sign(cluster, keys, source)
    assert cluster.get(cluster.master(source), dest, options=trusting(keys)).status == 0
    # Somebody plays back what was served, and signed, before; the client has another cache.
    write(source / "top", b"at the top\n")
    os.utime(source, ns=(MOMENT, MOMENT))
    file.write_text(old_line)
    master = cluster.master(source)
    assert master.status()["generation"] == old["generation"]
    elsewhere = {"XDG_CACHE_HOME": str(cluster.base / "another cache")}
    for options in ([], ["--dry-run"], ["--delete"]):
        ended = cluster.get(master, dest, options=trusting(keys, *options), environment=elsewhere)
        refused(ended, f"signed with serial {old['serial']} of ")
    assert (dest / "top").read_bytes() == b"newer\n"
    assert cluster.get(master, dest, options=trusting(keys, "--allow-rollback")).status == 0
    assert copied(dest, source) == []
    assert cluster.get(master, dest, options=trusting(keys)).status == 0


def test_a_hostile_master_cannot_take_the_serial_away(cluster: Cluster, source: Path, keys: KeyFiles) -> None:
    """It serves, and deletes, as it likes: but nothing with this name."""
    dest = cluster.base / "dest"
    sign(cluster, keys, source, "--serial", "9")
    assert cluster.get(cluster.master(source), dest, options=trusting(keys)).status == 0
    (source / ".xget").mkdir()
    write(source / ".xget" / "serial", b"{}")
    (source / "a" / "b" / "file2").unlink()
    other = cluster.master(source)
    assert cluster.get(other, dest, options=["--delete", "--max-delete", "100%"]).status == 0
    assert json.loads((dest / ".xget" / "serial").read_text())["serial"] == 9


def test_a_wrong_manifest_or_wrong_content_under_a_right_signature_is_refused(
    cluster: Cluster, source: Path, keys: KeyFiles
) -> None:
    """Who has only the signature has nothing."""
    write(source / "large", noise(2 * MIB, 2))
    sign(cluster, keys, source)
    for kind in ("signed_altered_manifest", "signed_wrong_content"):
        with hostile_master(kind, source, cluster.mark) as master:
            options = ["-n", "127.0.0.1", "-p", str(master.port), *STILL, *trusting(keys), "--json"]
            ended = cluster.run(*options, ".", cluster.base / kind)
        assert ended.status == 5, ended
        assert not [path for path in (cluster.base / kind).rglob("*") if path.name in ("large", "top", "other")]


def test_a_peer_that_sends_a_wrong_manifest_is_passed_over(cluster: Cluster, source: Path, keys: KeyFiles) -> None:
    master = cluster.master(source, "--sign-key", str(keys.private))
    with hostile_master("altered_manifest", source, cluster.mark) as peer, large_swarm(master, peer.port):
        ended = cluster.get(master, cluster.base / "dest", options=trusting(keys))
    assert ended.status == 0 and copied(cluster.base / "dest", source) == []


# Keys.


def test_keys_are_rotated_without_a_node_that_fails(
    cluster: Cluster, source: Path, tmp_path: Path, keys: KeyFiles
) -> None:
    """First nodes trust both keys, then the master signs with the new one, then the old one goes."""
    new, both, dest = KeyFiles(tmp_path, "new"), tmp_path / "both.pub", cluster.base / "dest"
    both.write_bytes(keys.public.read_bytes() + new.public.read_bytes())
    os.chmod(both, 0o644)
    master = cluster.master(source, "--sign-key", str(keys.private))
    for trusted in (keys.public, both):
        assert cluster.get(master, dest, options=["--trust", str(trusted)]).status == 0
    master.signal(signal.SIGTERM)
    assert master.ended().status == 0
    master = cluster.master(source, "--sign-key", str(new.private))
    for trusted in (both, new.public):
        assert cluster.get(master, dest, options=["--trust", str(trusted)]).status == 0
    refused(cluster.get(master, dest, options=trusting(keys)), "none of the keys in ")


@pytest.mark.parametrize("role", ["sign", "master", "client"])
def test_a_private_key_that_others_can_read_and_a_file_without_keys_are_usage_errors(
    cluster: Cluster, source: Path, keys: KeyFiles, role: str
) -> None:
    os.chmod(keys.private, 0o644)
    (cluster.base / "none").write_bytes(b"no key\n")
    commands: dict[str, list[str | Path]] = {
        "sign": ["sign", "--key", keys.private, source],
        "master": ["-p", str(free_port()), "--sign-key", keys.private, source],
        "client": ["-n", "127.0.0.1", "-p", "1", "--trust", cluster.base / "none", ".", cluster.base / "dest"],
    }
    ended = cluster.run(*commands[role])
    assert ended.status == 2, ended
    assert ended.stderr.count("xget: ") == 1 and ("(chmod 600)" in ended.stderr or "no public key" in ended.stderr)


@pytest.mark.parametrize("role", ["sign", "master", "client"])
def test_without_the_package_one_line_says_so_and_everything_else_works(
    cluster: Cluster, source: Path, keys: KeyFiles, role: str
) -> None:
    lacking = cluster.base / "lacking" / "cryptography"
    lacking.mkdir(parents=True)
    (lacking / "__init__.py").write_text("raise ModuleNotFoundError('no cryptography here', name='cryptography')\n")
    without = {"PYTHONPATH": str(lacking.parent)}
    master = cluster.master(source, environment=without)
    assert cluster.get(master, cluster.base / "dest", environment=without).status == 0
    commands: dict[str, list[str | Path]] = {
        "sign": ["sign", "--key", keys.private, source],
        "master": ["-p", str(free_port()), "--sign-key", keys.private, source],
        "client": ["-n", "127.0.0.1", "-p", str(master.port), *trusting(keys), ".", cluster.base / "other"],
    }
    ended = cluster.run(*commands[role], environment=without)
    option = {"sign": "key", "master": "sign-key", "client": "trust"}[role]
    line = f"xget: --{option}: the Python package cryptography is not installed (pip install cryptography)\n"
    assert (ended.status, ended.stderr.endswith(line)) == (2, True), ended


# Followers, and masters whose directory changes.


def test_a_follower_takes_each_signed_generation_and_no_other(cluster: Cluster, source: Path, keys: KeyFiles) -> None:
    dest, file = cluster.base / "dest", source.parent / "xget.sig"
    sign(cluster, keys, source)
    first = file.read_text()
    master = cluster.master(source)
    log = followed(cluster, master, dest, *trusting(keys))
    change(source, b"not signed\n")
    logged(log, "update failed: generation ")
    assert (dest / "top").read_bytes() == b"at the top\n"
    sign(cluster, keys, source)
    reloaded(cluster, master)
    eventually(lambda: (dest / "top").read_bytes() == b"not signed\n", "what is signed now is taken")
    # And back to what was signed first.
    write(source / "top", b"at the top\n")
    os.utime(source, ns=(MOMENT, MOMENT))
    file.write_text(first)
    reloaded(cluster, master)
    logged(log, "but ")
    logged(log, "update failed: generation ", count=2)
    assert (dest / "top").read_bytes() == b"not signed\n"
    sign(cluster, keys, source, "--serial", str(json.loads((dest / ".xget" / "serial").read_text())["serial"] + 1))
    reloaded(cluster, master)
    eventually(lambda: copied(dest, source) == [], "the old content, signed anew")


def test_a_child_that_does_not_follow_serves_nothing_of_an_unsigned_generation(
    cluster: Cluster, source: Path, keys: KeyFiles
) -> None:
    sign(cluster, keys, source)
    master = cluster.master(source)
    log = cluster.base / "child.log"
    options = [*trusting(keys), "--linger", "forever", "--log", str(log)]
    assert cluster.client(master, cluster.base / "dest", options=options).ended().status == 0
    (child,) = master.wait_for_children(1)
    before = status_of(child["port"])["generation"]
    change(source, b"not signed\n")
    reloaded(cluster, master)
    logged(log, "cannot serve the new generation: generation ")
    assert status_of(child["port"])["generation"] == before
    sign(cluster, keys, source)
    reloaded(cluster, master)
    eventually(lambda: status_of(child["port"])["generation"] != before, "the signed generation is served")


def test_a_master_that_serves_only_what_is_signed_keeps_the_former_generation(
    cluster: Cluster, source: Path, keys: KeyFiles
) -> None:
    sign(cluster, keys, source)
    master = cluster.master(source, "--signed-only")
    before = master.status()["generation"]
    dest = cluster.base / "dest"
    log = followed(cluster, master, dest, *trusting(keys))
    write(source / "added", b"not signed\n")
    os.utime(source, ns=(MOMENT, MOMENT))
    ended = reloaded(cluster, master)
    assert ended.status == 5 and "has no signature of it, so it is not served" in ended.stderr, ended
    assert master.status()["generation"] == before and "has no signature of it" in master.status()["problem"]
    new = cluster.get(master, cluster.base / "new", options=trusting(keys))
    assert new.status == 1 and "the master serves an older state of its directory" in new.stderr
    assert not (cluster.base / "new" / "added").exists() and (cluster.base / "new" / "top").exists()
    sign(cluster, keys, source)
    eventually(lambda: copied(dest, source) == [], "it is noticed without a command")
    assert master.status()["problem"] is None
    assert "update failed" not in log.read_text()


def test_a_master_that_starts_with_nothing_signed_serves_nothing_and_says_why(
    cluster: Cluster, source: Path, keys: KeyFiles
) -> None:
    master = cluster.master(source, "--signed-only", wait=False)
    eventually(master.log.exists, "no log")
    master.logged("xget.sig has no signature of it, so it is not served")
    ended = cluster.get(master, cluster.base / "dest", options=[*STILL, *trusting(keys)])
    assert ended.status == 3 and "it has nothing to serve: generation " in ended.stderr, ended
    sign(cluster, keys, source)
    eventually(master.serves, "it serves what is signed now")
    assert cluster.get(master, cluster.base / "dest", options=trusting(keys)).status == 0


def test_a_download_that_is_overtaken_by_an_unsigned_generation_ends_and_goes_on_later(
    cluster: Cluster, source: Path, keys: KeyFiles
) -> None:
    write(source / "large", noise(8 * MIB, 5))
    sign(cluster, keys, source)
    master, dest = cluster.master(source), cluster.base / "dest"
    with Relay(master.port, hold_after=2 * MIB) as relay:
        client: Running = cluster.client(relay, dest, options=trusting(keys, "--linger", "0"))
        relay.wait_until_it_holds()
        change(source, b"not signed\n")
        reloaded(cluster, master)
        relay.open()
        refused(client.ended(), "the master has no signature of it")
    assert not (dest / "top").exists() or (dest / "top").read_bytes() == b"at the top\n"
    sign(cluster, keys, source)
    reloaded(cluster, master)
    ended = cluster.get(master, dest, options=trusting(keys))
    assert ended.status == 0 and copied(dest, source) == []
    assert ended.done["fetched"] < 8 * MIB
