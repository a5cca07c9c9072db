"""Where each file of XGet belongs in a system, for .deb and .rpm alike."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from scripts.packaging.environment import PYTHON, add_xget, make_environment
from scripts.packaging.files import compress, copy, normalize, source_files
from scripts.packaging.manual import write_completions, write_pages
from scripts.packaging.release import Release

LIBRARY = "usr/lib/xget"
DOCUMENTS = "usr/share/doc/xget"
EXAMPLES = f"{DOCUMENTS}/examples"

PLACES = {
    "conf/systemd/": "usr/lib/systemd/system/",
    "conf/sysusers.d/": "usr/lib/sysusers.d/",
    "conf/tmpfiles.d/": "usr/lib/tmpfiles.d/",
    "conf/xget.toml": "etc/xget/xget.toml",
    "conf/logrotate": "etc/logrotate.d/xget",
    "conf/": f"{EXAMPLES}/",
    "scripts/init.d/": f"{EXAMPLES}/init.d/",
    "scripts/xget-cron": "usr/bin/xget-cron",
    "docs/": f"{DOCUMENTS}/",
    "README.md": f"{DOCUMENTS}/README.md",
    "CHANGELOG.md": f"{DOCUMENTS}/CHANGELOG.md",
    "LICENSE": f"{DOCUMENTS}/copyright",
}
"""From the sources to the system: the first line that fits counts. A directory ends with a slash."""

SUBSTITUTED = {
    "/opt/xget/scripts/xget": "/usr/bin/xget",
    "/opt/xget/docs": f"/{DOCUMENTS}",
    "/opt/xget/conf": f"/{EXAMPLES}",
}
"""In what is copied from conf/ and scripts/: places of an unpacked XGet, and of an installed one."""

_COPYING = re.compile(r"^#\s+cp conf/.*\n", re.MULTILINE)
"""Lines of comments that say how to copy what a package has installed."""

Environment = Callable[[Path], None]
"""Makes the directory of Python packages."""


def place_of(name: str) -> str:
    """Where a file of the sources belongs, relative to the root directory of the system."""
    for source, target in PLACES.items():
        if name == source or (source.endswith("/") and name.startswith(source)):
            return target + name.removeprefix(source) if source.endswith("/") else target
    raise KeyError(name)


def configuration_files(system: Path) -> list[str]:
    """The files in /etc, as absolute paths: what an administrator changes in them is kept."""
    return [f"/{path.relative_to(system)}" for path in sorted((system / "etc").rglob("*")) if path.is_file()]


def make_system(release: Release, system: Path, environment: Environment | None = None) -> None:
    """Fills an empty directory with all files of the package, as they will be in `/`."""
    for relative in source_files(release.root, [name.rstrip("/") for name in PLACES]):
        _put(release.root / relative, system / place_of(str(relative)), _is_substituted(relative))
    library = system / LIBRARY
    library.parent.mkdir(parents=True, exist_ok=True)
    (environment or (lambda place: make_environment(release, place)))(library)
    add_xget(release, library, f"/usr/bin/{PYTHON} -IS")
    (system / "usr/bin").mkdir(exist_ok=True)
    (system / "usr/bin/xget").symlink_to("../lib/xget/xget")
    write_pages(release, system / "usr/share/man")
    write_completions(release, system / "usr/share")
    _compress((system / "usr/share/man").rglob("*.[1-9]"))
    normalize(system, release.epoch)


def _put(source: Path, target: Path, substituted: bool) -> None:
    if target.exists():  # two lines of PLACES name it
        return
    if not substituted:
        copy(source, target)
        return
    text = _COPYING.sub("", source.read_text(encoding="utf-8"))
    for old, new in SUBSTITUTED.items():
        text = text.replace(old, new)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    shutil.copymode(source, target)


def _is_substituted(relative: Path) -> bool:
    return relative.parts[0] in ("conf", "scripts") and relative.suffix != ".json"


def _compress(paths: Iterable[Path]) -> None:
    for path in paths:
        compress(path)
