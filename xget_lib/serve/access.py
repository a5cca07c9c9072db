"""Who may attach to what at a server with a secret: who proves that he has it, and everybody to what is open."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from xget_lib.config import Config, Network
from xget_lib.ninep.auth import Credentials


@dataclass(frozen=True)
class Access:
    """The rules of one server process. The `credentials` may get other keys; everything else stays."""

    credentials: Credentials = field(default_factory=Credentials)
    open_trees: frozenset[str] = frozenset()
    """By aname: served without a proof,"""
    open_to: tuple[Network, ...] = ()
    """to these networks; empty: to all."""

    @classmethod
    def of(cls, config: Config, credentials: Credentials) -> Access:
        return cls(credentials, frozenset(config.open), config.open_to)

    def is_open(self, address: str, tree: str) -> bool:
        """Whether a client at this address gets this tree without a proof."""
        return tree in self.open_trees and (not self.open_to or self._is_near(address))

    def _is_near(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self.open_to)
