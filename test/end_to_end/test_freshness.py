"""Status 0 means: as the master's directory was when the client started, or later.

The master notices each change, or scans before it answers. What it cannot serve is named.
"""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Master, eventually
from test.support.filesystems import mounted
from test.support.mounted import Mounts, do, needs
from test.support.processes import PATIENCE
from test.support.trees import differences, noise, small_tree, write

as_root = pytest.mark.root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return small_tree(tmp_path / "served")


@pytest.fixture
def master(cluster: Cluster, source: Path) -> Master:
    master = cluster.master(source)
    eventually(lambda: master.status()["notices"], "changes are not noticed")
    return master


def truncate(path: Path) -> None:
    """With truncate(2), which opens nothing that could be closed."""
    os.truncate(path, 1)


def move_new(path: Path) -> None:
    path.with_name("temporary").write_bytes(b"new content")
    path.with_name("temporary").rename(path)


def touch(path: Path) -> None:
    os.utime(path, ns=(10**18, 10**18))


def same_size_and_time(path: Path) -> None:
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        move_new,
        truncate,
        touch,
        Path.unlink,
        lambda path: path.chmod(0o600),
        lambda path: path.write_bytes(b"other"),
        lambda path: path.with_name("new").write_bytes(b""),
        lambda path: path.with_name("link").symlink_to("nowhere"),
        lambda path: path.rename(path.with_name("other")),
        lambda path: path.with_name("directory").mkdir(),
    ],
)
def test_a_client_gets_what_changed_just_before_it_started(
    cluster: Cluster, source: Path, master: Master, change: Callable[[Path], object]
) -> None:
    dest = cluster.base / "dest"
    assert cluster.get(master, dest, options=["--delete"]).status == 0
    change(source / "top")
    ended = cluster.get(master, dest, options=["--delete"])
    assert ended.status == 0, ended.stderr
    assert not differences(source, dest)


def test_a_file_that_is_still_open_for_writing_is_as_new_as_what_was_written(
    cluster: Cluster, source: Path, master: Master
) -> None:
    dest = cluster.base / "dest"
    with open(source / "log", "wb", buffering=0) as log:
        for number in range(3):
            log.write(b"line %d\n" % number)
            assert cluster.get(master, dest).status == 0
            assert (dest / "log").read_bytes() == (source / "log").read_bytes()


def map_and_write(path: Path) -> None:
    """Through a mapping: inotify reports nothing."""
    with open(path, "r+b") as file:
        mapping = mmap.mmap(file.fileno(), 0)
    mapping[0:3] = b"new"
    mapping.close()


def test_a_client_gets_what_inotify_does_not_report(cluster: Cluster, source: Path, master: Master) -> None:
    dest = cluster.base / "dest"
    (source / "top").write_bytes(b"old content")
    assert cluster.get(master, dest).status == 0
    map_and_write(source / "top")
    assert cluster.get(master, dest).status == 0
    assert (dest / "top").read_bytes() == b"new content"


@as_root
def test_a_client_gets_what_was_written_to_a_file_system_in_a_served_image(
    cluster: Cluster, source: Path, mounts: Mounts, tmp_path: Path
) -> None:
    needs("mkfs.ext4")
    with open(source / "image", "wb") as image:
        image.truncate(16 << 20)
    do("mkfs.ext4", "-q", source / "image")
    master = cluster.master(source)
    dest = cluster.base / "dest"
    assert cluster.get(master, dest).status == 0
    do("mkdir", tmp_path / "inside")
    do("mount", "-o", "loop", source / "image", tmp_path / "inside")
    try:
        (tmp_path / "inside" / "new").write_bytes(noise(100_000, 1))
        do("sync", "-f", tmp_path / "inside")
        assert cluster.get(master, dest).status == 0
        assert (dest / "image").read_bytes() == (source / "image").read_bytes()
    finally:
        do("umount", tmp_path / "inside")
    eventually(lambda: str(source / "image") not in do("losetup", "--all"), "the loop device is free")
    assert cluster.get(master, dest).status == 0
    assert (dest / "image").read_bytes() == (source / "image").read_bytes()


@as_root
def test_a_directory_that_could_not_be_read_is_watched_from_when_it_can(cluster: Cluster, source: Path) -> None:
    """As for any user but an all-powerful root."""
    needs("setpriv")
    (source / "closed" / "below").mkdir(parents=True)
    os.chown(source / "closed", 1000, -1)
    (source / "closed").chmod(0o700)
    for path in (*source.parents, source)[:-2]:
        path.chmod(path.stat().st_mode | 0o555)
    weak = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    master = cluster.master(source, prefix=weak)
    eventually(lambda: master.status()["notices"], "changes are not noticed")
    follower = cluster.client(master, cluster.base / "dest", options=["--follow"])
    follower.ended()
    (source / "closed").chmod(0o755)
    eventually((cluster.base / "dest" / "closed" / "below").is_dir, "the follower gets what can be read now")
    (source / "closed" / "below" / "new").write_bytes(b"new")
    eventually((cluster.base / "dest" / "closed" / "below" / "new").exists, "changes there are noticed")


def test_one_scan_is_enough_at_the_start(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source, "-D", "1")
    eventually(lambda: master.status()["notices"], "changes are not noticed")
    begun = master.status()["scanned"]
    time.sleep(1.5)  # in which a second scan would come
    assert master.status()["scanned"] > begun
    assert master.log.read_text().count("INFO: generation ") == 1


def test_clients_that_come_together_cost_few_scans(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source, "-v")
    eventually(lambda: master.status()["notices"], "changes are not noticed")
    write(source / "new", b"new")
    clients = [cluster.client(master, cluster.base / f"dest{number}", options=["--linger", "0"]) for number in range(8)]
    for client in clients:
        assert client.ended().status == 0
    for number in range(8):
        assert (cluster.base / f"dest{number}" / "new").read_bytes() == b"new"
    assert master.log.read_text().count("INFO: generation ") <= 3


def test_where_nothing_can_be_noticed_each_client_waits_for_a_scan_and_says_how_old_it_is(
    cluster: Cluster, source: Path
) -> None:
    few_watches = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    few_watches += ['echo 1 > /proc/sys/user/max_inotify_watches && exec "$@"', "sh"]
    master = cluster.master(source, prefix=few_watches)
    master.logged("cannot watch for changes with inotify")
    dest = cluster.base / "dest"
    for number in range(2):
        (source / "top").write_bytes(b"changed %d" % number)
        ended = cluster.get(master, dest)
        assert ended.status == 0, ended.stderr
        assert (dest / "top").read_bytes() == b"changed %d" % number
        assert ended.done["age"] < PATIENCE


@pytest.mark.parametrize("path", ["current", "current/images", "current/images/top"])
def test_a_link_on_the_way_to_what_is_served_may_be_switched(cluster: Cluster, path: str) -> None:
    for number in (1, 2):
        images = cluster.base / "releases" / str(number) / "images"
        images.mkdir(parents=True)
        (images / "top").write_bytes(b"release %d" % number)
    current = cluster.base / "current"
    current.symlink_to("releases/1")
    master = cluster.master(cluster.base / path)
    eventually(lambda: master.status()["notices"], "changes are not noticed")
    dest = cluster.base / "dest"
    for number in (1, 2):
        if number == 2:
            (cluster.base / "next").symlink_to("releases/2")
            (cluster.base / "next").rename(current)
        assert cluster.get(master, dest).status == 0
        assert [found.read_bytes() for found in dest.rglob("top")] == [b"release %d" % number]


# Files that keep changing.

_LARGE = 64 << 20


@contextmanager
def written_all_the_time(path: Path) -> Iterator[None]:
    """Inside the `with` a file is written at least once while it is hashed: it is so large that this takes a while, and
    its writer comes before all others. Otherwise the master finds it quiet on a loaded machine, and rightly serves it.
    """
    path.write_bytes(os.urandom(_LARGE))
    stop = threading.Event()

    def write_on() -> None:
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -20)
        with open(path, "r+b", buffering=0) as file:
            while not stop.wait(0.001):
                file.seek(0)
                file.write(os.urandom(4096))

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def test_a_file_that_keeps_changing_costs_this_file_and_the_rest_is_served(cluster: Cluster, source: Path) -> None:
    with written_all_the_time(source / "vm.img"):
        master = cluster.master(source)
        master.logged("not served: vm.img: still changing")
        assert any("vm.img: still changing" in line for line in master.status()["omitted"])
        dest = cluster.base / "dest"
        ended = cluster.get(master, dest)
        assert ended.status == 1
        assert "vm.img: not readable at the master: still changing (everything else is in place)" in ended.stderr
        assert "only in one: b'vm.img'" in differences(source, dest)
        assert (dest / "top").read_bytes() == (source / "top").read_bytes()
    assert cluster.get(master, dest).status == 0
    assert not differences(source, dest)


def test_a_client_waits_for_a_file_that_is_quiet_soon(cluster: Cluster, source: Path, master: Master) -> None:
    dest = cluster.base / "dest"
    with written_all_the_time(source / "copied"):
        client = cluster.client(master, dest, options=["--linger", "0"])
        client.event(lambda event: "still changing" in event.get("message", ""), "it does not wait")
    ended = client.ended()
    assert ended.status == 0, ended.stderr
    assert not differences(source, dest)


# Odd files.


@as_root
def test_a_mounted_sysfs_below_the_directory_costs_its_odd_files_only(cluster: Cluster, source: Path) -> None:
    (source / "sys").mkdir()
    mount = f'mount -t sysfs sysfs {source}/sys && mount --bind {source}/sys/kernel/mm {source}/sys && exec "$@"'
    master = cluster.master(source, prefix=["unshare", "--mount", "sh", "-c", mount, "sh"])
    dest = cluster.base / "dest"
    ended = cluster.get(master, dest)
    assert ended.status == 1
    assert "shorter than its size says" in ended.stderr
    assert (dest / "top").read_bytes() == (source / "top").read_bytes()


# A directory that is not what it was.


@as_root
@pytest.mark.parametrize("what", ["emptied", "moved away", "covered by another file system"])
def test_a_directory_that_vanished_does_not_wipe_followers(cluster: Cluster, source: Path, what: str) -> None:
    namespace = ["unshare", "--mount", "--propagation", "private"]
    master = cluster.master(source, prefix=namespace)
    inside = ["nsenter", "--mount", f"--target={master.pid}"]
    dest = cluster.base / "dest"
    client = cluster.client(master, dest, options=["--follow", "--delete", "--max-delete", "100%"])
    assert client.ended().status == 0
    before = sorted(dest.rglob("*"))
    elsewhere = source.with_name("elsewhere")
    match what:
        case "emptied":
            elsewhere.mkdir()
            for path in source.iterdir():
                path.rename(elsewhere / path.name)
        case "moved away":
            source.rename(elsewhere)
        case _:
            subprocess.run([*inside, "mount", "-t", "tmpfs", "tmpfs", str(source)], check=True)
            subprocess.run([*inside, "cp", "-a", str(dest / "top"), str(source / "another")], check=True)
    problem = {
        "emptied": "it is empty now",
        "moved away": "No such file or directory",
        "covered by another file system": "another file system is mounted there now",
    }[what]
    eventually(lambda: problem in str(master.status()["problem"]), "the problem is not seen")
    master.logged("cannot publish what is in the directory now: ")
    reloaded = cluster.run("reload", "-p", str(master.port))
    assert (reloaded.status, problem in reloaded.stderr) == (1 if what == "moved away" else 8, True)
    ended = cluster.get(master, cluster.base / "late")
    assert ended.status == 1
    assert "the master serves an older state of its directory: " in ended.stderr
    assert problem in ended.stderr
    assert sorted(dest.rglob("*")) == before, "followers keep what they have"
    if what != "moved away":
        forced = cluster.run("reload", "--force", "-p", str(master.port))
        assert forced.status == 0, forced.stderr
        assert master.status()["problem"] is None
        eventually(lambda: sorted(dest.rglob("*")) != before, "followers get what was forced")
    else:
        elsewhere.rename(source)
        eventually(lambda: master.status()["problem"] is None, "it is there again")
        assert cluster.run("reload", "-p", str(master.port)).status == 0
        assert sorted(dest.rglob("*")) == before
    assert master.log.read_text().count("cannot publish") == 1, "once a minute at most"


@as_root
def test_a_file_system_that_is_not_mounted_any_more_below_the_directory_is_noticed(
    cluster: Cluster, source: Path
) -> None:
    (source / "data").mkdir()
    mount = f'mount -t tmpfs tmpfs {source}/data && echo kept > {source}/data/file && exec "$@"'
    master = cluster.master(source, prefix=["unshare", "--mount", "sh", "-c", mount, "sh"])
    dest = cluster.base / "dest"
    assert cluster.get(master, dest, options=["--delete"]).status == 0
    subprocess.run(["nsenter", "--mount", f"--target={master.pid}", "umount", "-l", str(source / "data")], check=True)
    ended = cluster.get(master, dest, options=["--delete"])
    assert ended.status == 1
    assert "the file system at data is not mounted any more" in ended.stderr
    assert (dest / "data" / "file").read_text() == "kept\n"


@as_root
def test_a_master_that_starts_before_its_file_system_is_mounted_serves_nothing_until_it_is(
    cluster: Cluster, source: Path, mounts: Mounts
) -> None:
    disk, cache = cluster.base / "disk", cluster.base / "cache"
    (mounts.memory(disk) / "file").write_bytes(b"content")
    first = cluster.master(disk, "--cache", str(cache))
    dest = cluster.base / "dest"
    assert cluster.get(first, dest, options=["--delete"]).status == 0
    eventually(lambda: [file for file in cache.glob("*") if file.suffix != ".new"], "digests are kept")
    first.signal(signal.SIGTERM)
    assert first.ended().status == 0
    do("mount", "--bind", cluster.base / "disk", source)  # keeps it
    do("umount", disk)
    second = cluster.master(disk, "--cache", str(cache), port=first.port, wait=False)
    try:
        second.logged("nothing is served")
        assert "it is empty" in second.status()["problem"]
        refused = cluster.get(second, dest, options=["--delete", "--timeout", "3"])
        assert refused.status == 3
        assert "it has nothing to serve" in refused.stderr and "it is empty" in refused.stderr
        assert (dest / "file").exists()
        assert cluster.run("reload", "-p", str(second.port)).status == 8
        waiting = cluster.client(second, dest, options=["--delete", "--linger", "0"])
        waiting.event(lambda event: "it is empty" in event.get("message", ""), "it does not say what it waits for")
    finally:
        do("mount", "--move", source, disk)
    assert waiting.ended().status == 0
    assert (dest / "file").read_bytes() == b"content"


@as_root
def test_a_file_system_below_the_directory_of_an_idle_master_can_be_unmounted(
    cluster: Cluster, source: Path, mounts: Mounts
) -> None:
    below = mounts.memory(source / "below")
    (below / "deep" / "er").mkdir(parents=True)
    (below / "deep" / "er" / "file").write_bytes(b"content")
    master = cluster.master(source)
    assert cluster.get(master, cluster.base / "dest").status == 0

    def unmounted() -> bool:
        return subprocess.run(["umount", str(below)], capture_output=True, check=False).returncode == 0

    try:
        eventually(unmounted, "something keeps it busy")
        eventually(lambda: "is not mounted any more" in str(master.status()["problem"]), "it is not noticed")
    finally:
        if not below.is_mount():
            do("mount", "-t", "tmpfs", "none", below)


# A disk that does not answer.


@as_root
def test_a_client_does_not_wait_for_a_disk_that_hangs(cluster: Cluster, tmp_path: Path) -> None:
    with mounted("exfat", tmp_path) as disk:
        (disk / "file").write_bytes(b"content")
        daemon = int(do("pgrep", "-f", f"mount.exfat-fuse .* {disk}$").split()[0])
        master = cluster.master(disk)
        dest = cluster.base / "dest"
        assert cluster.get(master, dest).status == 0
        os.kill(daemon, signal.SIGSTOP)
        try:
            reloading = cluster.start("reload", "-p", str(master.port))
            ended = cluster.get(master, dest, options=["--timeout", "5"])
            assert ended.status == 3
            assert "it has nothing to serve: nothing was read for" in ended.stderr
            assert "does the disk hang?" in reloading.ended().stderr
        finally:
            os.kill(daemon, signal.SIGCONT)
        # Everybody may write to the directory, as this file system shows it.
        assert cluster.get(master, dest, options=["--insecure-dest"]).status == 0


# Reload.


def test_reload_scans_now_and_says_what_is_served_then(cluster: Cluster, source: Path, master: Master) -> None:
    port = ["-p", str(master.port)]
    same = cluster.run("reload", *port)
    assert (same.status, same.stdout.startswith("nothing changed: generation ")) == (0, True)
    write(source / "new", b"new")
    new = cluster.run("reload", *port)
    assert (new.status, new.stdout.startswith("new generation ")) == (0, True)
    ended = cluster.run("reload", "--json", *port)
    assert (ended.status, ended.events[0]["generation"]) == (0, master.status()["generation"])


def test_reload_without_a_master_says_so(cluster: Cluster) -> None:
    ended = cluster.run("reload", "-p", "9")
    assert (ended.status, ended.stderr.strip()) == (
        1,
        "xget: master of port 9: not running on this machine (choose another port with -p)",
    )


def test_sighup_scans_now(cluster: Cluster, source: Path, master: Master) -> None:
    before = master.status()["generation"]
    write(source / "new", b"new")
    master.signal(signal.SIGHUP)
    eventually(lambda: master.status()["generation"] != before, "no new generation")
