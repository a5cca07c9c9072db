"""The servers that a node downloads from, in greenlets of one process: a peer, and a master that a test speaks for."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from test.support import downloads
from test.support.backends import RecordingBackend, served
from test.support.network import until
from test.support.swarm_server import SwarmServer
from xget_lib.config import NO_LIMIT, Config
from xget_lib.fs.rooted import Root
from xget_lib.net.listen import listen
from xget_lib.node.child import Child
from xget_lib.node.master_link import MasterLink
from xget_lib.node.transfer import Transfer
from xget_lib.serve.files import Files
from xget_lib.swarm.messages import Address, News, Scanning


class Peer:
    """A child server that holds everything under a directory, as far as it knows."""

    def __init__(self, directory: Path, manifest: downloads.Served) -> None:
        transfer = Transfer(MasterLink("127.0.0.1", 1, serving_port=None), retries=0)
        listening = listen("127.0.0.1", 0)
        self.child = Child(listening, bytes(directory), 0, transfer)
        generation = served(directory, manifest.manifest)
        self.child.manifest = generation.manifest
        root = Root(bytes(directory))
        self.child.serve(generation, Files(root, {}.get, manifest.manifest.users, manifest.manifest.groups))  # type: ignore[arg-type]
        self.address: Address = ("127.0.0.1", self.child.port)


class Master(SwarmServer):
    """A server of the master's namespace whose offers the test makes: `backend.requests` are the slots that ask."""

    def __init__(self, directory: Path, manifest: downloads.Served) -> None:
        super().__init__(RecordingBackend(served(directory, manifest.manifest)))
        self.port: int = self.address[1]

    def name(self, news: News | Scanning) -> None:
        """Send news, or how far a scan is, to each node that reads `peers`, when there is one."""
        until(lambda: bool(self.backend.news))
        for stream in self.backend.news:
            stream.put(news.encode())
        self.retry()


def configured(port: int, **given: Any) -> Config:
    """The options of a node whose master is on this machine."""
    options: dict[str, Any] = dict.fromkeys((field.name for field in fields(Config)), False)
    absent: dict[str, Any] = dict.fromkeys(
        ("cache", "http", "log", "pidfile", "secret", "socket", "munge_socket", "tls_cert", "tls_key", "tls_ca")
    )
    limits: dict[str, Any] = {"workers": 1, "max_direct": 6, "retries": 0, "timeout": 10.0, "linger": 60.0, "debug": 0}
    limits |= {"stall_timeout": 60.0, "log_format": "plain"}
    limits |= {
        "max_delete": NO_LIMIT,
        "open": (),
        "open_to": (),
        "exclude": (),
        "ports": None,
        "rate": None,
        "rate_up": None,
        "munge_users": (),
    }
    limits["auth"] = ("secret",) if given.get("secret") else ()
    return Config(**{**options, **absent, **limits, "host": "127.0.0.1", "port": port, "bind": "127.0.0.1", **given})
