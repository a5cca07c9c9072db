"""A short run of the fuzzer, and proof that it would find something: bugs of each kind are put in, and found."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from test.fuzz import crew
from test.fuzz.choices import Choices, Drawn, Seeded
from test.fuzz.conversation import SECRET
from test.fuzz.recordings import recordings
from test.fuzz.speech import SHAPES, requests_of
from test.fuzz.targets import PARTS, Stuck, Target, play, target
from xget_lib.ninep.dialect import DIALECTS
from xget_lib.ninep.fids import Fids
from xget_lib.ninep.framer import Framer
from xget_lib.ninep.messages import Tclunk, TMessage, Tread, Tversion
from xget_lib.ninep.requests import Requests
from xget_lib.ninep.session import Session
from xget_lib.serve.files import Files
from xget_lib.serve.swarm import MasterPeers
from xget_lib.serve.synthetic import Log

ROOT = Path(__file__).parent.parent.parent
CASES = 300
"""In which a bug that was put in must show."""


def test_a_short_run_finds_nothing() -> None:
    """The same command that says ten million."""
    command = [sys.executable, "-m", "test.fuzz", "--messages", "80000", "--seed", "1", "--processes", "2"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170)
    assert ended.returncode == 0 and "nothing found" in ended.stdout, ended.stdout + ended.stderr
    assert "since it was warm" in ended.stdout
    assert all(f"{name} " in ended.stdout for name in PARTS)


@pytest.fixture(scope="module", params=[name for name in PARTS if name != "connection"])
def prepared(request: pytest.FixtureRequest) -> Iterator[Target]:
    with target(request.param) as made:
        yield made


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(data=st.binary(max_size=400))
def test_no_decisions_lead_to_what_must_not_be(prepared: Target, data: bytes) -> None:
    """As the coverage-guided fuzzer decides; what hypothesis finds it makes short."""
    play(prepared, Drawn(data))


def test_every_request_of_every_dialect_is_said() -> None:
    """Also one that was added to a table a moment ago."""
    for name, dialect in DIALECTS.items():
        assert set(requests_of(name)) == {kind for kind in dialect.kinds if issubclass(kind, TMessage)}
        assert set(SHAPES[name]) == set(dialect.kinds)


def test_the_conversations_of_the_c_program_are_among_the_seeds() -> None:
    versions = [said[0].version for said in recordings() if isinstance(said[0], Tversion)]
    assert "9P2000.u" in versions
    assert max(map(len, recordings())) > 30


def found(name: str) -> str:
    """What is found in some cases of a target."""
    with target(name) as played:
        for number in range(CASES):
            try:
                play(played, Seeded(f"{name}:1:{number}"))
            except (Exception, Stuck) as error:
                # What a bug has left open is not this test's business.
                with suppress(Exception):
                    played.rest()
                return f"{type(error).__name__}: {error}"
    return ""


def forgets_to_clunk(self: Fids) -> None:
    self._fids.clear()


def forgets_the_reply(original: Callable[..., Any]) -> Callable[..., Any]:
    def reply(self: Session, tag: int, message: object) -> object:
        return None if isinstance(message, Tclunk) else original(self, tag, message)

    return reply


def answers_too_much(original: Callable[..., Any]) -> Callable[..., Any]:
    def read(self: Fids, request: Tread) -> object:
        self._msize *= 2
        return original(self, request)

    return read


def looks_anywhere(self: Files, path: bytes) -> FileIO:
    return FileIO(os.path.join(self.root.path, b"../outside/secret"))


def raises(error: Exception) -> Callable[..., Any]:
    def raising(*_: object, **__: object) -> object:
        raise error

    return raising


BUGS = [
    ("server", Fids, "clunk_all", lambda original: forgets_to_clunk, "AssertionError"),
    ("server", Session, "_reply", forgets_the_reply, "owed"),
    ("server", Session, "_flush", lambda original: lambda self, oldtag: None, "tag"),
    ("server", Fids, "_read", answers_too_much, "AssertionError"),
    ("server", Files, "open", lambda original: looks_anywhere, "AssertionError"),
    ("server", Files, "look_up", lambda original: raises(KeyError("a bug")), "a bug"),
    ("server", Log, "write", lambda original: raises(MemoryError()), "MemoryError"),
    ("server", Framer, "_size", lambda original: lambda self, frame: len(frame) or None, "error"),
    ("master", MasterPeers, "clunk", lambda original: lambda self: None, "AssertionError"),
    ("client", Requests, "_check", lambda original: lambda self, reply, request: reply, "AssertionError"),
    ("codec", Framer, "_fill", lambda original: lambda self, end: None, "AssertionError"),
]


@pytest.mark.parametrize(("name", "owner", "method", "bug", "what"), BUGS)
def test_a_bug_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, owner: type, method: str, bug: Callable[..., Any], what: str
) -> None:
    monkeypatch.setattr(owner, method, bug(getattr(owner, method)))
    assert what in found(name)


def test_a_case_is_the_same_each_time() -> None:
    logs = []
    for _ in range(2):
        with target("server") as played:
            log: list[str] = []
            play(played, Seeded("server:1:7"), log)
            logs.append([line.partition("qid")[0] for line in log if line.startswith("->")])
    assert logs[0] == logs[1] and len(logs[0]) > 3


class Leaking:
    """A target that keeps something of every message."""

    name = "codec"

    def __init__(self, blocks: int) -> None:
        self._blocks = blocks
        self._kept: list[object] = []

    def run(self, choices: Choices, log: list[str] | None = None) -> int:
        self._kept += [[number] for number in range(10 * self._blocks)]
        return 10

    def rest(self) -> None:
        pass


@pytest.mark.parametrize(("blocks", "finds"), [(0, False), (5, True)])
def test_memory_that_grows_is_found(monkeypatch: pytest.MonkeyPatch, blocks: int, finds: bool) -> None:
    monkeypatch.setattr(crew, "ROUND", 3000)
    at = type("At", (), {"value": b""})()
    rounds = crew.Rounds({"codec": Leaking(blocks)}, "1", 0, 1, at)
    for _ in range(crew.WARM + 5):
        rounds.play()
    assert bool(rounds.end().findings) == finds


def test_a_case_that_takes_too_long_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test.fuzz.targets.LONGEST", 0.05)
    monkeypatch.setattr(Files, "look_up", lambda self, path: all(iter(lambda: 1, 0)))
    assert "Stuck" in found("server")


def test_a_process_that_dies_is_found() -> None:
    code = """
import os
from test.fuzz import codec, crew
codec.Codec.run = lambda self, choices, log=None: os.abort()
tally = crew.Crew(1000, "1", 2, ["codec"]).run(lambda tally: None)
print(sorted(tally.findings))
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "codec:1:0: the process died of it" in ended.stdout, ended.stdout + ended.stderr


def test_what_is_found_can_be_played_again() -> None:
    log = crew.replay("server:1:3")
    assert any(line.startswith("-> ") and "Tversion" in line for line in log)
    assert SECRET.decode() not in "".join(log)
