"""What strangers may try on the real trees: requests at random, and bytes that are none.

Whatever they send, a session raises nothing but ProtocolViolation, every reply to a read is what it says it is, every
descriptor is closed again, and nothing outside the served directory is opened: the names they walk to include all the
ways out that a directory can have.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from test.support.backends import RecordingBackend, RecordingClassicBackend, served
from test.support.conversation import drain
from test.support.descriptors import open_descriptors
from test.support.downloads import manifest_of
from test.support.strategies import requests
from xget_lib.classic import tree
from xget_lib.errors import ProtocolViolation, XGetError
from xget_lib.fs.rooted import Root
from xget_lib.manifest.manifest import Manifest
from xget_lib.ninep.dialect import NINEP2000, decode, encode
from xget_lib.ninep.file import OpenExtent
from xget_lib.ninep.limits import Limits
from xget_lib.ninep.messages import (
    Message,
    Tattach,
    Tclunk,
    Tflush,
    Topen,
    Tread,
    Tremove,
    Tstat,
    Tversion,
    Twalk,
    Twrite,
)
from xget_lib.ninep.session import Reply, Session
from xget_lib.ninep.wire import NOFID, NOTAG
from xget_lib.serve import swarm
from xget_lib.serve.attach import attach
from xget_lib.serve.files import Files

SECRET = b"not for strangers"

CONTROL = ["manifest", "data", "have", "peers", "offer", "places", "log", "status"]
OF_A_FILE = ["data", "redir", "avail", "checksum"]
INSIDE = ["hello", "deep", "leaf", "large", "fifo", "link", "é", "\x01", "x" * 300]
OUTSIDE = [
    "out",
    "secret",
    "absolute",
    "up",
    "..",
    ".",
    "",
    "/",
    "/etc/passwd",
    "../outside",
    "deep/leaf",
    "..\\..",
    "...",
]
NAMES = st.sampled_from([*CONTROL, *OF_A_FILE, *INSIDE, *OUTSIDE])
FIDS = st.integers(0, 4)
OFFSETS = st.sampled_from([0, 0, 1, 40, 33_000, 2**31, 2**63, 2**64 - 1])
COUNTS = st.sampled_from([0, 1, 100, 40_000, 2**20, 2**31, 2**32 - 1])
WRITTEN = st.sampled_from(
    [b"", b"\0", b'{"port": 1, "generation": "", "held": 0}', b'{"port": 1e999}', bytes(70_000), b"1 me\0"]
)

ANYTHING: st.SearchStrategy[Message] = requests | st.one_of(
    st.builds(Twalk, FIDS, FIDS, st.lists(NAMES, max_size=4).map(tuple)),
    st.builds(Topen, FIDS, st.sampled_from([0, 0, 1, 2, 3, 16, 64, 255])),
    st.builds(Tread, FIDS, OFFSETS, COUNTS),
    st.builds(Twrite, FIDS, OFFSETS, WRITTEN),
    st.builds(Tstat, FIDS),
    st.builds(Tclunk, FIDS),
    st.builds(Tremove, FIDS),
    st.builds(Tflush, st.integers(0, 40)),
    st.builds(
        Tattach, FIDS, st.just(NOFID), st.just(""), st.sampled_from(["swarm", "files", "classic", "", "elsewhere"])
    ),
)


@st.composite
def visits(draw: st.DrawFn, aname: str) -> list[Message]:
    """A fid goes somewhere, is opened, and used."""
    fid = draw(st.integers(1, 4))
    names = [(name,) for name in (CONTROL if aname == "swarm" else [*INSIDE, *OUTSIDE])]
    files = [(file, name) for file in ("hello", "large") for name in OF_A_FILE] if aname == "classic" else []
    one: st.SearchStrategy[tuple[str, ...]] = st.sampled_from([*names, *files])
    use = st.builds(Tread, st.just(fid), OFFSETS, COUNTS) | st.builds(Twrite, st.just(fid), OFFSETS, WRITTEN)
    return [
        Twalk(0, fid, draw(one | st.lists(NAMES, max_size=4).map(tuple))),
        Topen(fid, draw(st.sampled_from([0, 1, 2]))),
        *draw(st.lists(use, min_size=1, max_size=4)),
        Tclunk(fid),
    ]


@st.composite
def speeches(draw: st.DrawFn, *anames: str) -> tuple[str, list[Message]]:
    """A namespace, and what a stranger says there: two visits for each message that may be anything."""
    aname = draw(st.sampled_from(anames))
    said: list[Message] = []
    for visit in draw(st.lists(st.sampled_from([True, True, False]), min_size=2, max_size=10)):
        said += draw(visits(aname)) if visit else [draw(ANYTHING)]
    return aname, said


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("strangers")
    (top / "outside").mkdir()
    (top / "outside" / "secret").write_bytes(SECRET)
    served = top / "served"
    (served / "deep").mkdir(parents=True)
    (served / "hello").write_bytes(b"hello")
    (served / "deep" / "leaf").write_bytes(b"leaf")
    (served / "large").write_bytes(bytes(40_000))
    (served / "out").symlink_to("../outside")
    (served / "secret").symlink_to("../outside/secret")
    (served / "absolute").symlink_to(top / "outside")
    (served / "up").symlink_to("..")
    os.mkfifo(served / "fifo")
    return served


@pytest.fixture(scope="module")
def manifest(directory: Path) -> Manifest:
    return manifest_of(directory)


@contextmanager
def only_below(directory: Path) -> Iterator[None]:
    """Inside, every file that is opened is the directory or below it, and all are closed at the end."""
    real_open = os.open
    before = open_descriptors()

    def checked_open(path: str | bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        descriptor = real_open(path, flags, mode, dir_fd=dir_fd)
        there = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        assert there.is_relative_to(directory), f"{path!r} is {there}"
        assert flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC) == 0
        return descriptor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", checked_open)
        yield
    assert open_descriptors() == before


class Stranger:
    """A session over the real trees, and what comes back from it."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self._root = Root(bytes(directory))
        files = Files(self._root, lambda path: True, {}, {})
        self._served = served(self._root, manifest)
        self._backend = RecordingBackend(self._served)
        self._classic = RecordingClassicBackend(self._served)
        trees = {
            "classic": lambda: tree.tree(self._classic),
            "files": files.tree,
            "swarm": lambda: swarm.master_tree(self._backend),
        }
        self._session = Session(attach(trees), limits=Limits(max_fids=50))

    def says(self, data: bytes) -> bool:
        """Takes what is sent and sends what there is to say; whether the connection goes on."""
        try:
            self._session.receive(data)
        except ProtocolViolation:
            return False
        finally:
            for reply in drain(self._session):
                self._send(reply)
        return True

    def close(self) -> None:
        self._session.close()
        assert not self._backend.news
        self._served.manifest.file.close()
        self._root.close()

    def _send(self, reply: Reply) -> None:
        if reply.content is None:
            assert SECRET not in reply.header
            decode(reply.header, NINEP2000)
            return
        source = reply.content.source
        try:
            parts = [source] if isinstance(source, bytes) else source()
        except (XGetError, OSError):
            return
        sent = 0
        for part in parts:
            if isinstance(part, OpenExtent):
                data = os.pread(part.fd, part.length, part.offset)
                os.close(part.fd)
            else:
                data = part
            assert SECRET not in data
            sent += len(data)
        assert sent == reply.content.length


def begin(aname: str) -> list[bytes]:
    return [
        encode(NOTAG, Tversion(65536, "9P2000"), NINEP2000),
        encode(0, Tattach(0, NOFID, "", aname), NINEP2000),
    ]


Meet = Callable[[list[bytes]], None]


@pytest.fixture
def meet(directory: Path, manifest: Manifest) -> Meet:
    """Holds a conversation with what a stranger says."""

    def conversation(said: list[bytes]) -> None:
        with only_below(directory):
            stranger = Stranger(directory, manifest)
            try:
                for data in said:
                    if not stranger.says(data):
                        break
            finally:
                stranger.close()

    return conversation


_ONE_DIRECTORY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@_ONE_DIRECTORY
@given(speech=speeches("swarm", "files", "classic"))
def test_no_request_breaks_a_server_or_leads_out_of_its_directory(
    meet: Meet, speech: tuple[str, list[Message]]
) -> None:
    aname, said = speech
    meet([*begin(aname), *(encode(tag, message, NINEP2000) for tag, message in enumerate(said, start=1))])


@_ONE_DIRECTORY
@given(said=st.lists(st.binary(max_size=200), max_size=20), begun=st.booleans())
def test_no_bytes_break_a_server(meet: Meet, said: list[bytes], begun: bool) -> None:
    meet([*(begin("swarm") if begun else ()), *said])


@_ONE_DIRECTORY
@given(speech=speeches("swarm", "files", "classic"), at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_breaks_a_server(meet: Meet, speech: tuple[str, list[Message]], at: int, bit: int) -> None:
    aname, said = speech
    data = bytearray(b"".join(encode(tag, message, NINEP2000) for tag, message in enumerate(said, start=1)))
    data[at % len(data)] ^= 1 << bit
    meet([*begin(aname), bytes(data)])


@pytest.mark.parametrize(
    "names",
    [
        ("..", "outside", "secret"),
        ("deep", "..", "..", "..", "outside", "secret"),
        ("out", "secret"),
        ("absolute", "secret"),
        ("up", "outside", "secret"),
        ("secret",),
        ("deep/../../outside/secret",),
    ],
)
def test_every_way_out_that_there_is_ends_inside(meet: Meet, names: tuple[str, ...]) -> None:
    """The same as at random, but surely tried."""
    walk = [Twalk(0, 1, names), Topen(1, 0), Tread(1, 0, 100)]
    meet([*begin("files"), *(encode(tag, message, NINEP2000) for tag, message in enumerate(walk, start=1))])
