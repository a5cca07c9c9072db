"""What runs in the virtual machine: mounts the master in one way after the other, and looks at everything.

    python3 -m test.kernel.inside        reads /facts, says what it finds on its standard output

It says a line of JSON for each check that begins and for each that has ended; `failed` is null or says why.
"""

from __future__ import annotations

import json
import subprocess
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from test.kernel import directories, reading, refusals, swarm_files
from test.kernel.check import CHECKS, Mounted
from test.kernel.mounts import AT, MOUNTS, Mount

__all__ = ["CASES", "directories", "reading", "refusals", "swarm_files"]

CASES = {mount: [check for check in CHECKS if check.applies(mount)] for mount in MOUNTS}
_MESSAGE_LIMIT = 3000


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def command(*words: str) -> str:
    """What a program says. Raises AssertionError where it fails."""
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: status {done.returncode}: {done.stderr}"
    return done.stdout


def checked(mount: Mount, name: str, check: Callable[[], object]) -> bool:
    """Does a check, and says how it went. Returns whether it went well."""
    say(mount=mount.name, check=name, began=True)
    begun = time.monotonic()
    failed = said = None
    try:
        said = check()
    except Exception:
        failed = traceback.format_exc()[-_MESSAGE_LIMIT:]
    say(mount=mount.name, check=name, failed=failed, said=said, seconds=round(time.monotonic() - begun, 2))
    return failed is None


def look(mount: Mount, facts: dict[str, Any]) -> None:
    """All checks of one mount."""
    if checked(mount, "mount", lambda: command("mount", *mount.arguments(facts["port"]))):
        mounted = Mounted(mount, AT, facts)
        for check in CASES[mount]:
            checked(mount, check.name, partial(check.look, mounted))
        checked(mount, "unmount", lambda: command("umount", AT))


if __name__ == "__main__":
    facts = json.loads(Path("/facts").read_text())
    for mount in CASES:
        look(mount, facts)
