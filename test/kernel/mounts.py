"""The ways in which the master is mounted."""

from __future__ import annotations

from dataclasses import dataclass

from test.kernel.facts import LINUX, PLAIN, UNIX

HOST = "10.0.2.2"  # this machine's loopback, as QEMU shows it to a virtual one
AT = "/9p"  # not /mnt or /tmp: the checkout may be below these, and then is there, too
LARGEST = 1024 * 1024  # what Linux offers at most over TCP
SMALLEST = 4096
FILES, SWARM = "files", "swarm"


@dataclass(frozen=True, slots=True)
class Mount:
    """`msize` None is what Linux offers by itself; `aname` None is that of the tree; `more` is any other option."""

    dialect: str
    cache: str
    msize: int | None = None
    tree: str = FILES
    aname: str | None = None
    more: str = ""

    @property
    def name(self) -> str:
        size = f",msize={self.msize}" if self.msize else ""
        further = "".join(f",{word}" for word in (self.more, self.tree) if word and word != FILES)
        return f"{self.dialect},cache={self.cache}{size}{further}"

    def arguments(self, port: int) -> list[str]:
        """Those of mount(8)."""
        options = f"trans=tcp,port={port},version={self.dialect.replace('P', 'p')},cache={self.cache}"
        aname = self.tree if self.aname is None else self.aname
        if aname:
            options += f",aname={aname}"
        if self.msize:
            options += f",msize={self.msize}"
        if self.more:
            options += f",{self.more}"
        return ["-t", "9p", "-o", options, HOST, AT]


MOUNTS = [
    Mount(PLAIN, "none"),
    Mount(PLAIN, "loose", LARGEST),
    Mount(PLAIN, "none", SMALLEST),
    Mount(PLAIN, "none", tree=SWARM),
    Mount(UNIX, "none"),
    Mount(UNIX, "loose", LARGEST),
    Mount(LINUX, "none", aname=""),
    Mount(LINUX, "loose", LARGEST),
    Mount(LINUX, "none", SMALLEST, more="posixacl"),
    Mount(LINUX, "none", tree=SWARM),
]
