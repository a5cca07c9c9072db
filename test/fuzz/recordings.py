"""Conversations that have been held, as seeds: those of the C program, and the written ones of test/traces."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from test.support.conversation import parse, steps
from test.support.memory_tree import MemoryTree
from xget_lib.errors import ProtocolViolation
from xget_lib.ninep.dialect import NINEP2000, decode, negotiate
from xget_lib.ninep.messages import TMessage, Tversion

TRACES = Path(__file__).parent.parent / "traces"


@cache
def recordings() -> tuple[tuple[TMessage, ...], ...]:
    """The requests of each conversation, in their order."""
    written = [requests_of_trace(path) for path in sorted(TRACES.glob("*.txt"))]
    recorded = [said for path in sorted(TRACES.glob("c_xget/*.jsonl")) for said in requests_of_recording(path)]
    return tuple(tuple(said) for said in [*recorded, *written] if said)


def requests_of_recording(path: Path) -> list[list[TMessage]]:
    """The requests of each connection of the C program's; long messages are cut off in the recording and left out."""
    connections: dict[int, list[TMessage]] = {}
    for line in path.read_text().splitlines():
        message = json.loads(line)
        frame = bytes.fromhex(message["hex"])
        if message["dir"] == "T" and len(frame) == message["size"]:
            request = decode(frame, NINEP2000)[1]
            assert isinstance(request, TMessage)
            connections.setdefault(message["conn"], []).append(request)
    return list(connections.values())


def requests_of_trace(path: Path) -> list[TMessage]:
    """The requests of a written conversation, without what is no message."""
    tree = MemoryTree()
    said = []
    for step in steps(path.read_text()):
        for line in step.sent:
            if line.startswith("T"):
                message = parse(line, tree)[1]
                assert isinstance(message, TMessage)
                said.append(message)
                if isinstance(message, Tversion):
                    tree.dialect = negotiate(message.version, message.msize) or tree.dialect
    return said


@cache
def frames() -> tuple[bytes, ...]:
    """Every recorded message whole, requests and replies: for what takes bytes."""
    found = []
    for path in sorted(TRACES.glob("c_xget/*.jsonl")):
        for line in path.read_text().splitlines():
            message = json.loads(line)
            frame = bytes.fromhex(message["hex"])
            if len(frame) == message["size"]:
                try:
                    decode(frame, NINEP2000)
                except ProtocolViolation:
                    continue
                found.append(frame)
    return tuple(found)
