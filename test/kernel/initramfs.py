"""The root file system of the virtual machine, as the archive that a kernel unpacks into memory when it starts.

It holds busybox, the kernel's modules, and of this machine's own programs those that are asked for, with the libraries
that they need, at the same places as here. Python comes with just the modules that a script imports.
"""

from __future__ import annotations

import json
import lzma
import os
import re
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from test.kernel.mounts import AT
from test.kernel.packages import Kernel

ROOT = Path(__file__).parent.parent.parent
_PATIENCE = 60.0
_CONSOLE = 5, 1  # what the kernel opens as the first program's terminal


class Archive:
    """A cpio archive in the format `newc`: Documentation/driver-api/early-userspace/buffer-format of the kernel."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._names: set[str] = set()

    def add(self, name: str, content: bytes, mode: int = 0o644, mtime: int = 0) -> None:
        """A regular file; its directories come with it. What is there already stays."""
        if name not in self._names:
            self._directories(name)
            self._entry(name, stat.S_IFREG | mode, content, mtime)

    def add_file(self, path: str | Path, name: str | None = None) -> None:
        """A file of this machine, whatever links lead to it, at the same place or at another."""
        status = os.stat(path)
        self.add(name or str(path), Path(path).read_bytes(), stat.S_IMODE(status.st_mode) | 0o444, int(status.st_mtime))

    def add_directory(self, name: str) -> None:
        if name not in self._names:
            self._directories(name)
            self._entry(name, stat.S_IFDIR | 0o755)

    def add_device(self, name: str, major: int, minor: int) -> None:
        self._directories(name)
        self._entry(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def add_program(self, path: str) -> None:
        """A program of this machine with its libraries."""
        self.add_file(path)
        for library in libraries(path):
            self.add_file(library)

    def finished(self) -> bytes:
        self._entry("TRAILER!!!", 0)
        return b"".join(self._parts)

    def _directories(self, name: str) -> None:
        for parent in list(Path(name).parents)[-2::-1]:
            self.add_directory(str(parent))

    def _entry(
        self, name: str, mode: int, content: bytes = b"", mtime: int = 0, device: tuple[int, int] = (0, 0)
    ) -> None:
        self._names.add(name)
        encoded = os.fsencode(name.lstrip("/")) + b"\0"
        inode, owner, links = len(self._names), 0, 1
        fields = (inode, mode, owner, owner, links, mtime, len(content), 0, 0, *device, len(encoded), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        self._parts += [_padded(header + encoded), _padded(content)]


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def libraries(program: str) -> list[str]:
    """The shared libraries of a program or library, and what loads them."""
    found = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=_PATIENCE)
    return re.findall(r"(/\S+) \(0x", found.stdout)


def add_python(archive: Archive, module: str) -> str:
    """A module of this checkout with all that it imports. Returns what runs it, for a shell."""
    interpreter = os.path.realpath(sys.executable)
    archive.add_program(interpreter)
    archive.add_directory(_shared_objects())
    for path in _loaded_by(interpreter, module):
        archive.add_file(path)
        if path.endswith(".so"):
            for library in libraries(path):
                archive.add_file(library)
    return f"cd {ROOT} && {interpreter} {' '.join(_ISOLATED)} -m {module}"


_ISOLATED = ("-E", "-s", "-S")


def _shared_objects() -> str:
    """The directory without which Python thinks that it is not installed."""
    return sysconfig.get_path("platstdlib") + "/lib-dynload"


def _loaded_by(interpreter: str, module: str) -> Iterator[str]:
    """The files of all modules that a module imports, and its own; compiled ones too: compiling is slow in there."""
    program = (
        "import importlib, json, runpy, sys; importlib.import_module(sys.argv[1]);"
        "print(json.dumps([[module.__file__, getattr(module, '__cached__', None)]"
        " for module in sys.modules.values() if getattr(module, '__file__', None)]))"
    )
    command = [interpreter, *_ISOLATED, "-c", program, module]
    said = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=_PATIENCE).stdout
    for source, compiled in json.loads(said):
        yield source
        if compiled and os.path.exists(compiled):
            yield compiled


def add_modules(archive: Archive, kernel: Kernel, wanted: Iterable[str]) -> list[str]:
    """Modules of a kernel with all that they depend on. Their paths, in the order in which they can be loaded."""
    files = {path.name.split(".")[0]: path for path in kernel.modules.glob("kernel/**/*.ko*")}
    order: list[str] = []

    def add(module: str) -> None:
        path = f"/modules/{module}.ko"
        if path in order or module not in files:  # what is not there is built in
            return
        content = files[module].read_bytes()
        if files[module].suffix == ".xz":
            content = lzma.decompress(content)
        needs = re.search(rb"\0depends=([^\0]*)\0", content)
        for needed in needs[1].decode().split(",") if needs and needs[1] else []:
            add(needed)
        archive.add(path, content)
        order.append(path)

    for module in wanted:
        add(module)
    return order


def build(
    kernel: Kernel, busybox: Path, module: str, facts: bytes, programs: Iterable[str], modules: Iterable[str] = ()
) -> bytes:
    """The archive for a machine that loads what 9P over TCP needs, and these further modules of the kernel, brings up
    the network, and runs a module of this checkout, its output on the second serial port; what it is to know is in
    `/facts`. Then the machine goes off."""
    archive = Archive()
    for directory in ("/proc", "/sys", "/dev", AT):
        archive.add_directory(directory)
    archive.add_device("/dev/console", *_CONSOLE)
    archive.add_file(busybox, "/bin/busybox")
    for program in programs:
        archive.add_program(program)
    order = add_modules(archive, kernel, ("virtio_pci", "virtio_net", "9pnet_fd", "9p", *modules))
    archive.add("/facts", facts)
    archive.add("/init", _init(order, add_python(archive, module)).encode(), mode=0o755)
    return archive.finished()


def _init(modules: Iterable[str], command: str) -> str:
    """What the kernel starts. 10.0.2.15 is what QEMU expects behind its network."""
    return f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in {" ".join(modules)}; do insmod $module; done
ifconfig lo up
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
stty -F /dev/ttyS1 raw
( {command} ) >/dev/ttyS1
poweroff -f
"""
