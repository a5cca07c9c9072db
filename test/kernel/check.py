"""Checks: what is looked at in a mount. One raises what it finds wrong, and may return what is worth reading."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from test.kernel.facts import DIALECTS
from test.kernel.mounts import FILES, SMALLEST, Mount


@dataclass(frozen=True, slots=True)
class Mounted:
    mount: Mount
    at: str
    facts: dict[str, Any]
    """What `test.kernel.served` says of the served directory."""

    def path(self, *names: str) -> str:
        return os.path.join(self.at, *names)


Look = Callable[[Mounted], object]


@dataclass(frozen=True, slots=True)
class Check:
    look: Look
    dialects: tuple[str, ...]
    tree: str
    small: bool
    fresh: bool

    @property
    def name(self) -> str:
        return self.look.__name__

    def applies(self, mount: Mount) -> bool:
        return (
            mount.tree == self.tree
            and mount.dialect in self.dialects
            and (self.small or mount.msize != SMALLEST)
            and (mount.cache == "none" or not self.fresh)
        )


CHECKS: list[Check] = []


def check(*dialects: str, tree: str = FILES, small: bool = False, fresh: bool = False) -> Callable[[Look], Look]:
    """Has a function be one of CHECKS: of a tree, in some dialects (otherwise all), with the smallest messages too, or
    only where nothing is cached."""

    def add(look: Look) -> Look:
        CHECKS.append(Check(look, dialects or DIALECTS, tree, small, fresh))
        return look

    return add


def content(path: str) -> str:
    with open(path) as file:
        return file.read()


def refuses(number: int, attempt: Callable[[], object]) -> str:
    """Empty where an attempt ends in this error, or else how it ended."""
    try:
        done = attempt()
    except OSError as error:
        return "" if error.errno == number else errno.errorcode.get(error.errno or 0, str(error))
    if isinstance(done, int):
        os.close(done)
    return "was done"
