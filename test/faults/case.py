"""One run of the fault bench: what is drawn from a seed. It is plain data, so the same seed is the same run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from test.faults.fault import MASTER, Strike
from test.faults.lies import LIES
from test.faults.table import FAULTS

ENDS, LINGERS, FOLLOWS = "ends", "lingers", "follows"


@dataclass(frozen=True)
class Client:
    """A client of a case."""

    name: str
    begins: float
    """Seconds after the first one."""
    timeout: int
    """Its --timeout."""
    then: str
    """What it does when it has everything: ENDS, LINGERS or FOLLOWS."""
    old_copy: bool
    """Whether its destination has an older state before, in part."""


@dataclass(frozen=True)
class Case:
    """A cluster and its faults."""

    seed: int
    megabits: int
    """Rate of each link."""
    clients: tuple[Client, ...]
    lies: tuple[str, ...] = ()
    """A hostile peer for each: names of LIES."""
    strikes: tuple[Strike, ...] = ()

    @property
    def without_faults(self) -> Case:
        return replace(self, lies=(), strikes=())

    def needs(self, client: str) -> set[str]:
        """What the faults need that strike a client."""
        return {FAULTS[each.fault].needs for each in self.strikes if each.target == client} - {""}

    def __str__(self) -> str:
        clients = [
            f"{each.name} {each.then}, --timeout {each.timeout}{', with an old copy' * each.old_copy}"
            for each in self.clients
        ]
        words = [f"{self.megabits} Mbit/s", *clients, *(f"hostile: {lie}" for lie in self.lies)]
        return "; ".join([*words, *map(str, self.strikes)])


def draw(seed: int) -> Case:
    """The case of a seed."""
    dice = Random(seed)
    clients = tuple(
        Client(
            f"node{number}",
            begins=dice.choice((0.0, 0.0, 0.3, 1.5)) if number else 0.0,
            timeout=dice.choice((5, 5, 20)),
            then=dice.choices((ENDS, LINGERS, FOLLOWS), (3, 4, 3))[0],
            old_copy=dice.random() < 0.2,
        )
        for number in range(dice.randint(2, 5))
    )
    most = len(clients) // 2  # at most a third of all peers
    lies = tuple(dice.sample(list(LIES), dice.randint(1, most))) if dice.random() < 0.5 else ()
    strikes = tuple(sorted(_strikes(dice, clients, dice.randint(0 if lies else 1, 3)), key=lambda each: each.at))
    return Case(seed, dice.choice((20, 30, 50)), clients, lies, strikes)


def _strikes(dice: Random, clients: tuple[Client, ...], count: int) -> list[Strike]:
    names = dice.choices(list(FAULTS), [each.weight for each in FAULTS.values()], k=count)
    found: list[Strike] = []
    for name in dict.fromkeys(names):
        kind = FAULTS[name].target
        targets = [MASTER] * (kind != "client") + [each.name for each in clients] * (kind != MASTER)
        seconds = dice.choice((0.7, 2.0, 7.0, 10.0))
        at = 0.0 if FAULTS[name].from_start else round(dice.uniform(0, 1.1), 2)
        found.append(Strike(name, dice.choice(targets), at, seconds))
    return found
