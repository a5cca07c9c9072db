"""Which tree an attach gets: by its aname, or by its dialect where it names none.

C clients attach to "" in 9P2000.u, and so get `classic`; Linux's mount in 9P2000.L, and gets `files`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping

from xget_lib.errors import NinepError
from xget_lib.ninep.dialect import NINEP2000_L
from xget_lib.ninep.file import File

CLASSIC, FILES, SWARM = "classic", "files", "swarm"
Attach = Callable[[str, str, str], File]


def attach(trees: Mapping[str, Callable[[], File]]) -> Attach:
    """The function that a session calls for Tattach: (dialect, uname, aname) -> root of the tree of that name.

    Raises NinepError with a list of the trees for another name.
    """

    def choose(dialect: str, uname: str, aname: str) -> File:
        if not aname:
            aname = CLASSIC if dialect != NINEP2000_L and CLASSIC in trees else FILES
        if aname not in trees:
            raise NinepError(errno.ENOENT, f"no tree is called {aname!r}; there are: {', '.join(sorted(trees))}")
        return trees[aname]()

    return choose
