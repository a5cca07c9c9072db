"""A Debian kernel and busybox, unpacked into a cache: nothing is installed, and nobody has to be root.

    python3 -m test.kernel.packages        fetches what is lacking, so that the tests find it

A kernel that is installed serves as well, if it has the modules for 9P; that of Debian's `cloud` variant has not.
Nothing but the standard library is needed here: a build machine fetches before the environment of the tests is made.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

KERNEL = "linux-image-amd64"
BUSYBOX = "busybox-static"

_NEEDED = re.compile(
    r"""\./ (?: boot/vmlinuz-[^/]+
              | bin/busybox
              | (?:usr/)?lib/modules/[^/]+/kernel/
                (?: fs/(?:9p|netfs|fscache) | net/(?:9p|tls|core/failover) | crypto | drivers/virtio
                  | drivers/net/(?:virtio_net|net_failover)
                ) \b.*
            )""",
    re.VERBOSE,
)
"""What is unpacked of the packages, which have hundreds of megabytes."""
_MODULES = ("fs/9p/9p", "net/tls/tls")
"""What a kernel must have."""

_PATIENCE = 300.0  # seconds for a download
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xget-tests-2"
"""It has another name when other files are needed. Tests change the variable later."""


class Missing(Exception):
    """What is neither here nor can be fetched, and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """`modules` is the directory of its modules, as in /lib/modules."""

    image: Path
    modules: Path


def kernel() -> Kernel:
    """The newest with 9P and TLS that is installed, or else the cached one, fetched if it must be. Raises Missing."""
    for root in (Path("/"), _unpacked(KERNEL)):
        if found := _kernels_below(root):
            return found[-1]
    raise Missing(f"{KERNEL} has no kernel with the modules 9p and tls in it")


def busybox() -> Path:
    """One that needs no libraries. Raises Missing."""
    return _unpacked(BUSYBOX) / "bin/busybox"


def qemu() -> str:
    """The program that is the virtual machine. Raises Missing."""
    found = shutil.which("qemu-system-x86_64")
    if found is None:
        raise Missing("qemu-system-x86_64 is not installed (apt install qemu-system-x86)")
    return found


def _kernels_below(root: Path) -> list[Kernel]:
    """Those in a directory that is laid out like a root directory, oldest first."""
    found = []
    for image in root.glob("boot/vmlinuz-*"):
        version = image.name.removeprefix("vmlinuz-")
        for modules in (root / "lib/modules" / version, root / "usr/lib/modules" / version):
            if os.access(image, os.R_OK) and all(any(modules.glob(f"kernel/{name}.ko*")) for name in _MODULES):
                found.append(Kernel(image, modules))
                break
    return sorted(found, key=lambda kernel: [int(number) for number in re.findall(r"\d+", kernel.image.name)])


def _unpacked(package: str) -> Path:
    """Where the needed files of a package are. Raises Missing."""
    place = _CACHE / package
    if not place.is_dir():
        try:
            _fetch(package, place)
        except (OSError, subprocess.SubprocessError) as error:
            if not place.is_dir():  # another run may have been faster
                raise Missing(f"{package} cannot be fetched: {_last_line(error)} (apt-get update?)") from None
    return place


def _fetch(package: str, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as work:
        _unpack(_download(_real_name(package), Path(work)), Path(work) / "files")
        (Path(work) / "files").rename(place)


def _real_name(package: str) -> str:
    """The package that has the files: what is called linux-image-amd64 only depends on it."""
    if package != KERNEL:
        return package
    depends = _apt("apt-cache", "depends", "--important", package)
    name = re.search(r"Depends: (linux-image-\d\S+)", depends)
    return name[1] if name else package


def _download(package: str, work: Path) -> Path:
    _apt("apt-get", "download", package, cwd=work)
    (archive,) = work.glob("*.deb")
    return archive


def _apt(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=_PATIENCE)
    return done.stdout


def _unpack(archive: Path, place: Path) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as unpacking:
        with tarfile.open(fileobj=unpacking.stdout, mode="r|") as members:
            for member in members:
                if member.isfile() and _NEEDED.fullmatch(member.name):
                    members.extract(member, place)
        unpacking.communicate()
    if unpacking.returncode:
        raise OSError(f"dpkg-deb cannot unpack {archive.name}")


def _last_line(error: Exception) -> str:
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else ""
    return (said.strip().splitlines() or [str(error)])[-1]


if __name__ == "__main__":
    try:
        print(f"kernel: {kernel().image}, busybox: {busybox()}, machine: {qemu()}")
    except Missing as missing:
        sys.exit(str(missing))
