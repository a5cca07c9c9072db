"""A cluster whose connections are all encrypted: with the secret and certificates that processes make themselves, and
with those of a site.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest

from test.support.certificates import Authority, Certificate
from test.support.cluster import Cluster, Ended, Master, eventually, status_of
from test.support.plain_client import PlainClient, any_server
from test.support.processes import PATIENCE
from test.support.relay import Relay
from test.support.trees import differences, small_tree, write
from xget_lib.errors import NinepError
from xget_lib.ninep.dialect import NINEP2000, encode
from xget_lib.ninep.messages import Tversion
from xget_lib.ninep.wire import NOTAG

KEY, OTHER = b"the key of the cluster", b"the key of somebody else"
NAME, CONTENT = "an-unmistakable-name", b"what only members may read\n"
PATIENT = ["--timeout", "100000"]
"""Longer than any test: a refusal is not waited for."""


def secret(path: Path, key: bytes) -> list[str]:
    path.touch(0o600)
    path.write_bytes(key + b"\n")
    return ["--secret", str(path)]


@dataclass(frozen=True)
class Mode:
    """How the members of a cluster are known, and how a test speaks with a server."""

    options: list[str]
    key: bytes | None
    tls: ssl.SSLContext


@pytest.fixture(params=["secret", "site"])
def mode(request: pytest.FixtureRequest, cluster: Cluster) -> Mode:
    context = any_server()
    if request.param == "secret":
        return Mode(["--tls", *secret(cluster.base / "secret", KEY)], KEY, context)
    authority = Authority(cluster.base)
    node = authority.sign("node")
    context.load_cert_chain(node.cert, node.key)
    return Mode(node.options(authority), None, context)


def errors(ended: Ended) -> str:
    (event,) = [event for event in ended.events if event["event"] == "error"]
    return str(event["message"])


def test_all_links_are_encrypted_also_those_between_nodes(cluster: Cluster, mode: Mode) -> None:
    """The second node gets what the master does not give it any more from the first one. What passes between it and the
    master is looked at."""
    source = small_tree(cluster.base / "source")
    write(source / "large", os.urandom(16 << 20))
    write(source / NAME, CONTENT * 10_000)
    master = cluster.master(source, *mode.options, key=mode.key, tls=mode.tls)
    options = [*mode.options, "--linger", "forever"]
    assert cluster.client(master, cluster.base / "first", options=options).ended().status == 0
    (child,) = master.wait_for_children(1)
    passed: list[bytes] = []

    def look(data: bytes) -> bytes:
        passed.append(data)
        return data

    with Relay(master.port, alter=look) as relay:
        ended = cluster.get(relay, cluster.base / "second", options=mode.options)
    assert ended.status == 0 and ended.done["peers"] == 1
    assert ended.done["from_master"] < ended.done["fetched"]
    assert not differences(source, cluster.base / "second")
    said = b"".join(passed)
    assert len(said) > 10_000
    assert not any(word in said for word in (NAME.encode(), CONTENT, b"9P2000", b"generation", b"xget-auth"))
    for port in (master.port, int(child["port"])):
        with pytest.raises(NinepError, match="TLS required"):
            PlainClient(port, "swarm", key=mode.key)
        assert status_of(port, mode.key, mode.tls)["encrypts"] in ("the kernel", "user space")


def test_the_status_command_speaks_tls(cluster: Cluster, mode: Mode) -> None:
    (source := small_tree(cluster.base / "source")).joinpath("top").chmod(0o600)
    master = cluster.master(source, *mode.options, key=mode.key, tls=mode.tls)
    asked = cluster.run("status", "-n", f"127.0.0.1:{master.port}", *mode.options)
    assert asked.status == 0 and "TLS: content is encrypted in " in asked.stdout
    assert "are served to everybody" not in master.log.read_text()


def test_one_side_without_tls_is_refused_at_once_with_7_and_one_line(cluster: Cluster, mode: Mode) -> None:
    source, dest = small_tree(cluster.base / "source"), cluster.base / "dest"
    master = cluster.master(source, *mode.options, key=mode.key, tls=mode.tls)
    plain = cluster.master(source)
    for server, options, why in ((master, [], "it wants TLS (--tls)"), (plain, mode.options, "it speaks no TLS 1.3")):
        ended = cluster.get(server, dest, options=[*options, *PATIENT])
        line = f"127.0.0.1:{server.port}: {why}"
        assert (ended.status, errors(ended)) == (7, line)
        status = cluster.run("status", "-n", f"127.0.0.1:{server.port}", *options)
        assert (status.status, status.stderr) == (7, f"xget: {line}\n")
    assert not dest.exists() or not list(dest.iterdir())


def serving(cluster: Cluster, source: Path, *options: str) -> Master:
    """A master that the test is no member of."""
    master = cluster.master(source, *options, wait=False)
    eventually(master.log.exists, "the master does not start")
    master.logged("serving")
    return master


def refused(cluster: Cluster, master: Master, options: list[str]) -> str:
    """Why a client with these options gets nothing."""
    dest = cluster.base / "refused"
    ended = cluster.get(master, dest, options=[*options, *PATIENT])
    assert ended.status == 7
    assert not dest.exists() or not list(dest.iterdir())
    return errors(ended)


def test_a_master_with_another_secret_or_certificate_is_refused(cluster: Cluster) -> None:
    source = small_tree(cluster.base / "source")
    one, other = Authority(cluster.base), Authority(cluster.base, "other")
    node = one.sign("node").options(one)
    impostor = serving(cluster, source, *other.sign("head").options(one))
    assert "refused by this node: its certificate is not accepted: " in refused(cluster, impostor, node)
    named = serving(cluster, source, *one.sign("head", names="DNS:head").options(one))
    assert "certificate is not valid for '127.0.0.1'" in refused(cluster, named, node)
    of_other = serving(cluster, source, "--tls", *secret(cluster.base / "other-secret", OTHER))
    why = refused(cluster, of_other, ["--tls", *secret(cluster.base / "secret", KEY)])
    assert "it refuses this node: its secret is not that of" in why


def test_a_node_with_an_expired_or_foreign_certificate_is_refused(cluster: Cluster) -> None:
    one, other = Authority(cluster.base), Authority(cluster.base, "other")
    head, tls = one.sign("head"), any_server()
    tls.load_cert_chain(head.cert, head.key)
    master = cluster.master(small_tree(cluster.base / "source"), *head.options(one), tls=tls)
    for certificate, why in ((one.sign("late", days=-1), "certificate expired"), (other.sign("node"), "unknown ca")):
        line = refused(cluster, master, certificate.options(one))
        assert f"it refuses the certificate of this node ({why})" in line


def shown(port: int, node: Certificate) -> bytes:
    """The certificate that a server shows to who has this one. Raises OSError if it does not accept that: this is known
    with the first reply only."""
    context = any_server()
    context.load_cert_chain(node.cert, node.key)
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock, context.wrap_socket(sock) as tls:
        tls.sendall(encode(NOTAG, Tversion(8192, NINEP2000), NINEP2000))
        if not tls.recv(1):
            raise ConnectionResetError
        return tls.getpeercert(binary_form=True) or b""


def der(certificate: Certificate) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.cert.read_text())


def replace(files: Certificate, new: Certificate) -> None:
    files.key.write_bytes(new.key.read_bytes())
    files.cert.write_bytes(new.cert.read_bytes())


def test_certificates_are_replaced_while_processes_run_also_for_workers_to_come(cluster: Cluster) -> None:
    """Those of a master and of a node, with a new authority beside the former one. Who is connected stays."""
    one, other = Authority(cluster.base), Authority(cluster.base, "other")
    head, node = one.sign("head"), one.sign("node", names="DNS:node")
    probe, stranger = one.sign("probe"), other.sign("stranger")
    tls = any_server()
    tls.load_cert_chain(probe.cert, probe.key)
    source = small_tree(cluster.base / "source")
    master = cluster.master(source, *head.options(one), tls=tls)
    options = [*node.options(one), "--linger", "forever", "--log", str(cluster.base / "child.log")]
    client = cluster.client(master, cluster.base / "dest", options=options)
    child = client.background()
    assert client.ended().status == 0
    port = int(master.wait_for_children(1)[0]["port"])
    assert shown(port, probe) == der(node)
    with pytest.raises(OSError):
        shown(port, stranger)
    for files, name, pid, at in ((head, "head2", master.pid, master.port), (node, "node2", child, port)):
        replace(files, other.sign(name))
        one.cert.write_text(one.cert.read_text() + other.cert.read_text())
        os.kill(pid, signal.SIGHUP)
        eventually(lambda at=at, files=files: shown(at, probe) == der(files), "the new certificate is shown")  # type: ignore[misc]
        assert shown(at, stranger) == der(files)
    master.logged("the certificates have changed")
    assert len(master.children()) == 1
    for worker in master.workers():
        os.kill(worker, signal.SIGKILL)
    eventually(master.serves, "new workers serve")
    assert shown(master.port, stranger) == der(head)
    master.wait_for_children(1)  # it has connected again, with its new certificate to a new worker
    assert cluster.get(master, cluster.base / "second", options=other.sign("third").options(one)).status == 0


def test_certificates_that_cannot_be_used_are_not_and_who_reloads_is_told(cluster: Cluster) -> None:
    one = Authority(cluster.base)
    head, tls = one.sign("head"), any_server()
    tls.load_cert_chain(head.cert, head.key)
    master = cluster.master(small_tree(cluster.base / "source"), *head.options(one), tls=tls)
    former, probe = der(head), one.sign("probe")
    head.cert.write_bytes(probe.cert.read_bytes())
    reloaded = cluster.run("-p", str(master.port), "reload")
    line = f"the certificates stay as they were: --tls-key {head.key}: not a certificate and its private key"
    assert reloaded.status == 1 and line in reloaded.stderr
    master.logged(line)
    assert shown(master.port, probe) == former
    replace(head, probe)
    assert cluster.run("-p", str(master.port), "reload").status == 0
    assert shown(master.port, probe) == der(probe)


def test_the_status_of_a_node_is_shown_whatever_name_its_certificate_has(cluster: Cluster) -> None:
    one = Authority(cluster.base)
    head, node = one.sign("head"), one.sign("node", names="DNS:node")
    tls = any_server()
    tls.load_cert_chain(head.cert, head.key)
    master = cluster.master(small_tree(cluster.base / "source"), *head.options(one), tls=tls)
    options = [*node.options(one), "--linger", "forever"]
    assert cluster.client(master, cluster.base / "dest", options=options).ended().status == 0
    (child,) = master.wait_for_children(1)
    asked = cluster.run("status", "-n", f"127.0.0.1:{child['port']}", *node.options(one))
    assert asked.status == 0 and "holds 100 %" in asked.stdout


def test_tls_that_proves_nothing_is_an_error_of_usage(cluster: Cluster) -> None:
    authority = Authority(cluster.base)
    made = authority.sign("head")
    for options, line in (
        (["--tls"], "--tls: needs --secret, --auth or --tls-ca, or anybody can be in the middle"),
        (
            ["--tls", "--tls-ca", str(authority.cert)],
            "--tls-ca: needs --tls-cert: both sides show a certificate",
        ),
        (["--tls-cert", str(made.cert)], "--tls-cert: has no effect without --tls"),
        (["--tls-ca", str(made.cert)], "--tls-ca: has no effect without --tls"),
    ):
        ended = cluster.run(*options, str(cluster.base))
        assert (ended.status, ended.stderr) == (2, f"xget: {line}\n")
