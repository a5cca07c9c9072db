"""Doing something in the name of a user, while this process is root and stays it: seteuid(2).

Root must not open or make files where that user can change what a path leads to: a link to /etc/shadow, for example,
which root would then write to, and give him. In his name the kernel allows what he may do, and no more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from xget_lib.fs import syscalls
from xget_lib.fs.exposed import exposure
from xget_lib.process.privileges import User


@contextmanager
def acting_as(user: User) -> Iterator[None]:
    """To be used by root, before there are threads. Raises OSError."""
    death = syscalls.parent_death_signal()
    groups, gid = os.getgroups(), os.getegid()
    try:
        os.setgroups(os.getgrouplist(user.name, user.gid))
        os.setegid(user.gid)
        os.seteuid(user.uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)
        syscalls.set_parent_death_signal(death)  # the kernel has forgotten it


def why_not_as_root(path: str) -> str:
    """Why root must not make a file or directory at this path; empty if nobody else can change what the path leads to.
    Raises OSError."""
    found = exposure(os.fsencode(os.path.dirname(os.path.abspath(path))))
    return f"{os.fsdecode(found[0])} {found[1]}" if found is not None else ""
