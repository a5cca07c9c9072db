"""A cluster whose connections are all encrypted: with the secret and certificates that processes make themselves, and
with those of a site.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest

from test.support.certificates import Authority
from test.support.cluster import Cluster, Ended, Master, eventually, status_of
from test.support.plain_client import PlainClient, any_server
from test.support.relay import Relay
from test.support.trees import differences, small_tree, write
from xget_lib.errors import NinepError

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
    master = cluster.master(small_tree(cluster.base / "source"), *mode.options, key=mode.key, tls=mode.tls)
    asked = cluster.run("status", "-n", f"127.0.0.1:{master.port}", *mode.options)
    assert asked.status == 0 and "TLS: content is encrypted in " in asked.stdout


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
