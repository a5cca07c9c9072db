"""Giving up root, for good: capabilities(7), credentials(7).

A server that was started by root needs root for what comes first: a port below 1024, its log, its pid file. Afterwards
it needs one power of root at most, CAP_DAC_READ_SEARCH: to read what is served, whoever owns it. By that power it can
write, change and own nothing.

What has been given up cannot come back: the bounding set is empty, and no program that is executed gains anything
(PR_SET_NO_NEW_PRIVS). The kernel also keeps other processes of the same user from tracing this one, since it has had
more powers.
"""

from __future__ import annotations

import os
import pwd

from xget_lib.dataclass import dataclass
from xget_lib.errors import Failed, UsageError, printable
from xget_lib.fs import syscalls

DAC_READ_SEARCH = 2
"""linux/capability.h: read every file, and search and list every directory."""


@dataclass(frozen=True)
class User:
    """A user to become."""

    name: str
    uid: int
    gid: int

    @classmethod
    def look_up(cls, name: str) -> User:
        """Raises UsageError if this process cannot become that user, or need not."""
        if os.geteuid() != 0:
            raise UsageError(f"--user {printable(name)}: only root can become another user")
        try:
            found = pwd.getpwnam(name)
        except (KeyError, ValueError, UnicodeError):
            raise UsageError(f"--user {printable(name)}: no such user") from None
        if found.pw_uid == 0:
            raise UsageError(f"--user {printable(name)}: is root")
        return cls(name, found.pw_uid, found.pw_gid)


def give_up_root(user: User, *, may_read: bool) -> None:
    """Become a user, with its groups. To be called before there are threads.

    With `may_read`, this process and those that it forks can `read_everything` afterwards; else they have no power at
    all. Raises Failed.
    """
    try:
        death = syscalls.parent_death_signal()
        for capability in syscalls.bounding_set():
            syscalls.drop_from_bounding_set(capability)
        syscalls.keep_capabilities(True)
        os.setgroups(os.getgrouplist(user.name, user.gid))
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
        syscalls.keep_capabilities(False)
        syscalls.set_capabilities(permitted=[DAC_READ_SEARCH] if may_read else [], effective=[])
        syscalls.forbid_new_privileges()
        syscalls.set_parent_death_signal(death)  # the kernel has forgotten it
    except OSError as error:
        raise Failed(f"--user {user.name}", error.strerror or str(error)) from None


def read_everything() -> None:
    """Use the power that `give_up_root` has left. For this thread, and all that it starts. Raises OSError."""
    syscalls.set_capabilities(permitted=[DAC_READ_SEARCH], effective=[DAC_READ_SEARCH])
