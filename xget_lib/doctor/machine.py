"""What this machine gives to any run: the program, its user, descriptors, the kernel, and TCP."""

from __future__ import annotations

import os
import platform
import pwd
import resource
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path

from xget_lib import version
from xget_lib.config import Config
from xget_lib.doctor.findings import Finding, note, ok, problem
from xget_lib.download.free_space import amount
from xget_lib.errors import printable
from xget_lib.fs import syscalls
from xget_lib.fs.credentials import sees_all_users
from xget_lib.process import rlimit
from xget_lib.usage import MASTER

_ENOUGH = 16384
"""Descriptors, for more than a few hundred nodes (docs/operations.md, section 3)."""
_DELAYED = ("vegas", "lp", "veno", "westwood")
"""Congestion control that gives way to others, or is for lossy wireless links."""
_LEAST_BUFFER = 4 << 20
"""Bytes: 10 Gbit/s with a round trip of 3 ms."""
_LIBRARIES = ("gevent", "blake3", "msgpack")

SETTINGS = Path("/proc/sys")
"""sysctl(8)."""


def examine(config: Config, about: str) -> Iterator[Finding]:
    """`about`: MASTER or CLIENT."""
    yield program()
    yield user(about)
    yield descriptors(config, about)
    yield landlock(about)
    yield congestion()
    yield buffers()


def program() -> Finding:
    if (other := version.replaced_by()) is not None:
        what = f"XGet {version.RUNNING}, but {other} is on disk by now"
        return note("version", what, "run this command again; restart masters that run")
    libraries = ", ".join(f"{name} {_version_of(name)}" for name in _LIBRARIES)
    return ok("version", f"XGet {version.RUNNING}, Python {platform.python_version()}, {libraries}")


def _version_of(package: str) -> str:
    try:
        return version_of(package)
    except PackageNotFoundError:  # as in a tree without metadata
        return "(unknown version)"


def user(about: str) -> Finding:
    """What it may do by whose name it runs."""
    uid = os.geteuid()
    with suppress(KeyError):
        name = pwd.getpwuid(uid).pw_name
        return _user(about, uid, printable(name))
    return _user(about, uid, str(uid))


def _user(about: str, uid: int, name: str) -> Finding:
    if uid == 0:
        if not sees_all_users():
            return note("user", "root of a user namespace: only owners that it maps can be kept")
        return ok("user", "root")
    if about == MASTER:
        return note("user", f"{name}, not root: what only root may read is not served")
    return note("user", f"{name}, not root: files will belong to {name}, and devices are not created")


def descriptors(config: Config, about: str) -> Finding:
    """How many files a process may open, at most."""
    needed = rlimit.MASTER_NEEDS + rlimit.WORKER_NEEDS * config.workers if about == MASTER else rlimit.CLIENT_NEEDS
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        return ok("descriptors", "no limit")
    if hard < needed:
        what = f"a process may have {hard}, and a {about} needs {needed}"
        return problem("descriptors", what, "raise it: ulimit -Hn, or LimitNOFILE of the service")
    if hard < _ENOUGH:
        what = f"a process may have {hard}: enough for {hard // 4} connections"
        return note("descriptors", what, f"with many nodes set ulimit -Hn, or LimitNOFILE, to {_ENOUGH} or more")
    return ok("descriptors", f"a process may have {hard}")


def landlock(about: str) -> Finding:
    """With what a child server gives up writing; it needs no configuration."""
    try:
        return ok("landlock", f"version {syscalls.landlock_version()}")
    except OSError as error:
        if about == MASTER:
            return ok("landlock", "not there; masters do not use it")
        what = f"not there ({error.strerror}): a child server of root keeps the right to write root's files"
        return note("landlock", what, "Linux 5.13 and `landlock` in /sys/kernel/security/lsm have it")


def congestion() -> Finding:
    used = _setting("net/ipv4/tcp_congestion_control")
    if not used:
        return note("congestion", "unknown: /proc/sys cannot be read")
    if used in _DELAYED:
        what = f"{used} gives way to all other traffic"
        return note("congestion", what, "sysctl net.ipv4.tcp_congestion_control=cubic, if that is not meant")
    return ok("congestion", used)


def buffers() -> Finding:
    """How much of one connection can be on its way; the kernel tunes it up to a maximum."""
    most = [(name, _third(_setting(f"net/ipv4/{name}"))) for name in ("tcp_rmem", "tcp_wmem")]
    known = {name: value for name, value in most if value is not None}
    if not known:
        return note("buffers", "unknown: /proc/sys cannot be read")
    said = ", ".join(f"{name} up to {amount(value)}" for name, value in known.items())
    small = [name for name, value in known.items() if value < _LEAST_BUFFER]
    if _setting("net/ipv4/tcp_moderate_rcvbuf") == "0":
        return note("buffers", "the kernel does not tune them", "sysctl net.ipv4.tcp_moderate_rcvbuf=1")
    if small:
        what = f"{said}: on a fast link with long round trips this limits each connection"
        return note("buffers", what, f"raise the third number of {' and '.join(f'net.ipv4.{name}' for name in small)}")
    return ok("buffers", said)


def receive_buffer() -> int | None:
    """Bytes that one connection may keep, at most; None if unknown."""
    return _third(_setting("net/ipv4/tcp_rmem"))


def _setting(name: str) -> str:
    with suppress(OSError):
        return (SETTINGS / name).read_text().strip()
    return ""


def _third(numbers: str) -> int | None:
    words = numbers.split()
    return int(words[2]) if len(words) == 3 and words[2].isdecimal() else None
