"""The virtual machine: QEMU, which computes every instruction of it. No KVM: it is there on few build machines."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from test.kernel.packages import Kernel, qemu

_MEMORY = "512M"


class Machine:
    """A run from the start to when it powers itself off. What the kernel says is in the file `console`."""

    def __init__(self, kernel: Kernel, initramfs: Path, console: Path, environment: dict[str, str]) -> None:
        command = [
            qemu(),
            *("-accel", "tcg", "-cpu", "max", "-m", _MEMORY, "-nodefaults", "-display", "none", "-no-reboot"),
            *("-kernel", str(kernel.image), "-initrd", str(initramfs)),
            *("-append", "console=ttyS0 panic=-1 mitigations=off"),
            *("-nic", "user,model=virtio-net-pci"),
            *("-serial", f"file:{console}", "-serial", "stdio"),
        ]
        self._console = console
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env={**os.environ, **environment}
        )

    def says(self, seconds: float) -> Iterator[dict[str, Any]]:
        """What is said in there, until the end. A machine that is not off after so many seconds is killed."""
        deadline = threading.Timer(seconds, self._process.kill)
        deadline.start()
        try:
            assert self._process.stdout
            for line in self._process.stdout:
                yield json.loads(line)
            self._process.wait()
        finally:
            deadline.cancel()
            self._process.kill()
            self._process.wait()

    def last_words(self) -> str:
        return self._console.read_text(errors="replace")[-1500:]
