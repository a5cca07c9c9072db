"""What a master needs: a directory that it can read and watch, a place for its digest cache, and its port."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from xget_lib.config import Config, absolute
from xget_lib.doctor.findings import Finding, note, ok, problem, within
from xget_lib.errors import AddressRefused, Exit, UsageError, printable
from xget_lib.fs.cache_directory import usual_cache_directory
from xget_lib.fs.mounts import mount_of, mounted
from xget_lib.net.listen import check_free
from xget_lib.process.local_processes import MASTER, LocalProcess
from xget_lib.process.privileges import User
from xget_lib.report.events import counted

_SECONDS = 30.0
_LOOK_SECONDS, _LOOK_MOST = 5.0, 500_000
"""How long a directory is looked through, and how many names, at most."""
_WATCHES = "/proc/sys/fs/inotify/max_user_watches"


@dataclass
class Looked:
    """What is in a directory, as far as it was looked through."""

    names: int = 0
    directories: int = 1
    unreadable: int = 0
    first_unreadable: bytes = b""
    is_all: bool = True


def examine_port(config: Config, processes: Sequence[LocalProcess]) -> Finding:
    """Whether a master can listen on its port."""
    where = f"{config.bind or 'all addresses'} port {config.port}"
    try:
        check_free(config.bind, config.port)
    except AddressRefused as error:
        mine = [each for each in processes if each.role == MASTER and each.port == config.port]
        if mine and "in use" in error.why:
            return ok("port", f"{where} is that of the master {mine[0].pid}, which serves {printable(mine[0].path)}")
        advice = "see `ss -ltnp`; choose another port with -p, or an address of this machine with --bind"
        return problem("port", f"{where}: {error.why}", advice)
    return ok("port", f"{where} is free")


def examine_user(config: Config) -> Iterator[Finding]:
    if config.user is None:
        return
    try:
        user = User.look_up(config.user)
    except UsageError as error:
        yield problem("user", str(error), "choose another one", Exit.USAGE)
    else:
        yield ok("user", f"--user {printable(user.name)}: uid {user.uid}")


def examine(config: Config, path: bytes) -> Iterator[Finding]:
    """What is to be served. Raises UsageError for a relative path without a current directory."""
    path = absolute(path)
    try:
        yield from within(_SECONDS, lambda: list(_examine(config, path)))
    except TimeoutError:
        what = f"{printable(path)} does not answer in {_SECONDS:g} s"
        yield problem("source", what, "is it on a network file system, or on a disk, that hangs? see dmesg")


def _examine(config: Config, path: bytes) -> Iterator[Finding]:
    try:
        status = os.stat(path)
        if not stat.S_ISDIR(status.st_mode) and not stat.S_ISREG(status.st_mode):
            yield problem("source", f"{printable(path)} is neither a file nor a directory", "serve another path")
            return
        is_directory = stat.S_ISDIR(status.st_mode)
        if not os.access(path, os.R_OK | (os.X_OK if is_directory else 0)):
            raise PermissionError(13, os.strerror(13))
        mount = mount_of(os.path.realpath(path), mounted())
        looked = look_through(path, status.st_dev, time.monotonic() + _LOOK_SECONDS) if is_directory else None
    except OSError as error:
        advice = "check the path, and as whom the master runs"
        yield problem("source", f"{printable(path)}: {error.strerror or error}", advice)
        return
    kind = f"is on {mount.kind}, mounted at {printable(mount.point)}" if mount is not None else "is there"
    yield ok("source", f"{printable(path)} {kind}")
    if mount is not None and mount.shared_type:
        what = (
            f"other machines can change {mount.kind}, and the kernel does not report it: each client waits for a scan"
        )
        yield note("source", what, "serve a local directory, if it is large")
    if looked is not None:
        yield from _of_content(looked)
        yield watches(looked)
    yield _cache(config)


def look_through(path: bytes, device: int, deadline: float) -> Looked:
    """Counts names in a directory and below it, on its file system. `deadline`: in monotonic seconds. Raises OSError
    for the directory itself."""
    looked, waiting = Looked(), [path]
    while waiting:
        at = waiting.pop()
        try:
            with os.scandir(at) as names:
                for name in names:
                    looked.names += 1
                    if name.is_dir(follow_symlinks=False):
                        if name.stat(follow_symlinks=False).st_dev == device:
                            looked.directories += 1
                            waiting.append(os.fsencode(name.path))
                    elif name.is_file(follow_symlinks=False) and not os.access(name.path, os.R_OK):
                        _unreadable(looked, os.fsencode(name.path))
        except OSError:
            if at == path:
                raise
            _unreadable(looked, at)
        if waiting and (looked.names > _LOOK_MOST or time.monotonic() > deadline):
            looked.is_all = False
            break
    return looked


def _unreadable(looked: Looked, path: bytes) -> None:
    looked.unreadable += 1
    looked.first_unreadable = looked.first_unreadable or path


def _of_content(looked: Looked) -> Iterator[Finding]:
    least = "" if looked.is_all else "at least "
    counts = f"{least}{counted(looked.names, 'name')}; directories, with this one: {looked.directories}"
    if looked.unreadable:
        first = printable(looked.first_unreadable)
        what = f"{counts}; {looked.unreadable} cannot be read, such as {first}: clients will exit with 1"
        yield note("source", what, "run the master as a user who may read them, or leave them out with --exclude")
    else:
        yield ok("source", counts)


def watches(looked: Looked) -> Finding:
    """Whether the kernel watches so many directories for one user."""
    with suppress(OSError, ValueError), open(_WATCHES) as file:
        most = int(file.read())
        if looked.directories > most:
            what = f"{looked.directories} directories, and the kernel watches {most} for one user"
            return note(
                "watching",
                f"{what}: each client waits for a scan",
                f"sysctl fs.inotify.max_user_watches={2 * looked.directories}",
            )
        return ok("watching", f"the kernel watches up to {most} directories for one user")
    return note("watching", "the kernel reports no changes (inotify)")


def _cache(config: Config) -> Finding:
    """The digest cache only saves work: without it everything is hashed at each start."""
    directory = config.cache or usual_cache_directory()
    nearest = directory
    while not os.path.lexists(nearest) and os.path.dirname(nearest) != nearest:
        nearest = os.path.dirname(nearest)
    if os.path.isdir(nearest) and os.access(nearest, os.W_OK | os.X_OK):
        return ok("cache", printable(directory))
    what = f"{printable(directory)} cannot be written: each start of the master hashes all files"
    return note("cache", what, "choose a directory with --cache")
