"""One run of the campaign: what is drawn from a seed. It is plain data, so the same seed is the same run."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from test.campaigns.oddities.destinations import DESTINATIONS, FOLDS_CASE, NO_LINKS
from test.campaigns.oddities.present import PRESENT
from test.campaigns.oddities.sources import SOURCES, UNREADABLE

USERS = {
    "root": (),
    "nobody": ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    "root without capabilities": ("setpriv", "--bounding-set=-all", "--inh-caps=-all"),
}
"""The words before a command that make it run as this user."""

INTERRUPTIONS = ("none", "SIGKILL", "SIGINT", "SIGTERM", "killed whole", "master restarted", "master killed")
"""What happens to the first client. `killed whole`: both halves of the client get SIGKILL at once."""


@dataclass(frozen=True)
class Case:
    """A combination of oddities."""

    seed: int
    source_on: str
    """The kind of file system of the served directory."""
    source: tuple[str, ...]
    """What is served: names of SOURCES."""
    part: bool
    """Whether only some of the names in the served directory are asked for."""
    dest: str
    """The kind of file system of the destination, of DESTINATIONS."""
    below: int
    """How many file systems or subvolumes are mounted below the destination."""
    present: tuple[str, ...]
    """What the destination has before: names of PRESENT."""
    options: tuple[str, ...]
    """Of the client."""
    one_file_system: bool
    user: str
    dry_run: bool
    interruption: str
    changes: bool
    """Whether the source changes between two runs."""

    @property
    def statuses(self) -> set[int]:
        """The exit statuses that there can be a reason for."""
        found = {0}
        if UNREADABLE.intersection(self.source):
            found.add(1)
        if self.part and (self.changes or UNREADABLE.intersection(self.source)):
            found.add(4)
        if "--delete" in self.options:
            found.add(8)
        refusing = {"immutable", "in the way", "links", "mount in the way"}
        folded = self.dest in FOLDS_CASE and {"case twins", "names"}.intersection(self.source)
        if refusing.intersection(self.present) or folded or (self.user != "root" and "of root" in self.present):
            found.add(6)
        if self.dest in FOLDS_CASE and "names" in self.source:
            found.add(6)  # it takes fewer names
        if "ext4" in self.dest and "symbolic links" in self.source:
            found.add(6)  # or shorter ones, where blocks are small
        if self.changes and ("--delete" not in self.options or self.below):
            found.add(6)  # then directories are not replaced
        return found

    def __str__(self) -> str:
        words = [f"{self.user}: {', '.join(self.source)} on {self.source_on}", f"-> {self.dest}"]
        words += [f"with {self.below} below"] * bool(self.below)
        words += [f"having {', '.join(self.present)}"] * bool(self.present)
        words += [" ".join(self.options)] * bool(self.options) + ["in part"] * self.part + ["-x"] * self.one_file_system
        words += ["after a dry run"] * self.dry_run + [self.interruption] * (self.interruption != "none")
        return "; ".join([*words, *["changes"] * self.changes])


def draw(seed: int) -> Case:
    """The case of a seed."""
    dice = random.Random(seed)
    user = dice.choices(list(USERS), (6, 2, 2))[0]
    dest = dice.choice(list(DESTINATIONS))
    options = [option for option, chance in _CHANCES.items() if dice.random() < chance]
    if "--delete" in options:
        options += dice.choice(([], [], ["--max-delete", "100%"], ["--max-delete", "0"], ["--max-delete", "3"]))
    present = [each for each in _some(dice, PRESENT, 4) if not (dest in NO_LINKS and each in ("links", "immutable"))]
    return Case(
        seed,
        source_on=dice.choice(("plain", "ext4", "tmpfs", "btrfs")),
        source=("plain", *_some(dice, SOURCES, 6)),
        part=dice.random() < 0.2,
        dest=dest,
        below=dice.choice((0, 0, 1, 2)),
        present=tuple(present) if dice.random() < 0.7 else (),
        options=tuple(options),
        one_file_system=dice.random() < 0.15,
        user=user,
        dry_run=dice.random() < 0.5,
        interruption=dice.choice(INTERRUPTIONS) if dice.random() < 0.6 else "none",
        changes=dice.random() < 0.4,
    )


_CHANCES = {"--delete": 0.5, "--checksum": 0.2, "-s": 0.1, "-o": 0.1}


def _some(dice: random.Random, names: Iterable[str], most: int) -> list[str]:
    known = [name for name in names if name != "plain"]
    return sorted(dice.sample(known, dice.randint(0, most)))
