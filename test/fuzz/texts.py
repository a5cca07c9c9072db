"""Target: what else strangers send and is decoded here: registrations, news, status, manifests, messages.

Each is refused with an error that has a name, or means something that is within its bounds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from typing import Any

import msgpack

from test.fuzz.choices import Choices
from test.fuzz.grounds import WAYS, WRITTEN
from test.fuzz.speech import spoilt
from test.support import manifests
from xget_lib import ipc
from xget_lib.errors import ProtocolViolation, XGetError
from xget_lib.ipc.codec import LAYOUTS
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.decoding import decode
from xget_lib.manifest.manifest import DIGEST_SIZE, Manifest
from xget_lib.process.channel import Channel, pair
from xget_lib.report.status import table
from xget_lib.swarm.messages import LINE_LIMIT, News, Registration

TEXTS_LIMIT = 40
NUMBERS = (0, 1, -1, 3, 65535, 65536, 2**31, 2**63 - 1, 2**63, 2**64, 10**40, 1.5, 1e308, float("inf"), float("nan"))
STRINGS = ("", "x", "00" * 32, "zz" * 32, "127.0.0.1", "::1", "\x1b[31m", "\ud800", "\0", "x" * 300, "d", "f", "l", "h")
STATUS = {
    "role": "master",
    "path": "/srv",
    "pid": 1,
    "seconds": 2.5,
    "generation": "ab" * 32,
    "files": 3,
    "bytes": 4,
    "chunks": 5,
    "sent": 6,
    "held": 2,
    "workers": [{"pid": 7, "connections": 8, "sent": 9}],
    "children": [{"address": "::1", "port": 10, "held": 1, "generation": "ab" * 32, "seconds": 200}],
}


class Texts:
    """The target. `run` is one case: some texts of one kind."""

    name = "texts"

    def __init__(self) -> None:
        self._ends = pair()

    def run(self, choices: Choices, log: list[str] | None = None) -> int:
        kind = choices.pick((self._registration, self._news, self._status, self._manifest, self._bitmap, self._packet))
        count = 0
        for _ in range(1 + choices.below(TEXTS_LIMIT)):
            count += 1
            if log is not None:
                log.append(kind.__name__)
            kind(choices)
            if choices.exhausted:
                break
        return count

    def rest(self) -> None:
        pass

    def close(self) -> None:
        for end in self._ends:
            end.close()

    def _registration(self, choices: Choices) -> None:
        registration = _read(Registration.decode, self._json(choices, choices.pick(WRITTEN)))
        if registration is not None:
            assert (
                0 < registration.port < 65536
                and 0 <= registration.held < 2**63
                and len(registration.generation) in (0, 32)
            )
            encoded = registration.encode()
            is_long = len(encoded) > LINE_LIMIT // 2  # then what only the status shows may be left out
            assert is_long or Registration.decode(encoded) == registration
            # What goes on to the master fits a message between processes.
            assert len(msgpack.packb(ipc.pack(ipc.NodeRegistered(1, *astuple(registration)[:-1])))) < 1100

    def _news(self, choices: Choices) -> None:
        known = News(bytes(32), 5, (("127.0.0.1", 1), ("::1", 65535))).encode()
        news = _read(News.decode, self._json(choices, known))
        if news is not None:
            assert all(address and 0 < port < 65536 for address, port in news.peers)

    def _status(self, choices: Choices) -> None:
        try:
            status = json.loads(self._json(choices, json.dumps(STATUS).encode()))
        except (ValueError, RecursionError):
            return
        if isinstance(status, dict):
            text = _read(table, status)
            assert text is None or all(each.isprintable() for line in text.splitlines() for each in line)

    def _json(self, choices: Choices, known: bytes) -> bytes:
        """Nearly a JSON text that means something."""
        if choices.chance(0.3):
            return spoilt(known, choices)
        try:
            value = json.loads(known)
        except (ValueError, RecursionError):
            return known
        return json.dumps(_altered(value, choices)).encode()

    def _bitmap(self, choices: Choices) -> None:
        size = choices.pick((0, 1, 7, 8, 9, 1000))
        bitmap = _read(lambda data: Bitmap.from_bytes(data, size), choices.octets(choices.below(128)))
        if bitmap is not None:
            assert bitmap.as_int() < 1 << size and bitmap.count <= size

    def _manifest(self, choices: Choices) -> None:
        whole: list[Any] = msgpack.unpackb(self._made_manifest(choices).encode_body(), strict_map_key=False)
        for _ in range(choices.pick((0, 0, 1, 2))):
            at = choices.below(len(whole))
            if isinstance(whole[at], bytes) and choices.chance(0.8):
                whole[at] = spoilt(whole[at], choices)
            else:
                whole[at] = _any(choices)
        try:
            data = msgpack.packb(whole)
        except (OverflowError, ValueError, TypeError):
            return
        data = spoilt(data, choices) if choices.chance(0.2) else data
        if choices.chance(0.1):
            _read(decode, spoilt(manifests.indexed(data), choices))
        manifest = _read(decode, manifests.indexed(data))
        if manifest is not None:
            assert manifest.encode_body() == data
            assert manifest.layout.piece_count * DIGEST_SIZE == len(manifest.digests)
            for number, entry in enumerate(manifest.entries):
                assert manifest.entries.find(entry.path) == number
                assert not entry.path.startswith(b"/") and b".." not in entry.path.split(b"/")

    def _made_manifest(self, choices: Choices) -> Manifest:
        """A manifest with a few entries of any kind."""
        paths = {choices.pick(WAYS).encode().strip(b"/") for _ in range(choices.below(8))}
        paths = {path for path in paths if all(name not in (b"", b".", b"..") for name in path.split(b"/"))}
        parents = {b"/".join(path.split(b"/")[:depth]) for path in paths for depth in (1, 2)} - paths
        entries = [manifests.root()]
        extents: dict[bytes, Sequence[int]] = {}
        firsts: list[bytes] = []
        for path in sorted(paths | parents, key=lambda path: (path.count(b"/"), path)):
            kind = choices.pick("dffflcph" if firsts else "dfffl") if path not in parents else "d"
            size = choices.pick((0, 10, 100_000)) if kind == "f" else 0
            target = {"l": b"../there", "h": firsts[0] if firsts else b""}.get(kind, b"")
            if any(path.startswith(entry.path + b"/") for entry in entries if entry.kind != "d"):
                continue
            entries.append(manifests.entry(path, kind, size=size, target=target))
            firsts += [path] if kind in "fl" else []
            if size == 100_000 and choices.chance(0.3):
                extents[path] = (4096, 8192)
        return manifests.manifest(*entries, extents=extents)

    def _packet(self, choices: Choices) -> None:
        """A packet between processes: a worker that breaks the protocol must not take the master with it."""
        name = choices.pick(sorted(LAYOUTS))
        here, there = self._ends
        values = [_any(choices) for _ in range(len(LAYOUTS[name].names) + choices.pick((0, 0, 0, 1)))]
        try:
            packet = msgpack.packb([name, *values])
        except (OverflowError, ValueError, TypeError):
            return
        packet = spoilt(packet, choices) if choices.chance(0.3) else packet
        here._socket.sendmsg([packet or b"\0"], [])
        received = _read(Channel.receive, there)
        if received is not None:
            assert not received[1]
            message = _read(ipc.unpack, received[0])
            assert message is None or ipc.unpack(ipc.pack(message)) == message


def _read(read: Callable[[Any], Any], data: Any) -> Any:
    """What it says, None where it is refused."""
    try:
        return read(data)
    except XGetError as error:
        assert isinstance(error, ProtocolViolation) or read == decode, error
        return None


def _altered(value: Any, choices: Choices) -> Any:
    """The same with another value somewhere inside."""
    if isinstance(value, dict) and value and not choices.chance(0.1):
        key = choices.pick(sorted(value))
        if choices.chance(0.1):
            return {name: each for name, each in value.items() if name != key}
        return value | {key: _altered(value[key], choices)}
    if isinstance(value, list) and value and not choices.chance(0.1):
        at = choices.below(len(value))
        return [*value[:at], _altered(value[at], choices), *value[at + 1 :]]
    return _any(choices)


def _any(choices: Choices) -> Any:
    """Some value that JSON or msgpack carries."""
    match choices.below(8):
        case 0 | 1 | 2:
            return choices.pick(NUMBERS)
        case 3 | 4:
            return choices.pick(STRINGS)
        case 5:
            return choices.pick((None, True, False))
        case 6:
            return [choices.pick(NUMBERS) for _ in range(choices.below(4))]
    return {choices.pick(STRINGS): choices.pick(NUMBERS) for _ in range(choices.below(4))}


@contextmanager
def texts() -> Iterator[Texts]:
    made = Texts()
    try:
        yield made
    finally:
        made.close()
