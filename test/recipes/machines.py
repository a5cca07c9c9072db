"""A head node and compute nodes, each a Debian system in namespaces of its own, with links to one network and sshd.

The head logs in to the nodes as root with a key, and knows their host keys, as on a cluster that is installed. All names
are in the /etc/hosts of each. Nothing of it is outside: files are in memory, above a root directory that stays as it is.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from test.packaging.system import System
from test.support.cluster import eventually
from test.support.processes import line_from

HEAD = "head"
_NETWORK = "10.78.0"
_HOLDER = """\
ip link add bridge type bridge
ip link set bridge up
echo ready
exec sleep infinity
"""
_LINK = """\
set -e
ip link add "$1" type veth peer name host0 netns "$2"
ip link set "$1" master bridge up
"""
_SSHD = "mkdir -p /run/sshd && /usr/sbin/sshd"
_LISTENS = "ss --listening --numeric --tcp --no-header sport = :22"


def nodes(count: int) -> list[str]:
    return [f"node{number}" for number in range(1, count + 1)]


class Machines:
    """The head is the machine of the name HEAD. `boot` names those that systemd boots, which starts sshd."""

    def __init__(
        self, names: Sequence[str], root: Path, place: Path, *, package: Path | None = None, boot: bool = False
    ) -> None:
        """`package` is the .deb that is installed on all of them already."""
        self._closing = ExitStack()
        self.machines: dict[str, System] = {}
        layers = [_site([HEAD, *names], root, place / "site")]
        if package:
            layers.append(_unpacked(package, place / "package"))
        try:
            bridge = self._bridge()
            for number, name in enumerate([HEAD, *names], 1):
                system = System(Path(":".join(map(str, [*layers, root]))), place / name, boot)
                self._closing.callback(system.close)
                self.machines[name] = system
                _connect(system, bridge, number, name)
                if not boot:
                    self.start_sshd(name)
        except BaseException:
            self.close()
            raise

    def __getitem__(self, name: str) -> System:
        return self.machines[name]

    @property
    def head(self) -> System:
        return self.machines[HEAD]

    @property
    def nodes(self) -> Mapping[str, System]:
        return {name: system for name, system in self.machines.items() if name != HEAD}

    def start_sshd(self, name: str) -> None:
        """When this returns, it can be reached."""
        self.machines[name].shell(_SSHD)
        eventually(lambda: self.machines[name].shell(_LISTENS), f"sshd of {name}")

    def stop_sshd(self, name: str) -> None:
        """It refuses new connections from now on."""
        self.machines[name].shell("kill $(cat /run/sshd.pid)")
        eventually(lambda: not self.machines[name].shell(_LISTENS), f"the end of sshd of {name}")

    def close(self) -> None:
        """Ends all processes on all machines."""
        self._closing.close()

    def _bridge(self) -> int:
        """A process in the network that connects them."""
        command = ["unshare", "--net", "sh", "-euc", _HOLDER]
        holder = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self._closing.callback(_end, holder)
        assert holder.stdout
        assert line_from(holder.stdout.fileno()) == "ready"
        return holder.pid


@contextmanager
def machines(
    names: Sequence[str], root: Path, place: Path, *, package: Path | None = None, boot: bool = False
) -> Iterator[Machines]:
    """Machines until the end of the block."""
    made = Machines(names, root, place, package=package, boot=boot)
    try:
        yield made
    finally:
        made.close()


def _site(names: Sequence[str], root: Path, place: Path) -> Path:
    """What an administrator has set up on all machines: names, and keys of ssh."""
    ssh = place / "root/.ssh"
    (place / "etc/cloud").mkdir(parents=True)
    (place / "etc/cloud/cloud-init.disabled").touch()
    addresses = [f"{_NETWORK}.{number} {name}" for number, name in enumerate(names, 1)]
    (place / "etc/hosts").write_text("\n".join(["127.0.0.1 localhost", "::1 localhost", *addresses, ""]))
    ssh.mkdir(parents=True)
    place.chmod(0o755)
    for private in (ssh.parent, ssh):
        private.chmod(0o700)
    key = ssh / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=60)
    (ssh / "authorized_keys").write_text(key.with_suffix(".pub").read_text())
    host_keys = [path.read_text() for path in (root / "etc/ssh").glob("ssh_host_*_key.pub")]
    (ssh / "known_hosts").write_text("".join(f"{','.join(names)} {text}" for text in host_keys))
    return place


def _unpacked(package: Path, place: Path) -> Path:
    subprocess.run(["dpkg-deb", "--extract", str(package), str(place)], check=True, timeout=120)
    return place


def _connect(system: System, bridge: int, number: int, name: str) -> None:
    """A link from a machine to the bridge, and its name and address."""
    command = ["nsenter", f"--target={bridge}", "--net", "--", "sh", "-euc", _LINK, "sh", f"to{number}"]
    subprocess.run([*command, str(system.first)], check=True, timeout=60, capture_output=True)
    system.shell(f"hostname {name}; ip address add {_NETWORK}.{number}/24 dev host0; ip link set host0 up")


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
