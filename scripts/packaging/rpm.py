"""The package for RHEL 9 and its relatives, made by rpmbuild from the same files as the .deb."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from scripts.packaging.deb import DESCRIPTION, SUMMARY
from scripts.packaging.environment import architecture, needed_glibc
from scripts.packaging.layout import LIBRARY, Environment, configuration_files, make_system
from scripts.packaging.maintenance import rpm_scripts
from scripts.packaging.programs import require, run
from scripts.packaging.release import Release

_OWNED = ("/etc/xget", "/usr/lib/xget", "/usr/share/doc/xget")
"""Directories that belong to this package alone: removed with it, if they are empty."""

_SPEC = """\
# What rpmbuild would do to the files, such as compiling them, is done.
%global __os_install_post %{{nil}}
%global debug_package %{{nil}}
%global _build_id_links none
%global _buildhost localhost
%global use_source_date_epoch_as_buildtime 1
%global clamp_mtime_to_source_date_epoch 1
%global _binary_payload w{level}.xzdio

Name: xget
Version: {version}
Release: {revision}
Summary: {summary}
License: BSD-3-Clause
AutoReqProv: no
Requires: python(abi) = {python}
Requires: libc.so.6(GLIBC_{glibc})(64bit)
Requires(post): /usr/sbin/useradd /usr/bin/getent

%description
{description}

%install
cp -a {system}/. %{{buildroot}}/

{scripts}
%files
%defattr(-,root,root,-)
{files}

%changelog
* {date} The XGet authors <root@localhost> - {version}-{revision}
- See /usr/share/doc/xget/CHANGELOG.md
"""


def build_rpm(release: Release, output: Path, environment: Environment | None = None, level: int = 6) -> Path:
    """Makes the package in the directory `output`, and returns its path. `level`: of xz. Raises Refused."""
    require("rpmbuild", "rpm")
    with tempfile.TemporaryDirectory(prefix="xget-rpm-") as work:
        system = Path(work) / "system"
        system.mkdir()
        make_system(release, system, environment)
        spec = Path(work) / "xget.spec"
        spec.write_text(_spec(release, system, level), encoding="utf-8")
        command = ["rpmbuild", "-bb", "--define", f"_topdir {work}/rpmbuild", "--define", f"_rpmdir {work}/made"]
        run([*command, "--target", architecture(), spec], environment={"SOURCE_DATE_EPOCH": str(release.epoch)})
        (made,) = Path(work).glob("made/*/*.rpm")
        package = output / made.name
        package.write_bytes(made.read_bytes())
        return package


def _spec(release: Release, system: Path, level: int) -> str:
    scripts = [f"%{name}\n{text}" for name, text in rpm_scripts().items()]
    return _SPEC.format(
        version=release.version.replace("-", "~"),
        revision=release.revision,
        level=level,
        summary=SUMMARY[0].upper() + SUMMARY[1:],
        python="{}.{}".format(*sys.version_info[:2]),
        glibc=needed_glibc(system / LIBRARY),
        description=DESCRIPTION,
        system=system,
        scripts="\n".join(scripts),
        files="\n".join(_files(system)),
        date=time.strftime("%a %b %d %Y", time.gmtime(release.epoch)),
    )


def _files(system: Path) -> list[str]:
    """The section %files: each file, and the directories that are no other package's."""
    configuration = configuration_files(system)
    lines = [f"%dir {name}" for name in _OWNED]
    for path in sorted(system.rglob("*")):
        name = f"/{path.relative_to(system)}"
        if path.is_dir() and not path.is_symlink():
            lines += [f'%dir "{name}"'] if name.startswith(tuple(f"{owned}/" for owned in _OWNED)) else []
        elif name in configuration:
            lines.append(f'%config(noreplace) "{name}"')
        else:
            lines.append(f'"{name}"')
    return lines
