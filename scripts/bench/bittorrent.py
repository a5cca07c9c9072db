"""BitTorrent: aria2 and libtorrent, with a tracker of ours, each as seeder and as node.

Every node goes on serving when it has everything. Nodes are told of each other by the tracker and, as both programs
do by default, by each other (peer exchange); there is nothing else to find, so DHT and local discovery are off.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from .payload import Payload
from .tools import CHECKOUT, PORT, Stage, Tool, first_line, quoted, shell

_TRACKER_PORT = 6969
_PIECES = 512
"""About as many pieces as other makers of torrents would choose."""
_UNSHAPED = 40_000_000_000
"""Bits per second that are not reached."""
_DEBIAN_PYTHON = "/usr/bin/python3"
"""Where Debian's package python3-libtorrent can be imported; an environment of our own does not see it."""


def bencoded(value: int | bytes | str | list[object] | dict[str, object] | object) -> bytes:
    """BitTorrent's encoding (BEP 3). Dictionaries are sorted by key."""
    match value:
        case int():
            return b"i%de" % value
        case str():
            return bencoded(value.encode())
        case bytes():
            return b"%d:%s" % (len(value), value)
        case list():
            return b"l" + b"".join(map(bencoded, value)) + b"e"
        case dict():
            items = sorted(value.items())
            return b"d" + b"".join(bencoded(key) + bencoded(one) for key, one in items) + b"e"
    raise TypeError(value)


def piece_length(size: int) -> int:
    """Bytes; a power of two from 16 KiB to 4 MiB."""
    return min(max(1 << max(0, size // _PIECES).bit_length(), 16 << 10), 4 << 20)


def make_torrent(payload: Payload, tracker: str) -> bytes:
    """A .torrent file (BEP 3) of the payload's files, without a directory of their own where it is a single one."""
    length = piece_length(payload.size)
    pieces, pending = [], bytearray()
    for name in payload.files:
        with (payload.root / name).open("rb") as file:
            while data := file.read(4 << 20):
                pending += data
                whole = len(pending) - len(pending) % length
                pieces += [hashlib.sha1(pending[at : at + length]).digest() for at in range(0, whole, length)]
                del pending[:whole]
    if pending:
        pieces.append(hashlib.sha1(pending).digest())
    info: dict[str, object] = {"piece length": length, "pieces": b"".join(pieces)}
    if payload.is_tree:
        # The torrent's name is the top directory; it stands in every path, so that nothing has to be moved.
        info["name"] = payload.files[0].parts[0]
        info["files"] = [
            {"length": (payload.root / name).stat().st_size, "path": list(name.parts[1:])} for name in payload.files
        ]
    else:
        info |= {"name": str(payload.files[0]), "length": payload.size}
    return bencoded({"announce": tracker, "info": info})


class _BitTorrent(Tool):
    goes_on = True

    def head(self, stage: Stage) -> list[list[str]]:
        torrent = stage.work / "payload.torrent"
        torrent.write_bytes(make_torrent(stage.payload, f"http://{stage.head}:{_TRACKER_PORT}/announce"))
        tracker = quoted(sys.executable, "-m", "scripts.bench.tracker", stage.head, _TRACKER_PORT)
        there = f"/dev/tcp/{stage.head}/{_TRACKER_PORT}"
        seeder = quoted(*self.peer(stage, torrent, -1, stage.payload.root))
        # A seeder that finds no tracker at first waits for long before it asks again.
        wait = f"until (exec 3<>{there}) 2>/dev/null; do sleep 0.05; done"
        return [shell(f"PYTHONPATH={quoted(CHECKOUT)} {tracker} &", wait, f"exec {seeder}")]

    def node(self, stage: Stage, node: int) -> list[str]:
        return self.peer(stage, stage.work / "payload.torrent", node, stage.destination(node))

    def peer(self, stage: Stage, torrent: Path, node: int, directory: Path) -> list[str]:
        """The command of a node, or of the head as node -1."""
        raise NotImplementedError


class Aria2(_BitTorrent):
    name = "aria2"
    package = "aria2"
    programs = ("aria2c",)

    def peer(self, stage: Stage, torrent: Path, node: int, directory: Path) -> list[str]:
        done = stage.work / f"done-{node}"
        done.write_text(f"#!/bin/sh\ntouch {quoted(stage.mark(node))}\n")
        done.chmod(0o755)
        options = {
            "dir": directory,
            "listen-port": PORT,
            "check-integrity": "true" if node < 0 else "false",
            "seed-ratio": "0.0",
            "bt-max-peers": "0",
            # Whoever is slower than this looks for more peers.
            "bt-request-peer-speed-limit": (stage.rate or _UNSHAPED) // 8,
            # Without it, a tracker is asked again after minutes, and those that came first know nobody until then.
            "bt-tracker-interval": 5,
            "enable-dht": "false",
            "file-allocation": "none",
            "summary-interval": 0,
            "console-log-level": "warn",
            "max-overall-upload-limit": 0,
            "on-bt-download-complete": done,
        }
        return ["aria2c", "--no-conf", *(f"--{key}={value}" for key, value in options.items()), str(torrent)]


class Libtorrent(_BitTorrent):
    name = "libtorrent"
    package = "python3-libtorrent"

    def missing(self) -> str:
        try:
            return "" if self.version() else self.package
        except (OSError, subprocess.SubprocessError):
            return self.package

    def version(self) -> str:
        said = first_line(_DEBIAN_PYTHON, "-c", "import libtorrent; print(libtorrent.version)")
        return f"libtorrent {said}" if said[:1].isdigit() else ""

    def peer(self, stage: Stage, torrent: Path, node: int, directory: Path) -> list[str]:
        program = Path(__file__).with_name("libtorrent_peer.py")
        whose = stage.head if node < 0 else stage.address(node)
        words = (program, torrent, directory, f"{whose}:{PORT}", stage.mark(node))
        return [_DEBIAN_PYTHON, *map(str, words)]
