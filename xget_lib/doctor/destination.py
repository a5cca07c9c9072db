"""A destination: whether a download could put files there, what it would keep of them, and whether there is room.

A real download of a small content is tried out there (`specimen`), in a directory that is removed again.
"""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from xget_lib.config import Config, absolute
from xget_lib.doctor import specimen
from xget_lib.doctor.findings import Finding, note, ok, problem, within
from xget_lib.doctor.probe_directory import ProbeDirectory
from xget_lib.download.access import Access
from xget_lib.download.free_space import amount, check_room
from xget_lib.download.refusal import refuse_exposed, refusing, refusing_dest
from xget_lib.download.workplaces import Workplaces, leftover_parts
from xget_lib.errors import DestinationRefused, Exit, XGetError, printable
from xget_lib.fs.mounts import mount_of, mounted
from xget_lib.fs.places import is_marked
from xget_lib.fs.rooted import Root
from xget_lib.manifest.entry import below
from xget_lib.manifest.selection import STAGING
from xget_lib.process.local_processes import LocalProcess

_SECONDS = 30.0
"""For all of it. A network file system whose server is gone does not answer at all."""
_REMOVE_WITHIN = 5.0
_IN_MEMORY = ("tmpfs", "ramfs", "rootfs")
_LITTLE = 1 << 30
"""Bytes: less than this is worth a note where it is not known how much is needed."""
_ALL = (
    "owners, permissions, access lists, attributes, capabilities, times to the nanosecond, links, holes, devices, and"
    " names that differ in case"
)
_FLAGS = {os.ST_NOSUID: "nosuid", os.ST_NODEV: "nodev", os.ST_NOEXEC: "noexec", os.ST_SYNCHRONOUS: "sync"}


@dataclass(frozen=True)
class Content:
    """What a master serves, as far as a destination is concerned."""

    size: int
    files: int
    marks: frozenset[bytes] = frozenset()
    """Of the directory that it serves (`fs.places`)."""


def examine(
    config: Config, dest: bytes, content: Content | None, processes: Sequence[LocalProcess]
) -> Iterator[Finding]:
    """`processes`: those of this machine. Changes nothing that stays. Raises UsageError for a relative path without a
    current directory."""
    dest = absolute(dest)
    probes: list[ProbeDirectory] = []
    try:
        yield from within(_SECONDS, lambda: list(_examine(config, dest, content, processes, probes)))
    except TimeoutError:
        what = f"{printable(dest)} does not answer in {_SECONDS:g} s"
        advice = "is it on a network file system, or on a disk, that hangs? see dmesg"
        yield problem("destination", what, advice, Exit.DESTINATION)
    finally:
        for probe in probes:
            with suppress(TimeoutError):
                within(_REMOVE_WITHIN, probe.remove)


def _examine(
    config: Config,
    dest: bytes,
    content: Content | None,
    processes: Sequence[LocalProcess],
    probes: list[ProbeDirectory],
) -> Iterator[Finding]:
    """As `examine`, without a deadline. A directory that is made is put into `probes` first."""
    try:
        exists = _exists(dest)
        if not config.insecure_dest:
            refuse_exposed(dest)
        place = dest if exists else os.path.dirname(dest)
        if content is not None and is_marked(dest, content.marks):
            why = "is in the directory that this master serves (choose another destination)"
            raise DestinationRefused(dest, why)
        yield from _of_filesystem(dest, place, exists=exists)
        with refusing(dest):
            yield _space(dest, os.statvfs(place), content, is_empty=not exists or _is_empty(place))
            with Root(place) as root:
                Access(root, Workplaces(dest)).check(STAGING, None)
                in_use = [each for each in processes if each.role == "download" and each.path == printable(dest)]
                yield from _of_staging(dest, root, in_use)
        yield from _limits()
        probes.append(ProbeDirectory(place, exists=exists))
        yield from _of_specimen(config, dest, probes[-1])
    except XGetError as error:
        yield _refused(error)


def _exists(dest: bytes) -> bool:
    """Whether it is there; it can be made otherwise. Raises DestinationRefused."""
    with refusing_dest(dest):
        if os.path.isdir(dest):
            return True
        if os.path.lexists(dest) and not os.path.islink(dest):
            raise NotADirectoryError(20, os.strerror(20))
        if os.path.islink(dest) or not os.path.isdir(os.path.dirname(dest)):
            raise FileNotFoundError
    return False


def _of_filesystem(dest: bytes, place: bytes, *, exists: bool) -> Iterator[Finding]:
    mounts = mounted()
    real = os.path.realpath(place)
    mount = mount_of(real, mounts)
    with refusing(dest):
        flags = os.statvfs(place).f_flag
    set_flags = ", ".join(name for flag, name in _FLAGS.items() if flags & flag)
    where = f"{printable(dest)}{'' if exists else ', which is to be made,'} is on "
    where += f"{mount.kind}, mounted at {printable(mount.point)}" if mount is not None else "an unknown file system"
    where += f" with {set_flags}" if set_flags else ""
    if flags & os.ST_SYNCHRONOUS:
        yield note("destination", f"{where}: each write waits for the disk", "mount it without sync")
    elif mount is not None and mount.shared_type:
        what = f"{where}, from another machine: what arrives is sent over the network once more"
        yield note("destination", what, "a local disk is faster; if all nodes have it mounted, one download is enough")
    elif mount is not None and mount.kind in _IN_MEMORY:
        yield ok("destination", f"{where}: in memory, and gone when the machine stops")
    else:
        yield ok("destination", where)
    inside = [each.point for each in mounts if exists and below(real, each.point)]
    if inside:
        named = printable(inside[0]) + (f" and {len(inside) - 1} more" if inside[1:] else "")
        yield note("destination", f"{named} is mounted below it, and was not examined")


def _space(dest: bytes, available: os.statvfs_result, content: Content | None, *, is_empty: bool) -> Finding:
    """Raises DestinationRefused where the content has certainly no room."""
    free = available.f_bavail * available.f_frsize
    inodes = f", {available.f_favail} files" if available.f_files else ""
    said = f"{amount(free)}{inodes} free" if available.f_blocks else "no limit that the file system tells of"
    if content is None:
        if available.f_blocks and free < _LITTLE:
            return note("space", said, "is it enough?")
        return ok("space", said)
    wanted = f"the master serves {amount(content.size)} in {content.files} files"
    try:
        check_room(dest, available, content.size, content.files)
    except DestinationRefused as error:
        if is_empty:
            raise
        advice = "xget --dry-run says how much is still to be fetched"
        return note("space", f"{error.why}, if nothing of it is in place: {said}; {wanted}", advice)
    return ok("space", f"{said}; {wanted}")


def _is_empty(place: bytes) -> bool:
    with os.scandir(place) as names:
        return all(name.name == STAGING for name in names)


def _of_staging(dest: bytes, root: Root, in_use: Sequence[LocalProcess]) -> Iterator[Finding]:
    """What is in `.xget` already. Raises DestinationRefused, with the words of `Staging`."""
    with suppress(FileNotFoundError):
        status = root.lstat(STAGING)
        path = os.path.join(dest, STAGING)
        if not stat.S_ISDIR(status.st_mode):
            raise DestinationRefused(path, "not a directory (remove it: XGet stores temporary data there)")
        if status.st_uid != os.geteuid() and os.geteuid() != 0:
            raise DestinationRefused(path, "belongs to another user (remove it)")
        if in_use:
            what = f"process {in_use[0].pid} downloads into it: another client must wait for its end"
            yield note("destination", what)
            return
        parts = len(leftover_parts(root))
        if parts:
            yield note("destination", f"an earlier run left {parts} verified parts in .xget; the next one uses them")


def _limits() -> Iterator[Finding]:
    largest = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if largest != resource.RLIM_INFINITY:
        what = f"a file may have {amount(largest)} at most (RLIMIT_FSIZE)"
        yield note("destination", what, "ulimit -f unlimited, or LimitFSIZE of the service")


def _of_specimen(config: Config, dest: bytes, probe: ProbeDirectory) -> Iterator[Finding]:
    with refusing_dest(dest):
        probe.make()
    with refusing(dest):
        notes = list(
            specimen.try_out(
                probe.path,
                permissions=not config.no_permissions,
                owners=not config.no_owners,
                devices=config.devices,
                set_id=config.set_id,
            )
        )
    for line in notes:
        yield note("abilities", printable(line))
    if not notes and config.set_id and config.devices:
        yield ok("abilities", f"tried out: keeps {_ALL}")
    elif not notes:
        yield ok("abilities", "tried out: keeps what the options do not leave out")


def _refused(error: XGetError) -> Finding:
    """A finding of an error, whose text ends with what to do."""
    what, bracket, advice = str(error).removesuffix(")").rpartition(" (")
    if not bracket:
        what, advice = str(error), "run as a user who may write there, or choose another destination"
    return problem("destination", what, advice, error.exit_status)
