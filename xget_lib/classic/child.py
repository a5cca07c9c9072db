"""The namespace `classic` of a child: C clients that the master sent here take their files from it.

They tell the master, not the child, what they have and what they serve.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from xget_lib.classic import backend, tree
from xget_lib.classic.files import ME, Regular
from xget_lib.net.server import Client
from xget_lib.ninep.file import File
from xget_lib.serve.synthetic import Answered


class ChildNamespace(backend.Namespace):
    """The namespace in a child."""

    def connect(self, client: Client) -> Callable[[], File]:
        """As `net.server.Namespace`."""
        return partial(tree.tree, ChildBackend(self, client))


class ChildBackend(backend.Backend):
    """`ClassicBackend` of one connection."""

    tracker = None

    def redirect(self, file: Regular, answer: Answered) -> None:
        answer.put(ME)
