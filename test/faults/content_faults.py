"""Files that change where they are served: at the master, and at a child."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from test.faults.fault import MASTER, Act, Excuse, Fault, Strike

if TYPE_CHECKING:
    from test.faults.run import Run

_GARBAGE = b"not what was served "


def _change(*kinds: str) -> Act:
    def act(run: Run, strike: Strike) -> bool:
        for kind in kinds:
            run.source.change(kind)
            run.wait(strike.seconds / 10)
        return True

    return act


def _hide(run: Run, strike: Strike) -> bool:
    with run.master.restarting:  # one that starts would find nothing, and end
        run.source.hide()
    return True


def _hide_for_a_while(run: Run, strike: Strike) -> bool:
    with run.master.restarting:
        run.source.hide()
        run.wait(strike.seconds)
        run.source.show()
    return True


def _tamper_with_files(run: Run, strike: Strike) -> bool:
    """Somebody on the node writes into the files that are in place there."""
    node = run.node(strike.target)
    hit = False
    for path in sorted(node.dest.rglob("*")) if node.dest.is_dir() else ():
        if path.is_file() and not path.is_symlink() and ".xget" not in path.parts and path.stat().st_size > 3000:
            with open(path, "r+b") as file:
                os.pwrite(file.fileno(), _GARBAGE, 1000)
            node.tampered.add(os.path.relpath(path, node.dest))
            hit = True
    return hit


def _tamper_with_parts(run: Run, strike: Strike) -> bool:
    """Somebody on the node writes into the parts of files that are not in place yet."""
    node = run.node(strike.target)
    hit = False
    for path in sorted((node.dest / ".xget").rglob("*")) if node.dest.is_dir() else ():
        try:
            with open(path, "r+b") as file:
                os.pwrite(file.fileno(), _GARBAGE, 1000)
            hit = True
        except OSError:
            continue
    return hit


_VANISHED = Excuse(
    frozenset((1, 3, 4)),
    "does not exist|not served|No such file|cannot|older state|changed|gone",
    everywhere=True,
)
_CHANGED = Excuse(frozenset((6,)), "another program (changed|replaced) it during the download")

FAULTS = {
    "change": Fault("a file at the master is replaced", _change("replace"), MASTER, ends=True),
    "write": Fault("a file at the master is written to, in place", _change("write"), MASTER, ends=True),
    "changes": Fault(
        "files at the master are added, replaced, removed",
        _change("add", "replace", "remove", "write", "add"),
        MASTER,
        ends=True,
    ),
    "hide directory": Fault("the served directory goes away", _hide, MASTER, excuse=_VANISHED),
    "hide directory for a while": Fault("and comes back", _hide_for_a_while, MASTER, ends=True, excuse=_VANISHED),
    "change at child": Fault("a program writes into what a child serves", _tamper_with_files, "client", ends=True),
    "change parts": Fault(
        "a program writes into parts of files", _tamper_with_parts, "client", ends=True, excuse=_CHANGED
    ),
}
