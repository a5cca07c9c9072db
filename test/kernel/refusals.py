"""Nothing that would change a file is done, and Linux says why."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable

from test.kernel.check import Mounted, check, refuses
from test.kernel.facts import LINUX, PLAIN


@check()
def nothing_can_be_written(mounted: Mounted) -> None:
    file, directory, new = mounted.path("tree/top"), mounted.path("tree/a"), mounted.path("tree/new")
    attempts: dict[str, Callable[[], object]] = {
        "open to write": lambda: os.open(file, os.O_WRONLY),
        "open to read and write": lambda: os.open(file, os.O_RDWR),
        "open to append": lambda: os.open(file, os.O_WRONLY | os.O_APPEND),
        "open and truncate": lambda: os.open(file, os.O_WRONLY | os.O_TRUNC),
        "create": lambda: os.open(new, os.O_WRONLY | os.O_CREAT, 0o644),
        "create and read": lambda: os.open(new, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o644),
        "truncate": lambda: os.truncate(file, 0),
        "remove": lambda: os.unlink(file),
        "make a directory": lambda: os.mkdir(new),
        "remove a directory": lambda: os.rmdir(directory),
        "rename": lambda: os.rename(file, new),
        "rename a directory": lambda: os.rename(directory, new),
        "change the mode": lambda: os.chmod(file, 0o777),
        "change the times": lambda: os.utime(file, (1, 1)),
        "change the times of a directory": lambda: os.utime(directory, (1, 1)),
    }
    if mounted.mount.dialect != PLAIN:  # for that one Linux refuses by itself
        attempts |= {
            "change the owner": lambda: os.chown(file, 1, 1),
            "link": lambda: os.link(file, new),
            "symbolic link": lambda: os.symlink("top", new),
            "make a FIFO": lambda: os.mkfifo(new),
        }
    if mounted.mount.dialect == LINUX:  # in 9P2000.u Linux moves nothing from one directory to another (EXDEV)
        attempts["move to another directory"] = lambda: os.rename(file, mounted.path("tree/a/new"))
        attempts["set an attribute"] = lambda: os.setxattr(file, "user.new", b"value")
        attempts["remove an attribute"] = lambda: os.removexattr(file, "user.comment")
    ended = {what: refuses(errno.EROFS, attempt) for what, attempt in attempts.items()}
    assert not any(ended.values()), {what: how for what, how in ended.items() if how}
    assert not os.path.lexists(new)


@check()
def commands_say_read_only(mounted: Mounted) -> str:
    """What people and scripts type. Returns what they read."""
    said = ""
    for line in (
        "touch top",
        "touch new",
        "mkdir new",
        "rm top",
        "rm -r a",
        "mv top new",
        "chmod 777 top",
        "truncate -s 0 top",
        "echo more >>top",
        "cp top new",
        *(["ln top new", "ln -s top new", "mkfifo new"] if mounted.mount.dialect != PLAIN else ()),
    ):
        done = subprocess.run(line, shell=True, cwd=mounted.path("tree"), capture_output=True, text=True)
        assert done.returncode, f"{line} was done"
        assert "Read-only file system" in done.stderr, f"{line}: {done.stderr}"
        said += f"# {line}\n{done.stderr}"
    return said
