"""Peers that ask the master and other nodes for more than their share."""

from __future__ import annotations

import time
from contextlib import suppress

from test.faults.lie import Lie
from test.support.plain_client import PlainClient
from xget_lib.errors import XGetError
from xget_lib.ninep.dialect import NINEP2000, encode
from xget_lib.ninep.messages import Tread


class WrongAddresses(Lie):
    does = "registers other ports each second: of nobody, and of the master's number"

    def ports(self, port: int) -> list[int]:
        return [1, self.peer.master[1], 65535, port, 22]


class HoldsOffers(Lie):
    does = "holds 16 slots of the master on each of 8 connections, and never takes a chunk"

    def besides(self) -> None:
        clients = [PlainClient(self.peer.master[1], "swarm", self.peer.master[0]) for _ in range(8)]
        for client in clients:
            request_all(client, "offer")
        time.sleep(1000)


class HoldsTurns(Lie):
    does = "holds 16 turns of each node on each of 3 connections, and never reads"

    def besides(self) -> None:
        held: list[PlainClient] = []
        for address in self.peer.new_nodes():
            for _ in range(3):
                with suppress(OSError, XGetError):
                    held.append(PlainClient(address[1], "swarm", address[0]))
                    request_all(held[-1], "turn")


class OpensFiles(Lie):
    does = "opens 4,096 files on each of 4 connections to the master"

    def besides(self) -> None:
        clients = [PlainClient(self.peer.master[1], "swarm", self.peer.master[0]) for _ in range(4)]
        with suppress(OSError, XGetError):
            for _ in range(4096):
                for client in clients:
                    client.open("manifest")
        time.sleep(1000)


class Floods(Lie):
    does = "sends requests to the master without end behind a read that waits, and reads no answer"

    def besides(self) -> None:
        client = PlainClient(self.peer.master[1], "swarm", self.peer.master[0])
        have = client.open("have")
        client.read(have, 0)
        sock = client.sock
        for tag in range(1, 60_000):
            sock.sendall(request(tag, Tread(have, 0, 100)))
        time.sleep(1000)


class Attaches(Lie):
    does = "connects to the master and the nodes 100 times, attaches, and does nothing"

    def besides(self) -> None:
        held: list[PlainClient] = []
        for _ in range(100):
            with suppress(OSError, XGetError):
                held.append(PlainClient(self.peer.master[1], "swarm", self.peer.master[0]))
        for address in self.peer.new_nodes():
            for _ in range(100):
                with suppress(OSError, XGetError):
                    held.append(PlainClient(address[1], "swarm", address[0]))


def request(tag: int, message: Tread) -> bytes:
    return encode(tag, message, NINEP2000)


def request_all(client: PlainClient, name: str) -> None:
    """Read 16 open files without waiting for an answer."""
    sock = client.sock
    for tag in range(16):
        sock.sendall(request(1000 + tag, Tread(client.open(name, mode=2), 0, 32)))
