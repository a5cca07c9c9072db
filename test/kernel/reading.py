"""Everything that can be read of `files` is right, however it is read."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from test.kernel.check import Mounted, check, content, refuses
from test.kernel.facts import LINUX, PLAIN, UNIX, describe, differences, shown

FIND = "/usr/bin/find"  # GNU's, which comes along from this machine
_STRANGER = 54321  # a user who owns nothing
_SOON = 10.0  # seconds in which a change on disk must be seen; the promise is one, without a machine in a machine


@check(small=True)
def agreed_as_asked(mounted: Mounted) -> None:
    """Linux says what it agreed on with the server where that is not its default: 9P2000.L in messages of 128 KiB."""
    (options,) = (
        line.split()[3].split(",") for line in content("/proc/mounts").splitlines() if f" {mounted.at} " in line
    )
    dialect = {PLAIN: "noextend", UNIX: "version=9p2000.u"}.get(mounted.mount.dialect)
    assert [option for option in options if option.startswith(("noextend", "version"))] == [dialect] * bool(dialect)
    size = mounted.mount.msize and f"msize={mounted.mount.msize}"
    assert [option for option in options if option.startswith("msize")] == [size] * bool(size)


@check(small=True)
def whole_tree(mounted: Mounted) -> None:
    expected = shown(mounted.facts["tree"], mounted.mount.dialect)
    found = differences(expected, describe(mounted.path("tree")))
    assert not found, "\n".join(found[:20])


@check()
def find_ls(mounted: Mounted) -> None:
    """GNU find: a line for each entry; the first column is the inode, and it is another for each file."""
    expected = shown(mounted.facts["tree"], mounted.mount.dialect)
    done = subprocess.run([FIND, mounted.path("tree"), "-ls"], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.splitlines()
    assert len(lines) == len(expected)
    files = len(expected) - mounted.facts["further names"]
    assert len({line.split()[0] for line in lines}) == files


@check()
def checksums(mounted: Mounted) -> None:
    """busybox compares with a list that was made before."""
    done = subprocess.run(
        ["sha256sum", "-c"], cwd=mounted.path("tree"), input=mounted.facts["sums"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": OK\n") == mounted.facts["sums"].count("\n")


@check(small=True)
def reads_at_odd_offsets(mounted: Mounted) -> None:
    with open(mounted.path("large"), "rb", buffering=0) as file:
        for offset, count, digest in mounted.facts["ranges"]:
            data = os.pread(file.fileno(), count, offset)
            assert hashlib.sha256(data).hexdigest() == digest, f"{count} bytes at {offset}: {len(data)} others"


@check()
def memory_mapping(mounted: Mounted) -> None:
    with open(mounted.path("large"), "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        for offset, count, digest in reversed(mounted.facts["ranges"]):
            assert hashlib.sha256(mapped[offset : offset + count]).hexdigest() == digest, f"{count} at {offset}"
        assert hashlib.sha256(mapped).hexdigest() == mounted.facts["large"]


@check()
def running_a_program(mounted: Mounted) -> None:
    """The kernel maps what it runs."""
    done = subprocess.run([mounted.path("busybox"), "echo", "running"], capture_output=True, text=True)
    assert done.stdout == "running\n", done.stderr


@check(small=True)
def beyond_4_gib(mounted: Mounted) -> None:
    facts = mounted.facts["huge"]
    with open(mounted.path("huge"), "rb", buffering=0) as file:
        assert os.fstat(file.fileno()).st_size == facts["size"]
        for offset, text in facts["islands"]:
            around = os.pread(file.fileno(), len(text) + 20, offset - 10)
            assert around == (bytes(10) + text.encode() + bytes(10))[: facts["size"] - offset + 10], f"at {offset}"
        assert os.pread(file.fileno(), 10, facts["size"]) == b""


@check(small=True)
def names(mounted: Mounted) -> None:
    """Of 255 bytes, in letters of any kind, many of them in a path; and those of nothing."""
    for name in mounted.facts["names"]:
        assert content(mounted.path("names", name)) == name
    assert content(mounted.path(*mounted.facts["deep"])) == "deep"
    assert not refuses(errno.ENOENT, lambda: os.stat(mounted.path("names", "nothing")))
    assert not refuses(errno.ENOTDIR, lambda: os.stat(mounted.path("large", "nothing")))
    assert not refuses(errno.ENAMETOOLONG, lambda: os.stat(mounted.path("names", "n" * 256)))


@check(small=True)
def another_user(mounted: Mounted) -> None:
    """For whom Linux attaches once more, on the same connection, where it is told to (`access=user`)."""
    public, private = mounted.path("tree/top"), mounted.path("tree/a/b/file2")
    script = f"cat {public}; cat {private}"
    done = subprocess.run(
        script, shell=True, user=_STRANGER, group=_STRANGER, extra_groups=[], capture_output=True, text=True
    )
    assert done.stdout == "at the top\n", done.stderr
    assert "Permission denied" in done.stderr


@check(LINUX)
def extended_attributes(mounted: Mounted) -> None:
    file = mounted.path("tree/top")
    expected = mounted.facts["tree"]["top"]["attributes"]
    assert {name: os.getxattr(file, name).hex() for name in expected} == expected
    assert set(expected) <= set(os.listxattr(file))
    assert not refuses(errno.ENODATA, lambda: os.getxattr(file, "user.nothing"))


@check()
def nothing_is_left_to_be_stored(mounted: Mounted) -> None:
    with open(mounted.path("tree/top")) as file:
        os.fsync(file.fileno())


@check(LINUX)
def locks_are_not_to_be_had(mounted: Mounted) -> None:
    with open(mounted.path("tree/top")) as file:
        assert not refuses(errno.ENOLCK, lambda: fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB))
        assert not refuses(errno.ENOLCK, lambda: fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB))
        assert file.read() == "at the top\n"


@check()
def file_system(mounted: Mounted) -> None:
    status = os.statvfs(mounted.at)
    assert status.f_bsize > 0
    if mounted.mount.dialect == LINUX:
        assert status.f_namemax == 255
        assert status.f_blocks >= status.f_bfree >= status.f_bavail > 0
        assert subprocess.run(["df", mounted.at], capture_output=True).returncode == 0


@check()
def many_readers_at_once(mounted: Mounted) -> None:
    def read(number: int) -> None:
        with open(mounted.path("large"), "rb", buffering=0) as file:
            for offset, count, digest in random.Random(number).sample(mounted.facts["ranges"], 8):
                assert hashlib.sha256(os.pread(file.fileno(), count, offset)).hexdigest() == digest

    with ThreadPoolExecutor(8) as readers:
        list(readers.map(read, range(16)))


@check()
def interrupted_reads(mounted: Mounted) -> None:
    """Linux flushes what a killed process has asked for."""
    for _ in range(10):
        with subprocess.Popen(["dd", f"if={mounted.path('huge')}", "bs=1M"], stdout=subprocess.PIPE) as reader:
            assert reader.stdout and reader.stdout.read(3 << 20) == bytes(3 << 20)
            reader.kill()
    reads_at_odd_offsets(mounted)


@check(fresh=True)
def a_change_on_disk_is_seen(mounted: Mounted) -> None:
    """`please` has the test outside write another number to the file, and rename it into place."""
    path = mounted.path("changing/number")
    before = content(path)
    print('{"please": "change"}', flush=True)
    deadline = time.monotonic() + _SOON
    while content(path) == before:
        assert time.monotonic() < deadline, f"still {before} after {_SOON} s"
        time.sleep(0.05)
