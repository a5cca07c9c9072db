"""What is in the package for Debian, and what is not: the same files make the .rpm."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.packaging.deb import build_deb
from scripts.packaging.files import source_files
from scripts.packaging.layout import LIBRARY, place_of
from test.packaging.packages import ROOT, Packages


@pytest.fixture(scope="module")
def unpacked(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("unpacked")
    subprocess.run(["dpkg-deb", "--raw-extract", str(packages.deb()), str(place)], check=True, timeout=60)
    return place


def field(package: Path, name: str) -> str:
    command = ["dpkg-deb", "--field", str(package), name]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def files_of(unpacked: Path) -> list[Path]:
    return [path for path in unpacked.rglob("*") if path.is_file() and not path.is_symlink()]


def test_everything_in_conf_and_docs_is_in_the_package(unpacked: Path) -> None:
    for source in source_files(ROOT, ["conf", "docs", "scripts/init.d"]):
        assert (unpacked / place_of(str(source))).is_file(), source
    for place in (
        *("usr/bin/xget", "etc/xget/xget.toml", "usr/share/doc/xget/copyright", "usr/share/doc/xget/CHANGELOG.md"),
        *("usr/share/man/man1/xget.1.gz", "usr/share/man/man5/xget.toml.5.gz"),
        *("usr/share/man/man7/xget-protocol.7.gz", "usr/share/bash-completion/completions/xget"),
        *("usr/lib/sysusers.d/xget.conf", "usr/lib/tmpfiles.d/xget.conf"),
    ):
        assert (unpacked / place).is_file(), place


def test_units_and_scripts_name_the_installed_command(unpacked: Path) -> None:
    texts = [path.read_text() for path in (unpacked / "usr/lib/systemd/system").iterdir()]
    texts.append((unpacked / "usr/share/doc/xget/examples/cron").read_text())
    assert all("/usr/bin/xget" in text for text in texts if "Exec" in text)
    assert [line for text in texts for line in text.splitlines() if re.search("^[^#]*/opt", line)] == []
    assert [line for text in texts for line in text.splitlines() if "cp conf/" in line] == []
    assert "/opt/xget/scripts/xget" in (ROOT / "conf/cron").read_text()


def test_nothing_names_the_machine_that_made_the_package(unpacked: Path) -> None:
    names = {str(ROOT), sys.prefix, str(Path.home() / ".cache"), "xget-deb-"}
    for path in files_of(unpacked):
        content = path.read_bytes()
        assert [name for name in names if name.encode() in content] == [], path
        first_line = content.partition(b"\n")[0]
        if first_line.startswith(b"#!") and os.access(path, os.X_OK):
            assert re.match(rb"#!(/bin/sh|/usr/bin/python3\.\d+ -IS)$", first_line), path


def test_files_are_readable_by_all_and_writable_by_root_only(packages: Packages) -> None:
    listed = subprocess.run(["dpkg-deb", "--contents", str(packages.deb())], check=True, capture_output=True, text=True)
    allowed = re.compile(r"(drwxr-xr-x|-rwxr-xr-x|-rw-r--r--|lrwxrwxrwx) root/root +\d+ \S+ \S+ \./(etc|usr|$)")
    assert [line for line in listed.stdout.splitlines() if not allowed.match(line)] == []


def test_all_modules_are_compiled_for_any_time_of_their_files(unpacked: Path) -> None:
    modules = list((unpacked / LIBRARY).rglob("*.py"))
    assert len(modules) > 300
    for module in modules:
        compiled = Path(importlib.util.cache_from_source(str(module)))
        flags = int.from_bytes(compiled.read_bytes()[4:8], "little")
        assert flags == 1, module  # PEP 552: by hash, which is not checked


def test_tests_sources_of_extensions_and_scripts_of_others_are_left_out(unpacked: Path) -> None:
    library = unpacked / LIBRARY
    for name in ("bin", "include", "test", "gevent/tests", "greenlet/tests"):
        assert not (library / name).exists(), name
    assert [path for path in files_of(library) if path.suffix in (".c", ".h", ".cpp", ".pyx", ".pyi")] == []


def test_sums_and_configuration_files_are_listed(unpacked: Path) -> None:
    lines = (unpacked / "DEBIAN/md5sums").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    found = {
        str(path.relative_to(unpacked)): hashlib.md5(path.read_bytes()).hexdigest()
        for path in files_of(unpacked)
        if path.relative_to(unpacked).parts[0] != "DEBIAN"
    }
    assert listed == found
    conffiles = (unpacked / "DEBIAN/conffiles").read_text().split()
    assert sorted(conffiles) == sorted(f"/{name}" for name in found if name.startswith("etc/"))


def test_the_shipped_configuration_sets_nothing(unpacked: Path) -> None:
    """So any version can read it, also an older one that does not know all options in it."""
    import tomllib

    values = tomllib.loads((unpacked / "etc/xget/xget.toml").read_text())
    assert {name: value for name, value in values.items() if value != {}} == {}


@pytest.mark.parametrize("name", ["postinst", "prerm", "postrm"])
def test_the_scripts_of_the_package_are_right_for_the_shell(unpacked: Path, name: str) -> None:
    subprocess.run(["sh", "-n", unpacked / "DEBIAN" / name], check=True, timeout=60)


def test_the_fields_say_what_it_needs(packages: Packages) -> None:
    package = packages.deb()
    assert field(package, "Version") == f"{packages.release.version}-1"
    depends = field(package, "Depends")
    assert f"python3.{sys.version_info.minor}" in depends
    assert re.search(r"libc6 \(>= 2\.\d+\)", depends)
    assert len(field(package, "Description").splitlines()[0]) <= 80


def test_the_same_sources_make_the_same_package(packages: Packages, tmp_path: Path) -> None:
    old_mask = os.umask(0o077)
    try:
        again = build_deb(packages.release, tmp_path, packages.environment, level=0)
    finally:
        os.umask(old_mask)
    assert again.read_bytes() == packages.deb().read_bytes()
