"""A tree with one of everything that a copy must keep, and a comparison by rsync.

It contains what only root can make if root makes it.
"""

from __future__ import annotations

import os
import random
import stat
import struct
import subprocess
from pathlib import Path

from test.support.trees import MOMENT, noise, write

BLOCK = 4096
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep

_ACL_ENTRY = struct.Struct("<HHI")
_ANYBODY = 0xFFFFFFFF


def access_list(user: int, group: int) -> bytes:
    """What `setfacl -m u:USER:rw,g:GROUP:r` makes of mode 0664."""
    entries = [(0x01, 6, _ANYBODY), (0x02, 6, user), (0x04, 4, _ANYBODY), (0x08, 4, group), (0x10, 6, _ANYBODY)]
    return struct.pack("<I", 2) + b"".join(_ACL_ENTRY.pack(*entry) for entry in [*entries, (0x20, 4, _ANYBODY)])


def odd_tree(root: Path) -> Path:
    """Makes the tree. No path in it is longer than PATH_MAX; `deep_path` makes such a path."""
    privileged = os.geteuid() == 0
    root.mkdir()
    _names(root / "names")
    _links(root / "links")
    _holes(root / "holes")
    _attributes(root / "attributes", privileged)
    os.mkfifo(root / "pipe", 0o640)
    os.utime(root / "pipe", ns=(0, MOMENT + 11))
    if privileged:
        _privileged(root)
    _set_times(root)
    return root


def _names(root: Path) -> None:
    (root / "empty" / "emptier").mkdir(parents=True)
    (root / ("d" * 255) / ("e" * 255)).mkdir(parents=True)
    base = bytes(root)
    names = [b"f" * 255, b"\xff\xfe\xc3\x28", b"new\nline", b"-rf", b"~", b"*", b" ", b".hidden", b"a\\b", b'"', b"$x"]
    names.append("naïve ☃ 🜁".encode())
    for number, name in enumerate(names):
        write(base + b"/" + name, name * number, mtime=MOMENT + number)
    write(root / ("d" * 255) / ("e" * 255) / ("g" * 255), b"long")
    write(root / "empty file", b"")
    for second in (-1, 0, 1 << 31, 1 << 33):
        write(root / f"time {second}", b"x", mtime=second * 10**9 + 987_654_321)


def _links(root: Path) -> None:
    (root / "a" / "b").mkdir(parents=True)
    (root / "c").mkdir()
    write(root / "a" / "first", noise(100_000, 5), mode=0o640)
    write(root / "c" / "small", b"small")
    for name in ("a/b/second", "c/third", "zeroth"):
        os.link(root / "a" / "first", root / name)
    os.link(root / "c" / "small", root / "a" / "small too")
    targets = {"inside": "../links/c/small", "dangling": "no such thing", "absolute": "/etc/passwd", "self": "self"}
    targets |= {"a directory": "a/b", "up": "../../../../../..", "long": "x/" * 2000, "c/not text": "\udcff\udcfe"}
    for name, target in targets.items():
        os.symlink(target, root / name)
    os.link(root / "dangling", root / "a" / "dangling too", follow_symlinks=False)
    os.mkfifo(root / "pipe one")
    os.link(root / "pipe one", root / "c" / "pipe two")


def _holes(root: Path) -> None:
    root.mkdir()
    sizes = {"all": 1 << 20, "behind": 300_001, "before": 1 << 20, "middle": 3 << 20, "vast": 2 << 30}
    for name, size in sizes.items():
        with open(root / name, "wb") as file:
            file.truncate(size)
    with open(root / "behind", "r+b") as file:
        file.write(noise(5000, 1))
    with open(root / "before", "r+b") as file:
        file.seek((1 << 20) - 5000)
        file.write(noise(5000, 2))
    source = random.Random(3)
    for name, count, step in (("middle", 40, BLOCK), ("vast", 256, 1 << 20)):
        with open(root / name, "r+b") as file:
            for at in source.sample(range(sizes[name] // step), count):
                file.seek(at * step)
                file.write(source.randbytes(BLOCK))
    write(root / "zeros that are no hole", bytes(200_000))


def _attributes(root: Path, privileged: bool) -> None:
    (root / "modes").mkdir(parents=True)
    for number, mode in enumerate((0o4755, 0o2755, 0, 0o222)):
        write(root / "modes" / str(number), b"mode", mode=mode if privileged else mode | 0o400)
    (root / "sticky").mkdir()
    (root / "sticky").chmod(0o1777)
    (root / "inheriting").mkdir()
    (root / "inheriting").chmod(0o2750)
    write(root / "user", b"attributes of users")
    values = {b"user.a": b"1", b"user.empty": b"", b"user.\xff": bytes(range(256)), b"user.z": b"z" * 900}
    for attribute, value in values.items():
        os.setxattr(root / "user", attribute, value)
    os.setxattr(root / "sticky", b"user.directory", b"has some too")
    write(root / "list", b"access list", mode=0o664)
    os.setxattr(root / "list", b"system.posix_acl_access", access_list(4321, 8765))
    os.setxattr(root / "inheriting", b"system.posix_acl_default", access_list(4321, 8765))
    write(root / "inheriting" / "plain", b"without a list, where new files get one")
    os.removexattr(root / "inheriting" / "plain", b"system.posix_acl_access")
    (root / "inheriting" / "plain").chmod(0o644)
    write(root / "read only", b"x")
    os.setxattr(root / "read only", b"user.on", b"a file that may not be written")
    (root / "read only").chmod(0o444)


def _privileged(root: Path) -> None:
    (root / "owned").mkdir()
    for name, owner in (("root", (0, 0)), ("mail", (8, 8)), ("nobody knows", (4_000_000_000, 123_456))):
        write(root / "owned" / name, name.encode(), mode=0o4750)
        os.chown(root / "owned" / name, *owner)
        (root / "owned" / name).chmod(0o6750)
        os.symlink(name, root / "owned" / f"link of {name}")
        os.chown(root / "owned" / f"link of {name}", *owner, follow_symlinks=False)
    os.chown(root / "owned", 8, 12)
    write(root / "capable", b"#!/bin/sh\n", mode=0o755)
    os.chown(root / "capable", 8, 8)
    os.setxattr(root / "capable", b"security.capability", CAPABILITY)
    os.setxattr(root / "capable", b"trusted.mark", b"for root only")
    os.setxattr(root / "owned" / "link of mail", b"trusted.link", b"of a link", follow_symlinks=False)
    for name, kind, numbers in (("null", stat.S_IFCHR, (1, 3)), ("disk", stat.S_IFBLK, (259, 1 << 18))):
        os.mknod(root / name, kind | 0o620, os.makedev(*numbers))
        os.chown(root / name, 0, 5)
        (root / name).chmod(0o660)
    os.mknod(root / "whiteout", stat.S_IFCHR, 0)
    os.link(root / "null", root / "owned" / "null too")


def _set_times(root: Path) -> None:
    for number, (directory, directories, files) in enumerate(os.walk(root, topdown=False)):
        for name in directories + files:
            path = os.path.join(directory, name)
            if os.path.islink(path):
                os.utime(path, ns=(0, MOMENT - number), follow_symlinks=False)
        os.utime(directory, ns=(0, MOMENT + 3 * number))


def deep_path(root: Path, content: bytes) -> bytes:
    """Makes a file the path of which, below `root`, is longer than PATH_MAX; returns that path."""
    names = [b"%02d-" % depth + b"n" * 200 for depth in range(24)]
    descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY)
    for name in names:
        os.mkdir(name, dir_fd=descriptor)
        below = os.open(name, os.O_PATH | os.O_DIRECTORY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    file = os.open(b"file", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=descriptor)
    os.write(file, content)
    os.close(file)
    os.close(descriptor)
    return b"/".join([*names, b"file"])


def rsync_says(original: Path, copy: Path) -> list[str]:
    """What rsync would do to make the copy exactly like the original."""
    command = ["rsync", "-aHAXn", "--numeric-ids", "--checksum", "--delete", "--itemize-changes"]
    done = subprocess.run([*command, f"{original}/", f"{copy}/"], capture_output=True, check=True, timeout=300)
    return done.stdout.decode(errors="backslashreplace").splitlines()
