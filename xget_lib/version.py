"""The version of this program, and the commit that a package of it was made from.

`scripts/package` writes the commit into the file COMMIT beside this module, in the package only. A checkout does not
have the file: git itself says what is checked out there.
"""

from __future__ import annotations

from pathlib import Path

from xget_lib import __version__

_COMMIT = Path(__file__).with_name("COMMIT")


def full_version() -> str:
    """Such as `2.0.0 (commit 0123456789ab)`; without a commit if none is known."""
    try:
        commit = _COMMIT.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        commit = ""
    return f"{__version__} (commit {commit})" if commit else __version__
