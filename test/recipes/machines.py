"""A head node and compute nodes, each a Debian system in namespaces of its own, with links to one network and sshd.

The head logs in to the nodes as root with a key, and knows their host keys, as on a cluster that is installed. All
names are in the /etc/hosts of each. Nothing of it is outside: files are in memory, above a root directory that stays as
it is.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from test.packaging.system import System
from test.support.cluster import eventually
from test.support.processes import line_from

HEAD = "head"
_NETWORK = "10.78.0"
_BRIDGE = """\
ip link add bridge type bridge
ip link set bridge up
echo ready
exec sleep infinity
"""
_LINK = """\
ip link set lo up
echo ready
exec sleep infinity
"""
_PLUGGED = """\
ip link add "to$2" type veth peer name host0 netns "$1"
ip link set "to$2" master bridge up
nsenter --target="$1" --net -- ip address add "$3.$2/24" dev host0
nsenter --target="$1" --net -- ip link set host0 up
"""
_SSHD = "mkdir -p /run/sshd && /usr/sbin/sshd"
_LISTENS = "ss --listening --numeric --tcp --no-header sport = :22"


def nodes(count: int) -> list[str]:
    return [f"node{number}" for number in range(1, count + 1)]


class Machines:
    """The head is the machine of the name HEAD."""

    def __init__(
        self,
        names: Sequence[str],
        root: Path,
        place: Path,
        *,
        package: Path | None = None,
        boot: Collection[str] = (),
        later: Collection[str] = (),
        files: Mapping[str, str] | None = None,
    ) -> None:
        """`package` is the .deb that is installed on all of them already. `boot` names the machines that systemd boots,
        `later` those that `switch_on` starts. `files` are more files of all machines, by path below `/`."""
        self._closing = ExitStack()
        self._names = [HEAD, *names]
        self._place = place
        self._boot = boot
        self.machines: dict[str, System] = {}
        self._layers = [_site(self._names, root, place / "site", files or {}), root]
        if package:
            self._layers.insert(1, _unpacked(package, place / "package"))
        try:
            self._bridge = self._namespace(_BRIDGE)
            for name in self._names:
                if name not in later:
                    self.switch_on(name)
        except BaseException:
            self.close()
            raise

    def switch_on(self, name: str) -> None:
        """When this returns, the machine has booted, and can be reached."""
        network = self._namespace(_LINK)
        _plug(network, self._bridge, self._names.index(name) + 1)
        root = Path(":".join(map(str, self._layers)))
        system = System(root, self._place / name, name in self._boot, network)
        self._closing.callback(system.close)
        self.machines[name] = system
        system.run("hostname", name)
        if name not in self._boot:
            self.start_sshd(name)

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

    def _namespace(self, script: str) -> int:
        """The process that a script becomes in a network namespace of its own."""
        command = ["unshare", "--net", "sh", "-euc", script]
        holder = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self._closing.callback(_end, holder)
        assert holder.stdout
        assert line_from(holder.stdout.fileno()) == "ready"
        return holder.pid


def _site(names: Sequence[str], root: Path, place: Path, files: Mapping[str, str]) -> Path:
    """What an administrator has set up on all machines: names, and keys of ssh."""
    ssh = place / "root/.ssh"
    (place / "etc").mkdir(parents=True)
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
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


def _unpacked(package: Path, place: Path) -> Path:
    subprocess.run(["dpkg-deb", "--extract", str(package), str(place)], check=True, timeout=120)
    return place


def _plug(network: int, bridge: int, number: int) -> None:
    """A link between two network namespaces, which are those of these processes."""
    command = ["nsenter", f"--target={bridge}", "--net", "--", "sh", "-euc", _PLUGGED]
    subprocess.run([*command, "sh", str(network), str(number), _NETWORK], check=True, timeout=60, capture_output=True)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
