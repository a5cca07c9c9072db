"""The tools that are compared: for each, what runs on the head, what on a node, and when a node has everything.

A tool is described, not driven: commands for the head, one command for a node. `measure` starts them. Every tool gets
a fresh network and so a fresh port; each is told what an administrator who knows it would tell it for this job.
"""

from __future__ import annotations

import secrets
import shlex
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from .network import HEAD, address, node_name
from .payload import Payload

PORT = 20004
CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Stage:
    """The environment of a tool: directories, addresses, and the payload."""

    work: Path
    payload: Payload
    nodes: int
    rate: int
    """Bits per second of a link; 0 is not limited."""
    processes: int = 0
    """Worker processes of the head; 0 is the default of the tool."""

    @property
    def head(self) -> str:
        return address(HEAD)

    def address(self, node: int) -> str:
        return address(node_name(node))

    def destination(self, node: int) -> Path:
        """The empty directory for the payload on a node."""
        return self.work / "nodes" / str(node)

    def mark(self, node: int) -> Path:
        """A file that a tool which keeps running creates when its node has everything."""
        return self.work / "marks" / str(node)

    def log(self, name: str) -> Path:
        return self.work / "logs" / name


class Tool(ABC):
    """A tool that copies the payload to many nodes."""

    name: str
    package: str = ""
    """The Debian package."""
    programs: tuple[str, ...] = ()
    goes_on: bool = False
    """The command of a node keeps running for other nodes, and creates `Stage.mark` when it has everything."""
    needs_all: bool = False
    """All nodes must be ready at the start (multicast)."""
    needs_rate: bool = False
    """It must be told the rate of the links."""
    updates: bool = False
    """It finds what a node has already."""
    scales: bool = False
    """The number of its processes can be chosen."""
    listens: bool = True
    """The head is ready when it listens on PORT and is idle. If False, being idle is enough."""
    head_comes_last: bool = False
    """The head starts sending at once, so it is started after the nodes."""

    def missing(self) -> str:
        """The package that is not installed, or an empty string."""
        return "" if all(map(shutil.which, self.programs)) else self.package

    def version(self) -> str:
        """One line; empty if unknown."""
        return first_line(self.programs[0], "--version") if self.programs else ""

    @abstractmethod
    def head(self, stage: Stage) -> list[list[str]]:
        """The commands of the head."""

    @abstractmethod
    def node(self, stage: Stage, node: int) -> list[str]:
        """The command of one node."""


def first_line(*command: str) -> str:
    """The first line of output of a command."""
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20, check=False)
    return next((line.strip() for line in said.stdout.splitlines() if line.strip()), "")


def shell(*commands: str) -> list[str]:
    """A command that runs lines of shell code and stops at the first error."""
    return ["bash", "-ec", "set -o pipefail\n" + "\n".join(commands)]


def quoted(*words: object) -> str:
    return shlex.join(map(str, words))


class XGet(Tool):
    """This checkout, with default options."""

    name = "xget"
    updates = True
    scales = True

    def _command(self, *arguments: object) -> list[str]:
        return [sys.executable, str(CHECKOUT / "xget.py"), "-p", str(PORT), *map(str, arguments)]

    def version(self) -> str:
        commit = first_line("git", "-C", str(CHECKOUT), "describe", "--always", "--dirty")
        return f"{first_line(*self._command('--version'))} {commit}"

    def _options(self, stage: Stage) -> tuple[object, ...]:
        """Of the master and of clients."""
        return ()

    def head(self, stage: Stage) -> list[list[str]]:
        keep = ("--log", stage.log("xget-master"), "--cache", stage.log("xget-cache"))
        processes = ("-w", stage.processes) if stage.processes else ()
        return [self._command(*keep, *processes, *self._options(stage), stage.payload.root)]

    def node(self, stage: Stage, node: int) -> list[str]:
        words: list[object] = ["-q", "-n", stage.head, "--log", stage.log(f"xget-child-{node}"), *self._options(stage)]
        words += ["--delete"] if stage.payload.is_update else []
        return self._command(*words, ".", stage.destination(node))


class XGetSecret(XGet):
    """This checkout, with a secret."""

    name = "xget-secret"

    def _options(self, stage: Stage) -> tuple[object, ...]:
        file = stage.work / "secret"
        if not file.exists():
            file.touch(0o600)
            file.write_text(secrets.token_hex(32), encoding="ascii")
        return ("--secret", file)


class XGetTls(XGetSecret):
    """This checkout, with a secret and TLS."""

    name = "xget-tls"

    def _options(self, stage: Stage) -> tuple[object, ...]:
        return ("--tls", *super()._options(stage))


class Nginx(Tool):
    """nginx, and one curl per node. With one node, this is the unit."""

    name = "nginx"
    package = "nginx-light curl"
    programs = ("nginx", "curl")

    def version(self) -> str:
        return f"{first_line('nginx', '-v')}, {first_line('curl', '--version')}"

    def head(self, stage: Stage) -> list[list[str]]:
        settings = stage.work / "nginx.conf"
        settings.write_text(
            f"""
            user root; daemon off; worker_processes auto; error_log stderr; pid {stage.work}/nginx.pid;
            events {{ worker_connections 4096; }}
            http {{
                sendfile on; tcp_nopush on; access_log off; keepalive_requests 1000000;
                server {{ listen {PORT}; root {stage.payload.root}; }}
            }}
            """
        )
        urls = "".join(
            f'url = "http://{stage.head}:{PORT}/{name}"\noutput = "{name}"\n' for name in stage.payload.files
        )
        (stage.work / "urls").write_text(urls)
        return [["nginx", "-c", str(settings), "-e", "stderr"]]

    def node(self, stage: Stage, node: int) -> list[str]:
        urls = quoted(stage.work / "urls")
        return shell(
            f"cd {quoted(stage.destination(node))}",
            f"exec curl --silent --show-error --fail --create-dirs --config {urls}",
        )


class Rsync(Tool):
    """The rsync daemon, without ssh, which would cost processor time."""

    name = "rsync"
    package = "rsync"
    programs = ("rsync",)
    updates = True
    options: tuple[str, ...] = ()

    def head(self, stage: Stage) -> list[list[str]]:
        settings = stage.work / "rsyncd.conf"
        # A killed daemon leaves its pid file, and the next one does not start.
        (stage.work / "rsyncd.pid").unlink(missing_ok=True)
        settings.write_text(
            f"uid = root\ngid = root\nuse chroot = no\nreverse lookup = no\npid file = {stage.work}/rsyncd.pid\n"
            f"[payload]\npath = {stage.payload.root}\n"
        )
        return [["rsync", "--daemon", "--no-detach", "--config", str(settings), "--port", str(PORT)]]

    def node(self, stage: Stage, node: int) -> list[str]:
        whence = f"rsync://{stage.head}:{PORT}/payload/"
        # If all is new, there is nothing to compare with; --inplace would spare the rename and prove less.
        how = ("--delete",) if stage.payload.is_update else ("--whole-file",)
        return ["rsync", "--archive", *how, *self.options, whence, f"{stage.destination(node)}/"]


class RsyncCompressed(Rsync):
    """The rsync daemon, told to compress."""

    name = "rsync-z"
    options = ("--compress",)
