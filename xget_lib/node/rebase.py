"""A child server that does not follow, when its master has a new generation: it serves what is the same in that.

Its files stay as they are, and most of them are in the new generation too. A node that downloads the new generation
gets these from here as from any peer. The child pays for that with the new manifest and a look at its files.
"""

from __future__ import annotations

import random

import gevent

from xget_lib.errors import XGetError
from xget_lib.node.node import Node
from xget_lib.report.log import LOGGER

_APART = 2.0
"""Seconds within which the children of one master ask it for the manifest; nodes that download ask at once."""


def rebase(node: Node) -> None:
    """Serve what is the same in each new generation, for ever."""
    while True:
        node.newer.wait()
        gevent.sleep(random.uniform(0, _APART))
        try:
            node.carry_over()
        except XGetError as error:
            LOGGER.info("cannot serve the new generation: %s", error)
