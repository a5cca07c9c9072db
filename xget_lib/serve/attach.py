"""Which namespace a Tattach gets: the one that its aname names, or the one of its dialect if the aname is empty.

C clients attach to "" in 9P2000.u and get `classic`; Linux mounts "" in 9P2000.L and gets `files`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Container, Mapping

from xget_lib.errors import NinepError
from xget_lib.ninep.dialect import NINEP2000_L
from xget_lib.ninep.file import File

CLASSIC, FILES, SWARM = "classic", "files", "swarm"
Attach = Callable[[str, str, str], File]


def attach(roots: Mapping[str, Callable[[], File]]) -> Attach:
    """The function that a session calls for Tattach: (dialect, uname, aname) -> root of the namespace.

    It raises NinepError for a name that is not in `roots`, and says which are.
    """

    def choose(dialect: str, uname: str, aname: str) -> File:
        aname = tree_of(dialect, aname, roots)
        if aname not in roots:
            raise NinepError(errno.ENOENT, f"unknown aname {aname!r} (available: {', '.join(sorted(roots))})")
        return roots[aname]()

    return choose


def tree_of(dialect: str, aname: str, known: Container[str]) -> str:
    """The name of the namespace. `known`: those that this server has."""
    return aname or (CLASSIC if dialect != NINEP2000_L and CLASSIC in known else FILES)
