"""A master that was started by root gives that up (`--user`), and what is private is left out (`--public-only`)."""

from __future__ import annotations

import os
import pwd
import signal
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.support.certificates import Authority
from test.support.cluster import Cluster, Master, eventually, free_port
from test.support.plain_client import PlainClient, any_server
from test.support.relay import Relay
from test.support.trees import differences, noise, write
from xget_lib.errors import NinepError

pytestmark = pytest.mark.root

USER = "nobody"
KEY = "a key that nobody can guess"
DAC_READ_SEARCH = 1 << 2


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    """Files that only their owners may read, in directories that only their owners may enter."""
    root = tmp_path / "served"
    (root / "hidden").mkdir(parents=True)
    write(root / "public", b"public")
    write(root / "private", noise(1 << 20, 3))
    write(root / "hidden" / "deep", b"deep")
    write(root / "other", b"other")
    (root / "private").chmod(0o600)
    (root / "hidden").chmod(0o700)
    (root / "other").chmod(0o400)
    os.chown(root / "other", 4321, 4321)
    for each in (root, *root.parents):  # pytest's are for root alone
        if each.stat().st_mode & 0o055 != 0o055 and str(each).startswith("/tmp/"):
            each.chmod(each.stat().st_mode | 0o055)
    yield root


def powers(pid: int) -> dict[str, str]:
    """What the kernel says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def user_master(
    cluster: Cluster, source: Path, *options: str, key: bytes | None = None, tls: ssl.SSLContext | None = None
) -> Master:
    cache = cluster.base / "cache"
    cache.mkdir(exist_ok=True)
    os.chown(cache, pwd.getpwnam(USER).pw_uid, -1)
    return cluster.master(source, "--user", USER, "--cache", str(cache), *options, key=key, tls=tls)


def test_a_master_keeps_no_power_and_its_workers_only_that_to_read(cluster: Cluster, source: Path) -> None:
    master = user_master(cluster, source)
    (nursery,) = children(master.pid)
    workers = children(nursery)
    assert sorted(workers) == sorted(master.workers())
    found = pwd.getpwnam(USER)
    for pid, permitted, effective in (
        (master.pid, 0, 0),
        (nursery, DAC_READ_SEARCH, 0),
        *((worker, DAC_READ_SEARCH, DAC_READ_SEARCH) for worker in workers),
    ):
        status = powers(pid)
        sets = {name: int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapBnd", "CapAmb")}
        assert sets == {"CapPrm": permitted, "CapEff": effective, "CapInh": 0, "CapBnd": 0, "CapAmb": 0}
        assert status["NoNewPrivs"] == "1"
        assert status["Uid"].split() == [str(found.pw_uid)] * 4
        assert status["Gid"].split() == [str(found.pw_gid)] * 4
        assert "0" not in status["Groups"].split()


def test_each_tree_of_such_a_master_still_has_everything(cluster: Cluster, source: Path) -> None:
    master = user_master(cluster, source)
    ended = cluster.get(master, cluster.base / "dest")
    assert (ended.status, ended.stderr) == (0, "")
    assert differences(source, cluster.base / "dest") == []
    with PlainClient(master.port, "files") as files:
        assert files.read_all("other") == b"other" and files.read_all("hidden", "deep") == b"deep"
    with PlainClient(master.port, "classic") as classic:
        assert classic.read_all("other", "data")


def test_log_pid_file_digests_commands_and_the_end_still_work(cluster: Cluster, source: Path) -> None:
    pidfile = cluster.base / "pid"
    master = user_master(cluster, source, "--pidfile", str(pidfile))
    assert pidfile.read_text() == f"{master.pid}\n"
    write(source / "new", b"new")
    assert cluster.run("-p", str(master.port), "reload").status == 0
    assert cluster.get(master, cluster.base / "dest").status == 0
    assert (cluster.base / "dest" / "new").read_bytes() == b"new"
    eventually(lambda: list((cluster.base / "cache").iterdir()), "digests are saved")
    os.kill(master.pid, signal.SIGTERM)
    assert master.ended().status == 0
    assert pidfile.read_text() == ""  # its directory belongs to root
    assert "Permission" not in master.log.read_text()
    again = user_master(cluster, source, "--pidfile", str(pidfile))
    assert pidfile.read_text() == f"{again.pid}\n"


def test_root_opens_no_file_where_the_user_can_put_a_link_in_its_place(cluster: Cluster, source: Path) -> None:
    """It would write to what the link leads to, and give that to the user."""
    of_user, victim = cluster.base / "of-user", cluster.base / "victim"
    of_user.mkdir()
    victim.write_text("root's")
    os.chown(of_user, pwd.getpwnam(USER).pw_uid, -1)
    (of_user / "log").symlink_to(victim)
    ended = cluster.run("--user", USER, "--log", of_user / "log", "-p", str(free_port()), source)
    line = f"{of_user} belongs to another user (make the file, and give it to {USER})"
    assert ended.status == 1 and ended.stderr.endswith(f"{line}\n")
    assert (victim.read_text(), victim.stat().st_uid) == ("root's", 0)


def test_files_in_a_directory_of_the_user_are_made_by_him(cluster: Cluster, source: Path) -> None:
    of_user, uid = cluster.base / "of-user", pwd.getpwnam(USER).pw_uid
    of_user.mkdir()
    os.chown(of_user, uid, -1)
    for each in (of_user, *of_user.parents):
        if str(each).startswith("/tmp/"):
            each.chmod(each.stat().st_mode | 0o055)
    log, cache = of_user / "log", of_user / "deep" / "cache"
    cluster.master(source, "--user", USER, "--cache", str(cache), "--log", str(log))
    eventually(lambda: cache.exists() and list(cache.iterdir()), "digests are saved")
    assert {path.stat().st_uid for path in (log, cache.parent, cache)} == {uid}
    assert "generation" in log.read_text()


def test_who_may_not_read_the_secret_any_more_is_told_at_the_start(cluster: Cluster, source: Path) -> None:
    secret = cluster.base / "secret"
    secret.write_text(KEY + "\n")
    secret.chmod(0o600)
    master = user_master(cluster, source, "--secret", str(secret), key=KEY.encode())
    assert "cannot be changed without a restart, because nobody cannot read it" in master.logged("restart")
    ended = cluster.get(master, cluster.base / "dest", options=["--secret", str(secret)])
    assert ended.status == 0


def test_who_may_not_read_the_private_key_any_more_is_told_at_the_start(cluster: Cluster, source: Path) -> None:
    authority, tls = Authority(cluster.base), any_server()
    head = authority.sign("head")
    tls.load_cert_chain(head.cert, head.key)
    master = user_master(cluster, source, *head.options(authority), tls=tls)
    line = (
        f"the certificates cannot be changed without a restart, because {USER} cannot read them: --tls-key {head.key}"
    )
    master.logged(line)
    ended = cluster.get(master, cluster.base / "dest", options=head.options(authority))
    assert ended.status == 0


def test_a_secret_that_the_group_of_the_user_may_read_can_be_changed(cluster: Cluster, source: Path) -> None:
    secret = cluster.base / "secret"
    secret.write_text(KEY + "\n")
    secret.chmod(0o640)
    os.chown(secret, 0, pwd.getpwnam(USER).pw_gid)
    master = user_master(cluster, source, "--secret", str(secret), key=KEY.encode())
    secret.write_text(f"another {KEY}\n{KEY}\n")
    assert cluster.run("-p", str(master.port), "reload").status == 0
    master.logged("the secret has changed: 2 keys")


def test_nobody_else_reads_what_is_not_complete(cluster: Cluster, source: Path) -> None:
    """Neither with a umask of nothing, nor where an earlier run, or somebody, left directories open to all."""
    write(source / "large", noise(16 << 20, 4))
    master, dest = cluster.master(source), cluster.base / "dest"
    parts = dest / ".xget" / "parts"
    parts.mkdir(parents=True)
    for each in (dest, parts.parent, parts):
        each.chmod(0o777)
    with Relay(master.port, hold_after=4 << 20) as relay:
        client = cluster.client(relay, dest, options=["--insecure-dest", "--linger", "0"], umask=0)
        relay.wait_until_it_holds()
        eventually(lambda: list(parts.iterdir()), "a part is there")
        assert [each.stat().st_mode & 0o077 for each in (parts.parent, parts)] == [0, 0]
        assert not (dest / "large").exists()
        client.signal(signal.SIGINT)
        assert client.ended().status == 130
    assert [each.stat().st_mode & 0o077 for each in (parts.parent, parts)] == [0, 0]


@pytest.mark.parametrize(("name", "why"), [("root", "is root"), ("no-such-user", "no such user")])
def test_who_is_no_user_to_become_is_a_usage_error(cluster: Cluster, source: Path, name: str, why: str) -> None:
    ended = cluster.run("--user", name, source)
    assert (ended.status, ended.stderr) == (2, f"xget: --user {name}: {why}\n")


def test_a_master_without_a_secret_says_once_how_many_private_files_it_serves(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    text = "3 files that not every user of this machine may read are served to everybody who reaches port"
    master.logged(text)
    write(source / "new", b"new")
    assert cluster.run("-p", str(master.port), "reload").status == 0
    assert master.log.read_text().count("may read are served") == 1
    assert cluster.get(master, cluster.base / "dest").status == 0
    assert differences(source, cluster.base / "dest") == []


def test_a_master_that_serves_only_what_is_public_leaves_out_the_rest_in_every_tree(
    cluster: Cluster, source: Path
) -> None:
    write(source / "listed", b"all but one user")
    os.setxattr(source / "listed", "system.posix_acl_access", without_one_user())
    (source / "without-group").mkdir()
    write(source / "without-group" / "deep", b"all but a group")
    (source / "without-group").chmod(0o705)
    master = cluster.master(source, "--public-only")
    ended = cluster.get(master, cluster.base / "dest")
    assert ended.status == 0
    assert sorted(path.name for path in (cluster.base / "dest").iterdir()) == ["public"]
    assert "not everybody may read it (--public-only)" in " ".join(ended.done["notes"])
    assert "may read are served" not in master.log.read_text()
    for name in ("files", "classic"):
        with PlainClient(master.port, name) as tree:
            assert not {"private", "hidden", "other", "listed", "without-group"} & set(tree.names())
            for path in (("private",), ("other",), ("hidden", "deep"), ("listed",), ("without-group", "deep")):
                with pytest.raises(NinepError):
                    tree.open(*path)
    for root in ("private", "hidden"):
        refused = cluster.run("--public-only", "-p", str(master.port + 1), source / root)
        assert refused.status == 1 and "not everybody may read it" in refused.stderr


def without_one_user() -> bytes:
    """The access list `setfacl -m u:4321:---` of mode 0644."""
    anybody = 0xFFFFFFFF
    entries = [(0x01, 6, anybody), (0x02, 0, 4321), (0x04, 4, anybody), (0x10, 4, anybody), (0x20, 4, anybody)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_a_child_keeps_only_what_serving_needs(cluster: Cluster, source: Path) -> None:
    """Yet it serves what only others may read, follows a new generation, and leaves nothing behind."""
    master, pidfile, log = cluster.master(source), cluster.base / "child.pid", cluster.base / "child.log"
    options = ["--pidfile", str(pidfile), "--log", str(log), "--linger", "forever"]
    client = cluster.client(master, cluster.base / "dest", options=options)
    assert client.ended().status == 0
    (child,) = master.wait_for_children(1)
    pid = int(pidfile.read_text())
    eventually(lambda: "gives up writing and the powers of root" in log.read_text(), "the child is confined")
    eventually(lambda: all_confined(pid), "no thread has more than that")
    log.rename(cluster.base / "child.log.1")
    write(source / "public", b"another public file")
    assert cluster.run("-p", str(master.port), "reload").status == 0
    eventually(lambda: log.exists() and "unchanged chunks" in log.read_text(), "the child serves the new generation")
    with PlainClient(int(child["port"]), "files") as files:
        assert files.read_all("other") == b"other" and files.read_all("hidden", "deep") == b"deep"
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "the child has ended")
    assert not pidfile.exists()


def all_confined(pid: int) -> bool:
    """Whether each thread has the power to read alone, for good."""
    threads = [powers(int(each)) for each in os.listdir(f"/proc/{pid}/task")]
    return all((int(each["CapPrm"], 16), each["NoNewPrivs"]) == (DAC_READ_SEARCH, "1") for each in threads)


def test_a_follower_keeps_what_its_next_update_needs(cluster: Cluster, source: Path) -> None:
    master, dest = cluster.master(source), cluster.base / "dest"
    client = cluster.client(master, dest, options=["--follow"])
    pid = client.background()
    assert client.ended().status == 0
    write(source / "new", b"new")
    os.chown(source / "new", 4321, 4321)
    assert cluster.run("-p", str(master.port), "reload").status == 0
    eventually(lambda: (dest / "new").exists() and (dest / "new").stat().st_uid == 4321, "it has the new file")
    assert int(powers(pid)["CapEff"], 16) != DAC_READ_SEARCH
