"""The package for Debian and its relatives: deb(5), deb-control(5), and the Debian policy manual."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from scripts.packaging.environment import PYTHON, architecture, needed_glibc
from scripts.packaging.files import normalize
from scripts.packaging.layout import LIBRARY, Environment, configuration_files, make_system
from scripts.packaging.maintenance import debian_scripts
from scripts.packaging.programs import require, run
from scripts.packaging.release import Release

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64el", "armv7l": "armhf", "i686": "i386"}

SUMMARY = "copies a directory from one node of a cluster to thousands"
DESCRIPTION = """\
A master serves a directory. Each node of a cluster downloads it from the
master and from all nodes that already have a part, so that the copy takes
little more time than one link needs to carry the directory once. Every
byte is verified. There is no database and no tracker.

The package contains all Python packages that XGet needs."""

_CONTROL = """\
Package: xget
Version: {version}
Architecture: {architecture}
Maintainer: The XGet authors <root@localhost>
Section: net
Priority: optional
Installed-Size: {size}
Depends: {python}, libc6 (>= {glibc}), passwd
Recommends: systemd | systemd-standalone-sysusers, procps
Suggests: munge, logrotate
Description: {summary}
{description}
"""


def build_deb(release: Release, output: Path, environment: Environment | None = None, level: int = 6) -> Path:
    """Makes the package in the directory `output`, and returns its path. `level`: of xz. Raises Refused."""
    require("dpkg-deb", "dpkg")
    with tempfile.TemporaryDirectory(prefix="xget-deb-") as work:
        system = Path(work) / "system"
        system.mkdir()
        make_system(release, system, environment)
        _add_control(release, system)
        version = f"{release.version}-{release.revision}"
        package = output / f"xget_{version}_{_debian_architecture()}.deb"
        command = ["dpkg-deb", "--root-owner-group", "-Zxz", f"-z{level}", "--build", str(system), str(package)]
        run(command, environment={"SOURCE_DATE_EPOCH": str(release.epoch)})
        return package


def _add_control(release: Release, system: Path) -> None:
    files = [path for path in sorted(system.rglob("*")) if path.is_file() and not path.is_symlink()]
    sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(system)}\n" for path in files]
    size = sum(path.stat().st_size for path in files)
    place = system / "DEBIAN"
    place.mkdir()
    (place / "control").write_text(
        _CONTROL.format(
            version=f"{release.version}-{release.revision}",
            architecture=_debian_architecture(),
            size=size >> 10,
            python=PYTHON,
            glibc=needed_glibc(system / LIBRARY),
            summary=SUMMARY,
            description="\n".join(f" {line or '.'}" for line in DESCRIPTION.splitlines()),
        )
    )
    (place / "conffiles").write_text("".join(f"{name}\n" for name in configuration_files(system)))
    (place / "md5sums").write_text("".join(sums))
    for name, text in debian_scripts().items():
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    normalize(place, release.epoch)


def _debian_architecture() -> str:
    return _ARCHITECTURES.get(architecture(), architecture())
