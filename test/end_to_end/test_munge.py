"""A cluster with MUNGE, on real processes and with real daemons: who has no credential of the site gets nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Ended, eventually
from test.support.munged import Munged, munged
from test.support.plain_client import PlainClient, any_server
from test.support.relay import Relay
from test.support.stranger import AFID, Servers, Stranger
from test.support.trees import differences, small_tree, write
from xget_lib.errors import NinepError
from xget_lib.ninep.auth import LINE_LIMIT, ClientHandshake
from xget_lib.ninep.dialect import DIALECTS
from xget_lib.ninep.messages import Rattach, Rread, Tattach, Tread
from xget_lib.process.libmunge import LibMunge

pytestmark = pytest.mark.root  # users are changed, and the directories of daemons are those of root

NAME, CONTENT = "an-unmistakable-name", b"what only members may read\n"
SECRET = b"the key of the cluster"
SITE, ELSEWHERE = b"the key of this site" * 20, b"the key of another site" * 20
USER = 54321
"""A user who does not belong, if it is not said that he does."""
AS_USER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
AS_USER += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
"""He can read what belongs to root, such as the interpreter."""


@dataclass(frozen=True)
class Site:
    """The daemons of two machines of a site, and of one of another."""

    one: Munged
    two: Munged
    elsewhere: Munged


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("munge")
    with (
        munged(base / "one", SITE) as one,
        munged(base / "two", SITE) as two,
        munged(base / "elsewhere", ELSEWHERE) as elsewhere,
    ):
        yield Site(one, two, elsewhere)


def by(daemon: Munged, *more: str) -> list[str]:
    """The options of a command on the machine of this daemon."""
    return ["--auth", "munge", "--munge-socket", daemon.socket, *more]


@pytest.fixture(scope="module")
def servers(shared_cluster: Cluster, site: Site) -> Servers:
    source = small_tree(shared_cluster.base / "served")
    write(source / NAME, CONTENT * 1000)
    master = shared_cluster.master(source, *by(site.one), key=LibMunge(site.two.socket))
    options = by(site.one, "--linger", "forever")
    assert shared_cluster.client(master, shared_cluster.base / "dest", options=options).ended().status == 0
    (child,) = master.wait_for_children(1)
    return Servers(master, int(child["port"]))


# What is said on a connection.


class Attempt:
    """Somebody who tries to get in with a credential, made by the command munge(1)."""

    def __init__(self, site: Site, stranger: Stranger, aname: str) -> None:
        self.site = site
        self.stranger = stranger
        self.handshake = ClientHandshake(os.urandom(32), os.urandom(32), "", aname)

    def credential(self, aname: str, *options: str, daemon: Munged | None = None, prefix: Sequence[str] = ()) -> bytes:
        """With the right payload, for the server of this connection."""
        payload = self.handshake.payload(self.stranger.challenge(aname))
        return made_by_command(payload, daemon or self.site.two, *options, prefix=prefix)

    def answer(self, credential: bytes) -> bool:
        """Whether the server proves itself, too."""
        if not self.stranger.answer(self.handshake.answer_with(credential)):
            return False
        proof = self.stranger.ask(Tread(AFID, 0, LINE_LIMIT))
        return isinstance(proof, Rread) and self.handshake.check(bytes(proof.data)) is not None

    def of_a_member(self, aname: str) -> Attempt:
        """On a connection of his own to the same server."""
        port = self.stranger.sock.getpeername()[1]
        return Attempt(self.site, Stranger(port, self.stranger.dialect), aname)

    def repeat(self, member: Attempt, credential: bytes, aname: str) -> bool:
        """Whether the server says on this connection what it says to the member, who ends his."""
        member.stranger.sock.close()
        self.stranger.challenge(aname)
        if not self.stranger.answer(member.handshake.answer_with(credential)):
            return False
        return not self.stranger.ask(Tread(AFID, 0, LINE_LIMIT)).is_error


def made_by_command(payload: bytes, daemon: Munged, *options: str, prefix: Sequence[str] = ()) -> bytes:
    command = [*prefix, "munge", f"--socket={daemon.socket}", "--restrict-uid=0", *options]
    return subprocess.run(command, input=payload, stdout=subprocess.PIPE, check=True, timeout=60).stdout.strip()


def no_proof(attempt: Attempt, aname: str) -> bool:
    return False


def another_site(attempt: Attempt, aname: str) -> bool:
    return attempt.answer(attempt.credential(aname, daemon=attempt.site.elsewhere))


def another_user(attempt: Attempt, aname: str) -> bool:
    return attempt.answer(attempt.credential(aname, prefix=AS_USER))


def for_another_user(attempt: Attempt, aname: str) -> bool:
    return attempt.answer(attempt.credential(aname, f"--restrict-uid={USER}"))


def expired(attempt: Attempt, aname: str) -> bool:
    """A younger one tells when it has expired."""
    credential = attempt.credential(aname, "--ttl=1")
    younger = made_by_command(b"", attempt.site.two, "--ttl=1")
    command = ["unmunge", f"--socket={attempt.site.two.socket}"]

    def has_expired() -> bool:
        decoded = subprocess.run(command, input=younger, capture_output=True, timeout=60)
        return b"Expired credential" in decoded.stderr + decoded.stdout

    eventually(has_expired, "a credential expires after a second")
    return attempt.answer(credential)


def replayed(attempt: Attempt, aname: str) -> bool:
    """What a member said on a connection of his, and got in with."""
    member = attempt.of_a_member(aname)
    credential = member.credential(aname)
    assert member.answer(credential)
    return attempt.repeat(member, credential, aname)


def stolen(attempt: Attempt, aname: str) -> bool:
    """What a member said on a connection of his, and that never reached the server: it was not decoded before."""
    member = attempt.of_a_member(aname)
    return attempt.repeat(member, member.credential(aname), aname)


def for_another_tree(attempt: Attempt, aname: str) -> bool:
    other = Attempt(attempt.site, attempt.stranger, f"{aname}x")
    return other.answer(other.credential(aname))


ATTEMPTS: list[Callable[[Attempt, str], bool]] = [
    *(no_proof, another_site, another_user, for_another_user, expired, replayed, stolen, for_another_tree)
]


@pytest.mark.parametrize("aname", ["swarm", "files"])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("role", ["master", "child"])
@pytest.mark.parametrize("make", ATTEMPTS, ids=lambda attempt: attempt.__name__)
def test_a_stranger_gets_nothing(
    servers: Servers, site: Site, make: Callable[[Attempt, str], bool], role: str, dialect: str, aname: str
) -> None:
    stranger = Stranger(servers.port(role), dialect)
    with stranger.sock:
        assert not make(Attempt(site, stranger, aname), aname)
        stranger.look_around(aname, NAME)
    generation = servers.master.status()["generation"]
    for word in (NAME, "manifest", "status", "served", "dest", generation):
        assert word.encode() not in stranger.heard
    assert bytes.fromhex(generation) not in stranger.heard and CONTENT not in stranger.heard


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("role", ["master", "child"])
def test_a_member_gets_in(servers: Servers, site: Site, role: str, dialect: str) -> None:
    member = Attempt(site, Stranger(servers.port(role), dialect), "swarm")
    with member.stranger.sock:
        assert member.answer(member.credential("swarm"))
        assert isinstance(member.stranger.ask(Tattach(0, AFID, "", "swarm")), Rattach)


# The commands.


def errors(ended: Ended) -> str:
    (event,) = [event for event in ended.events if event["event"] == "error"]
    return str(event["message"])


def test_who_is_refused_ends_at_once_with_7_and_says_why(servers: Servers, site: Site, cluster: Cluster) -> None:
    """The time-out is longer than any test: it is not waited for."""
    where = f"127.0.0.1:{servers.master.port}: "
    refused = f"{where}it refuses this node: its MUNGE credential is not accepted (the log there says why)"
    untrusted = f"{where}refused by this node: it runs as the user 0 (--munge-users)"
    for options, line in (
        (by(site.elsewhere), refused),
        (by(site.two, "--munge-users", str(USER)), untrusted),
        ([], f"{where}it asks for a proof (--secret FILE, or --auth munge)"),
    ):
        ended = cluster.get(servers.master, cluster.base / "dest", options=[*options, "--timeout", "100000"])
        assert (ended.status, errors(ended)) == (7, line)
        status = cluster.run("status", "-n", f"127.0.0.1:{servers.master.port}", *options)
        assert (status.status, status.stderr) == (7, f"xget: {line}\n")


def test_users_who_belong_are_those_who_are_named(site: Site, cluster: Cluster) -> None:
    """Server and client run as different users, and each has to name the other."""
    home = cluster.base / "home"
    home.mkdir()
    os.chown(home, USER, USER)
    source = small_tree(cluster.base / "source")
    both = ["--munge-users", f"root,{USER}"]
    master = cluster.master(source, *by(site.one, *both), key=LibMunge(site.two.socket))
    somebody = {
        "prefix": AS_USER,
        "environment": {"XDG_RUNTIME_DIR": str(home), "XDG_CACHE_HOME": str(home), "HOME": str(home)},
    }
    log = ["--log", str(home / "log")]
    assert cluster.get(master, home / "dest", options=by(site.two, *log), **somebody).status == 0
    master = cluster.master(source, *by(site.one), key=LibMunge(site.two.socket))
    ended = cluster.get(master, home / "dest2", options=by(site.two, *log), **somebody)
    assert ended.status == 7 and "it refuses this node" in errors(ended)
    master.logged(f"not let in: its MUNGE credential is of the user {USER} (--munge-users)")


def test_nodes_prove_it_to_each_other_and_to_nobody_else(site: Site, cluster: Cluster) -> None:
    """Each has a daemon of its own. The second gets what the master does not give it any more from the first one."""
    source = small_tree(cluster.base / "source")
    write(source / "large", os.urandom(16 << 20))
    master = cluster.master(source, *by(site.one), key=LibMunge(site.two.socket))
    first = cluster.client(master, cluster.base / "first", options=by(site.one, "--linger", "forever"))
    assert first.ended().status == 0
    (child,) = master.wait_for_children(1)
    with pytest.raises(NinepError, match="authentication required"):
        PlainClient(int(child["port"]), "swarm")
    ended = cluster.get(master, cluster.base / "second", options=by(site.two))
    assert ended.status == 0 and ended.done["peers"] == 1
    assert ended.done["from_master"] < ended.done["fetched"]
    assert not differences(source, cluster.base / "second")


def test_a_server_accepts_the_secret_and_munge_at_once(site: Site, cluster: Cluster) -> None:
    source = small_tree(cluster.base / "source")
    file = cluster.base / "secret"
    file.touch(0o600)
    file.write_bytes(SECRET)
    with_secret = ["--secret", str(file)]
    both = ["--auth", "secret,munge", "--munge-socket", site.one.socket, *with_secret]
    master = cluster.master(source, *both, key=SECRET)
    for number, options in enumerate((with_secret, by(site.two), both, by(site.elsewhere))):
        ended = cluster.get(master, cluster.base / f"dest{number}", options=options)
        assert ended.status == (0 if number < 3 else 7)
    master.logged("127.0.0.1: not let in: its MUNGE credential: Invalid credential")
    only = cluster.master(source, *by(site.one), key=LibMunge(site.two.socket))
    ended = cluster.get(only, cluster.base / "dest", options=with_secret)
    assert ended.status == 7 and errors(ended).endswith("refused by this node: it asks for another kind of proof")
    assert cluster.get(only, cluster.base / "dest", options=both).status == 0


def test_who_relays_a_handshake_cannot_name_another_generation(servers: Servers, site: Site, cluster: Cluster) -> None:
    generation = servers.master.status()["generation"].encode()
    with Relay(servers.master.port, alter=lambda data: data.replace(generation, b"0" * 64)) as relay:
        ended = cluster.get(relay, cluster.base / "dest", options=by(site.two))
    assert ended.status == 7
    assert errors(ended).endswith("refused by this node: a line of news with a wrong seal")


def test_with_tls_the_credential_is_for_one_certificate(site: Site, cluster: Cluster) -> None:
    source = small_tree(cluster.base / "source")
    tls = any_server()
    master = cluster.master(source, *by(site.one, "--tls"), key=LibMunge(site.two.socket), tls=tls)
    first = cluster.client(master, cluster.base / "first", options=by(site.one, "--tls", "--linger", "forever"))
    assert first.ended().status == 0
    master.wait_for_children(1)
    ended = cluster.get(master, cluster.base / "second", options=by(site.two, "--tls"))
    assert ended.status == 0 and not differences(source, cluster.base / "second")
    ended = cluster.get(master, cluster.base / "third", options=by(site.elsewhere, "--tls"))
    assert ended.status == 7 and "its MUNGE credential is not accepted" in errors(ended)
    ended = cluster.get(master, cluster.base / "third", options=by(site.two))
    assert ended.status == 7 and "it wants TLS" in errors(ended)


# The daemon.


def test_a_command_without_a_daemon_says_what_is_missing(servers: Servers, cluster: Cluster) -> None:
    """It tries again until the time is over: at boot, the daemon may start later."""
    options = ["--auth", "munge", "--munge-socket", str(cluster.base / "none"), "--timeout", "1"]
    why = "this node cannot make a MUNGE credential for it: Failed to access"
    ended = cluster.get(servers.master, cluster.base / "dest", options=options)
    assert ended.status == 3 and why in errors(ended)
    status = cluster.run("status", "-n", f"127.0.0.1:{servers.master.port}", *options)
    assert status.status == 3 and why in status.stderr and status.stderr.count("\n") == 1


def test_a_daemon_that_was_stopped_costs_a_client_time_and_nothing_else(cluster: Cluster, tmp_path: Path) -> None:
    source = small_tree(cluster.base / "source")
    with munged(tmp_path / "one", SITE) as one, munged(tmp_path / "two", SITE) as two:
        master = cluster.master(source, *by(one), key=LibMunge(two.socket))
        one.signal(signal.SIGSTOP)
        client = cluster.client(master, cluster.base / "dest", options=by(two, "--linger", "0", "--timeout", "1000"))
        master.logged("cannot decode a MUNGE credential: munged does not answer")
        one.signal(signal.SIGCONT)
        assert client.ended().status == 0
        two.signal(signal.SIGSTOP)
        client = cluster.client(master, cluster.base / "dest2", options=by(two, "--linger", "0", "--timeout", "1000"))
        master.logged("not let in: the client has closed the connection")
        two.signal(signal.SIGCONT)
        assert client.ended().status == 0
    assert not differences(source, cluster.base / "dest") and not differences(source, cluster.base / "dest2")
