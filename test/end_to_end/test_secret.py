"""A cluster with a secret, on real processes: what a stranger gets of a master and of a child, in every dialect and of
every tree. Nothing: no content, no name, no size, no status.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Ended, Master, Running, eventually, free_port, status_of
from test.support.plain_client import PlainClient
from test.support.processes import PATIENCE
from test.support.relay import Relay
from test.support.stranger import AFID, Servers, Stranger
from test.support.trees import differences, small_tree, write
from xget_lib.errors import NinepError
from xget_lib.ninep import linux
from xget_lib.ninep.auth import LINE_LIMIT, ClientHandshake
from xget_lib.ninep.dialect import DIALECTS
from xget_lib.ninep.messages import (
    Rattach,
    Rerror,
    Rread,
    Tattach,
    Tread,
    Twalk,
)

KEY, OTHER, GONE = b"the key of the cluster", b"the key of somebody else", b"the key of last year"
NAME, CONTENT = "an-unmistakable-name", b"what only members may read\n"
TREES = ("classic", "files", "swarm", "")


def secret(path: Path, *keys: bytes) -> Path:
    path.touch(0o600)
    path.write_bytes(b"\n".join(keys) + b"\n")
    return path


@pytest.fixture(scope="module")
def servers(shared_cluster: Cluster) -> Servers:
    cluster = shared_cluster
    source = small_tree(cluster.base / "served")
    write(source / NAME, CONTENT * 1000)
    file = secret(cluster.base / "secret", GONE, KEY)
    master = cluster.master(source, "--secret", str(file), key=KEY)
    client = cluster.client(master, cluster.base / "dest", options=["--secret", str(file), "--linger", "forever"])
    child = client.background()
    assert client.ended().status == 0
    (registered,) = master.wait_for_children(1)
    # The keys are exchanged while both run: GONE is none any more.
    secret(file, KEY)
    for pid, port in ((master.pid, master.port), (child, int(registered["port"]))):
        os.kill(pid, signal.SIGHUP)
        eventually(lambda port=port: not is_let_in(port, GONE), "the former key is not accepted any more")  # type: ignore[misc]
    return Servers(master, int(registered["port"]))


def is_let_in(port: int, key: bytes) -> bool:
    try:
        PlainClient(port, "swarm", key=key).sock.close()
    except NinepError:
        return False
    return True


def no_proof(stranger: Stranger, aname: str, port: int) -> bool:
    return False


def wrong_key(stranger: Stranger, aname: str, port: int) -> bool:
    return stranger.answer(ClientHandshake(OTHER, os.urandom(32), "", aname).answer(stranger.challenge(aname)))


def expired_key(stranger: Stranger, aname: str, port: int) -> bool:
    return stranger.answer(ClientHandshake(GONE, os.urandom(32), "", aname).answer(stranger.challenge(aname)))


def replayed_proof(stranger: Stranger, aname: str, port: int) -> bool:
    """What a member said on a connection of his, and got in with."""
    member = Stranger(port, stranger.dialect)
    answer = ClientHandshake(KEY, os.urandom(32), "", aname).answer(member.challenge(aname))
    assert member.answer(answer)
    member.sock.close()
    stranger.challenge(aname)
    return stranger.answer(answer)


def proof_for_another_tree(stranger: Stranger, aname: str, port: int) -> bool:
    return stranger.answer(ClientHandshake(KEY, os.urandom(32), "", f"{aname}x").answer(stranger.challenge(aname)))


def reflected_proof(stranger: Stranger, aname: str, port: int) -> bool:
    """What the server itself said last on another connection."""
    member = Stranger(port, stranger.dialect)
    nonce = os.urandom(32)
    assert member.answer(ClientHandshake(KEY, nonce, "", aname).answer(member.challenge(aname)))
    proof = member.ask(Tread(AFID, 0, LINE_LIMIT))
    assert isinstance(proof, Rread) and len(proof.data) == 65
    member.sock.close()
    stranger.challenge(aname)
    return stranger.answer(b"secret %s %s\n" % (nonce.hex().encode(), bytes(proof.data).strip()))


ATTEMPTS: list[Callable[[Stranger, str, int], bool]] = [
    *(no_proof, wrong_key, expired_key, replayed_proof, proof_for_another_tree, reflected_proof)
]


@pytest.mark.parametrize("aname", TREES)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("role", ["master", "child"])
@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.__name__)
def test_a_stranger_gets_nothing(
    servers: Servers, attempt: Callable[[Stranger, str, int], bool], role: str, dialect: str, aname: str
) -> None:
    port = servers.port(role)
    stranger = Stranger(port, dialect)
    with stranger.sock:
        assert not attempt(stranger, aname, port)
        stranger.look_around(aname, NAME)
    generation = servers.master.status()["generation"]
    for word in (NAME, "manifest", "status", "served", "dest", generation, str(servers.master.pid)):
        assert word.encode() not in stranger.heard
    assert bytes.fromhex(generation) not in stranger.heard and CONTENT not in stranger.heard


@pytest.mark.parametrize("aname", TREES)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("role", ["master", "child"])
def test_a_member_gets_in(servers: Servers, role: str, dialect: str, aname: str) -> None:
    member = Stranger(servers.port(role), dialect)
    with member.sock:
        assert member.answer(ClientHandshake(KEY, os.urandom(32), "", aname).answer(member.challenge(aname)))
        assert isinstance(member.ask(Tattach(0, AFID, "", aname)), Rattach)
        assert not member.ask(Twalk(0, 2, ())).is_error


def test_who_says_nothing_is_gone_soon(servers: Servers) -> None:
    with socket.create_connection(("127.0.0.1", servers.child), timeout=PATIENCE) as silent:
        assert silent.recv(1) == b""


# The commands.


def errors(ended: Ended) -> str:
    (event,) = [event for event in ended.events if event["event"] == "error"]
    return str(event["message"])


def test_who_is_refused_ends_at_once_with_7_and_says_who_refuses(servers: Servers, cluster: Cluster) -> None:
    """The time-out is longer than any test: it is not waited for."""
    wrong = str(secret(cluster.base / "wrong", OTHER))
    patient = ["--timeout", "100000"]
    where = f"127.0.0.1:{servers.master.port}: "
    for options, line in (
        (["--secret", wrong], f"{where}it refuses this node: its secret is not that of {wrong}"),
        ([], f"{where}it asks for a proof (--secret FILE, or --auth munge)"),
    ):
        ended = cluster.get(servers.master, cluster.base / "dest", options=[*options, *patient])
        assert (ended.status, errors(ended)) == (7, line)
        status = cluster.run("status", "-n", f"127.0.0.1:{servers.master.port}", *options)
        assert (status.status, status.stderr) == (7, f"xget: {line}\n")
    plain = cluster.master(small_tree(cluster.base / "source"))
    ended = cluster.get(plain, cluster.base / "dest", options=["--secret", wrong, *patient])
    line = f"127.0.0.1:{plain.port}: refused by this node: it does not prove the secret of {wrong}"
    assert (ended.status, errors(ended)) == (7, line)
    assert not (cluster.base / "dest").exists() or not list((cluster.base / "dest").iterdir())


def test_a_secret_that_others_can_read_is_not_used(cluster: Cluster) -> None:
    file = secret(cluster.base / "secret", KEY)
    file.chmod(0o644)
    for words in ([str(cluster.base)], ["-n", "127.0.0.1:1", ".", "dest"], ["status"]):
        ended = cluster.run("--secret", str(file), *words)
        assert (ended.status, ended.stderr.count("\n")) == (2, 1)
        assert "others can read or change it (chmod 600)" in ended.stderr


def test_a_credential_of_systemd_is_the_secret_if_no_option_says_another(servers: Servers, cluster: Cluster) -> None:
    secret(cluster.base / "xget-secret", KEY).chmod(0o400)
    environment = {"CREDENTIALS_DIRECTORY": str(cluster.base)}
    assert cluster.get(servers.master, cluster.base / "dest", environment=environment).status == 0
    other = str(secret(cluster.base / "other", OTHER))
    ended = cluster.get(servers.master, cluster.base / "dest", options=["--secret", other], environment=environment)
    assert ended.status == 7


def test_no_key_is_in_the_log_at_any_level_or_in_arguments(cluster: Cluster) -> None:
    source = small_tree(cluster.base / "source")
    file = str(secret(cluster.base / "secret", KEY))
    master = cluster.master(source, "--secret", file, "-D", "2", key=KEY)
    log = cluster.base / "client.log"
    options = ["--secret", file, "-D", "2", "--log", str(log)]
    assert cluster.get(master, cluster.base / "dest", options=options).status == 0
    texts = [master.log.read_bytes(), log.read_bytes(), Path(f"/proc/{master.pid}/environ").read_bytes()]
    texts += [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in cluster.processes()]
    assert b"Tauth" in texts[0] and not any(KEY in text for text in texts)


# Peers, and trees that are open.


def test_nodes_prove_it_to_each_other_and_to_nobody_else(cluster: Cluster) -> None:
    """The second node gets what the master does not give it any more from the first one."""
    source = small_tree(cluster.base / "source")
    write(source / "large", os.urandom(16 << 20))
    file = str(secret(cluster.base / "secret", KEY))
    master = cluster.master(source, "--secret", file, key=KEY)
    options = ["--secret", file, "--linger", "forever"]
    assert cluster.client(master, cluster.base / "first", options=options).ended().status == 0
    master.wait_for_children(1)
    ended = cluster.get(master, cluster.base / "second", options=["--secret", file])
    assert ended.status == 0 and ended.done["peers"] == 1
    assert ended.done["from_master"] < ended.done["fetched"]
    assert not differences(source, cluster.base / "second")


def test_trees_are_open_to_the_networks_that_are_named(cluster: Cluster) -> None:
    source = small_tree(cluster.base / "source")
    file = str(secret(cluster.base / "secret", KEY))
    rules = ["--secret", file, "--open", "files", "--open-to", "127.0.0.2/32"]
    master = cluster.master(source, *rules, key=KEY)
    client = cluster.client(master, cluster.base / "dest", options=[*rules, "--linger", "forever"])
    assert client.ended().status == 0
    (child,) = master.wait_for_children(1)
    for port in (master.port, int(child["port"])):
        PlainClient(port, "files", source="127.0.0.2").sock.close()
        for aname, address in (("files", "127.0.0.3"), ("swarm", "127.0.0.2"), ("classic", "127.0.0.2")):
            with pytest.raises(NinepError, match="authentication required"):
                PlainClient(port, aname, source=address)


def test_programs_of_a_node_use_its_child_through_a_unix_socket_without_a_proof(cluster: Cluster) -> None:
    """Also what a kernel mounts, and many small files in one read, which TCP would cork."""
    source = small_tree(cluster.base / "source")
    for number in range(20):
        write(source / f"small{number}", b"%d" % number * 100)
    file, path = str(secret(cluster.base / "secret", KEY)), cluster.base / "socket"
    master = cluster.master(source, "--secret", file, key=KEY)
    options = ["--secret", file, "--linger", "forever", "--socket", str(path)]
    client = cluster.client(master, cluster.base / "dest", options=options)
    pid = client.background()
    assert client.ended().status == 0
    master.wait_for_children(1)
    with PlainClient(0, "files", str(path)) as program:
        assert program.read_all("small7") == b"7" * 100
    with PlainClient(0, "swarm", str(path)) as program:
        assert len(program.read_all("data")) == master.status()["bytes"]
    (child,) = master.children()
    with pytest.raises(NinepError, match="authentication required"):
        PlainClient(int(child["port"]), "files")
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not path.exists(), "the socket is removed")


# In the middle.


@pytest.fixture
def guarded(cluster: Cluster) -> Iterator[tuple[Master, str]]:
    file = str(secret(cluster.base / "secret", KEY))
    yield cluster.master(small_tree(cluster.base / "source"), "--secret", file, key=KEY), file


def test_who_relays_a_handshake_cannot_name_another_generation(guarded: tuple[Master, str], cluster: Cluster) -> None:
    master, file = guarded
    generation = master.status()["generation"].encode()
    with Relay(master.port, alter=lambda data: data.replace(generation, b"0" * 64)) as relay:
        ended = cluster.get(relay, cluster.base / "dest", options=["--secret", file])
    assert ended.status == 7
    assert errors(ended).endswith("refused by this node: a line of news with a wrong seal")


def test_who_relays_a_handshake_cannot_repeat_old_news(guarded: tuple[Master, str], cluster: Cluster) -> None:
    """News of another connection, with the seal that was right there: an old generation, for example."""
    master, file = guarded
    old: list[bytes] = []

    def keep(data: bytes) -> bytes:
        if b'"seal"' in data:
            at = data.index(b'{"generation"') if b'{"generation"' in data else data.index(b"{")
            old.append(data[at : data.index(b"}\n", at) + 2])
        return data

    def repeat(data: bytes) -> bytes:
        if b'"seal"' not in data:
            return data
        begin = data.index(b"{")
        end = data.index(b"}\n", begin) + 2
        # Rread: size[4] type[1] tag[2] count[4] data[count]. The old line may have another length: its age is in there.
        size, count = struct.pack("<I", 11 + len(old[0])), struct.pack("<I", len(old[0]))
        return data[: begin - 11] + size + data[begin - 7 : begin - 4] + count + old[0] + data[end:]

    with Relay(master.port, alter=keep) as relay:
        assert cluster.get(relay, cluster.base / "dest", options=["--secret", file]).status == 0
    with Relay(master.port, alter=repeat) as relay:
        ended = cluster.get(relay, cluster.base / "dest", options=["--secret", file])
    assert ended.status == 7
    assert "refused by this node: a line of news" in errors(ended)


def test_who_leads_a_node_to_a_child_cannot_make_it_take_what_the_child_has(servers: Servers, cluster: Cluster) -> None:
    """A child that lingers has the same secret, and perhaps an old generation."""
    file = str(secret(cluster.base / "secret", KEY))
    with Relay(servers.child) as relay:
        ended = cluster.get(relay, cluster.base / "dest", options=["--secret", file, "--timeout", "100000"])
    assert ended.status == 7
    assert errors(ended).endswith("refused by this node: it is a child, and not a master")


# The secret changes.


class Member:
    """A process with a file of its own, as on a machine of its own."""

    def __init__(self, file: Path, pid: int, log: Path) -> None:
        self.file, self.pid, self.log = file, pid, log

    def change(self, *keys: bytes) -> None:
        """Exchange the keys, and return when they count."""
        before = self.log.read_text().count("the secret has changed")
        secret(self.file, *keys)
        os.kill(self.pid, signal.SIGHUP)
        eventually(lambda: self.log.read_text().count("the secret has changed") > before, f"{self.log.name}: new keys")


def follower(cluster: Cluster, master: Master, name: str) -> Member:
    file, log = secret(cluster.base / f"{name}.secret", GONE), cluster.base / f"{name}.log"
    options = ["--secret", str(file), "--follow", "--log", str(log)]
    client = cluster.client(master, cluster.base / name, options=options)
    pid = client.background()
    assert client.ended().status == 0
    return Member(file, pid, log)


def test_the_secret_changes_while_everybody_works_and_nobody_fails(cluster: Cluster) -> None:
    source = small_tree(cluster.base / "source")
    file = secret(cluster.base / "master.secret", GONE)
    master = cluster.master(source, "--secret", str(file), key=GONE)
    members = [Member(file, master.pid, master.log), *(follower(cluster, master, name) for name in "ab")]
    clients: list[Running] = []
    for stage, keys in enumerate(([GONE, KEY], [KEY, GONE], [KEY])):
        # As docs/security.md says: a key goes when nobody uses it first any more.
        assert all(client.ended().status == 0 for client in clients[: 3 * (stage - 1)])
        for member in members:
            member.change(*keys)
            master.key = keys[0]
            # Machines have the new file one after the other, and boot meanwhile.
            own = secret(cluster.base / f"{len(clients)}.secret", *keys)
            options = ["--secret", str(own), "--linger", "0"]
            clients.append(cluster.client(master, cluster.base / f"dest{len(clients)}", options=options))
        new = cluster.base / "new"
        write(new, str(stage).encode())
        new.rename(source / "stage")  # whole at once: a file that is being written is a reason of its own to fail
        for name in "ab":
            eventually(lambda name=name: not differences(source, cluster.base / name), f"{name} follows")  # type: ignore[misc]
    ended = [client.ended() for client in clients]
    assert [each.status for each in ended] == [0] * 9, [each.stdout for each in ended if each.status]
    assert not is_let_in(master.port, GONE)


def test_a_follower_whose_master_refuses_it_waits_for_the_right_secret(cluster: Cluster) -> None:
    source = small_tree(cluster.base / "source")
    file, port = secret(cluster.base / "master.secret", GONE), free_port()
    master = cluster.master(source, "--secret", str(file), key=GONE, port=port)
    member = follower(cluster, master, "a")
    master.signal(signal.SIGTERM)
    assert master.ended().status == 0
    secret(file, KEY)
    master = cluster.master(source, "--secret", str(file), key=KEY, port=port)
    eventually(lambda: "it refuses this node: its secret is not that of" in member.log.read_text(), "it is refused")
    write(source / "new", b"new\n")
    member.change(KEY)
    eventually(lambda: not differences(source, cluster.base / "a"), "it follows again")
    (child,) = master.wait_for_children(1)
    assert status_of(int(child["port"]), KEY)["role"] == "follower"


@pytest.mark.parametrize("role", ["master", "child"])
def test_a_connection_of_a_key_that_goes_ends(cluster: Cluster, role: str) -> None:
    """As a stolen key needs it. The child's connection to its master ends too, and is made again."""
    master_file, file = secret(cluster.base / "master.secret", GONE, KEY), cluster.base / "a.secret"
    master = cluster.master(small_tree(cluster.base / "source"), "--secret", str(master_file), key=KEY)
    child = follower(cluster, master, "a")
    (registered,) = master.wait_for_children(1)
    member = child if role == "child" else Member(master_file, master.pid, master.log)
    port = int(registered["port"]) if role == "child" else master.port
    with PlainClient(port, "files", key=GONE) as old:
        old.sock.settimeout(PATIENCE)
        secret(file, KEY)
        member.change(KEY)
        assert old.sock.recv(1) == b""
    if role == "child":
        eventually(lambda: "connected to the master again" in child.log.read_text(), "it comes again with its new key")


def test_a_secret_that_cannot_be_read_again_stays(guarded: tuple[Master, str], cluster: Cluster) -> None:
    master, file = guarded
    Path(file).chmod(0o644)
    master.signal(signal.SIGHUP)
    master.logged("the secret stays as it was: --secret ")
    reloaded = cluster.run("reload", "-p", str(master.port))
    assert reloaded.status == 1 and "others can read or change it (chmod 600)" in reloaded.stderr
    assert is_let_in(master.port, KEY)


def test_an_error_reply_is_no_content() -> None:
    """What `look_around` relies on."""
    assert Rerror("x").is_error and linux.Rlerror(1).is_error
