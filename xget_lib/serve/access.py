"""Who may attach to what at a server with a secret: who proves that he has it, and everybody to what is open."""

from __future__ import annotations

from xget_lib.config import Config, Network
from xget_lib.dataclass import dataclass, field
from xget_lib.ninep.auth import Credentials
from xget_lib.swarm.addresses import is_allowed


@dataclass(frozen=True)
class Access:
    """The rules of one server process. The `credentials` may get other keys; everything else stays."""

    credentials: Credentials = field(default_factory=Credentials)
    open_trees: frozenset[str] = frozenset()
    """By aname: served without a proof,"""
    open_to: tuple[Network, ...] = ()
    """to these networks; empty: to all."""
    allow: tuple[Network, ...] = ()
    """Who may connect at all; empty: all."""

    @classmethod
    def of(cls, config: Config, credentials: Credentials) -> Access:
        return cls(credentials, frozenset(config.open), config.open_to, config.allow)

    def is_open(self, address: str, tree: str) -> bool:
        """Whether a client at this address gets this tree without a proof."""
        return tree in self.open_trees and is_allowed(address, self.open_to)
