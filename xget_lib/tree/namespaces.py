"""Which tree an attach gets: the table of anames."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping

from xget_lib.errors import NinepError
from xget_lib.ninep.session import File

Attach = Callable[[str, str, str], File]


def attach(trees: Mapping[str, Callable[[], File]]) -> Attach:
    """The function that a session calls for Tattach: (dialect, uname, aname) -> root of the tree of that name.

    Raises NinepError with a list of the trees for another name.
    """

    def choose(dialect: str, uname: str, aname: str) -> File:
        if aname not in trees:
            raise NinepError(errno.ENOENT, f"no tree is called {aname!r}; there are: {', '.join(sorted(trees))}")
        return trees[aname]()

    return choose
