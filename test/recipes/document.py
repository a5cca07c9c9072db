"""The commands of docs/recipes.md, so that what runs is what stands there.

A command is an indented line with more than a comment; a backslash at its end continues it. What programs print is
indented too: it begins with one of OUTPUT.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = ROOT / "docs" / "recipes.md"
COMMANDS = ["ansible", "ansible-playbook", "buildah", "chmod", "clush", "cloud-init", "cp", "pdsh", "podman", "printf"]
COMMANDS += ["python3", "sbatch", "scontrol", "scp", "sinfo", "srun", "systemctl", "xget"]
"""The first words of commands."""


def commands(heading: str) -> list[str]:
    """All commands of a section, in their order."""
    return list(_commands(_section(heading)))


def settings(heading: str) -> str:
    """The lines of a section that are a name, =, and a value without blanks."""
    return "".join(re.findall(r"^    (\w+=\S+\n)", _section(heading), re.MULTILINE))


def _section(heading: str) -> str:
    text = DOCUMENT.read_text()
    section = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"{DOCUMENT.name} has no section {heading}"
    return section.group(1)


def _commands(section: str) -> Iterator[str]:
    for line in section.replace("\\\n", "").splitlines():
        if line.startswith("    ") and line.split()[0] in COMMANDS:
            yield " ".join(line.partition("  # ")[0].split())
