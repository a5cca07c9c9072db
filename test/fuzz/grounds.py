"""What is served to the fuzzer: real directories with all that a file system holds, and the server's own trees of it.

Outside of the served directory lies a secret, and inside are ways out that a careless server would go.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from test.fuzz.choices import Choices
from test.fuzz.conversation import SECRET
from test.fuzz.speech import Surroundings
from test.support.backends import RecordingBackend, RecordingClassicBackend, served
from test.support.downloads import manifest_of
from test.support.trees import noise, write
from xget_lib.classic import tree
from xget_lib.classic.backend import Backend
from xget_lib.classic.tree import AVAIL, CHECKSUM, DATA, REDIR
from xget_lib.errors import StaleGeneration
from xget_lib.fs.rooted import Root
from xget_lib.ninep.file import File
from xget_lib.ninep.session import Session
from xget_lib.serve import swarm
from xget_lib.serve.attach import CLASSIC, FILES, SWARM, Attach, attach
from xget_lib.serve.files import Files
from xget_lib.serve.served import Served
from xget_lib.swarm.messages import Registration

HUGE = 5 * 2**30  # bytes of a file that is one hole: offsets pass 4 GiB
WRITTEN = (
    Registration(4711, bytes(32), 3).encode(),
    Registration(
        *(4711, bytes(32), 3, True, "done", "", 9, 7, 5),
        name="n1",
        identity="ab",
        sources=(("10.0.0.1", 4711, 2),),
        in_place=True,
    ).encode(),
    Registration(1025, b"", 0, reached=(("10.0.0.1", 4711),)).encode(),
    b'{"port": 1e999, "generation": "", "held": true}',
    b'{"port": 1, "generation": "", "held": 9223372036854775807}',
    b"[" * 900,
    b"",
    b"\0",
    b"\xff" * 16,
    bytes(1025),
    bytes(62_000),
    b"43067 me\0",
    b"43067 me\0",
    b"1 10.0.0.2!65535\0",
    b"0 127.0.0.1!43067\0",
    b"99999999999999999999 x",
    b"a line for the log\n\x1b[31m",
)
CONTROL = ("manifest", "data", "have", "peers", "offer", "turn", "log", "status", "places", "nodes")
WAYS = (
    *("hello", "zero", "file1", "image", "huge", "deep", "many", "deep/er/leaf", "sub/file2", "\u00e9", "n" * 255),
    *("fifo", "null", "socket", "private", "here", "nowhere", "two\nlines", "hello/data", "image/avail", "image/redir"),
    *("image/checksum", "sub/file2/data", "log", "many/7", "deep/../hello", "deep/er/../../image", "..", "", "/"),
    *("out/secret", "secret", "absolute/secret", "up/outside/secret", "../outside/secret", "deep/../../outside/secret"),
    "." * 3 + "/x",
)


def make_directory(top: Path) -> Path:
    """A directory with something of everything, and the secret beside it. Returns what is to be served."""
    (top / "outside").mkdir()
    write(top / "outside" / "secret", SECRET)
    root = top / "served"
    for name in ("deep/er", "sub", "many", "empty"):
        (root / name).mkdir(parents=True)
    write(root / "hello", b"hello, 9P\n")
    write(root / "file1", b"hello xget\n", mode=0o640)
    write(root / "zero", b"")
    write(root / "image", noise(400_000, 1))
    write(root / "sub" / "file2", noise(20_000, 2))
    write(root / "deep" / "er" / "leaf", b"leaf", mode=0o4755)
    write(root / "private", b"private", mode=0)
    write(root / "two\nlines", b"", mtime=-1)
    write(root / "\u00e9", b"text", mtime=2**33 * 10**9)
    write(root / ("n" * 255), b"a long name")
    write(bytes(root) + b"/\xff\xfe", b"a name that is no text")
    os.link(root / "hello", root / "sub" / "hello too")
    for number in range(120):
        write(root / "many" / str(number), b"x" * number)
    ways_out = {"out": "../outside", "secret": "../outside/secret", "absolute": str(top / "outside"), "up": ".."}
    for name, target in {**ways_out, "here": "hello", "nowhere": "no such file", "loop": "loop"}.items():
        os.symlink(target, root / name)
    return root


def make_peculiar(root: Path) -> None:
    """What no manifest holds, or would take too long to be hashed."""
    (root / "huge").touch()
    os.truncate(root / "huge", HUGE)
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(root / "socket"))
    with suppress(PermissionError):
        os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    for name, value in (("user.test", b"value"), ("user.empty", b""), ("user.long", bytes(3000))):
        with suppress(OSError):  # not on every file system
            os.setxattr(root / "hello", name, value)


class Grounds:
    """The trees, as a server has them. A guest is one connection."""

    def __init__(self, root: Path) -> None:
        self.manifest = manifest_of(root)
        make_peculiar(root)
        self._stack = ExitStack()
        self._root = self._stack.enter_context(Root(bytes(root)))
        self._served = served(self._root, self.manifest)
        self._partly = served(self._root, self.manifest, full=False)
        for one in (self._served, self._partly):
            self._stack.callback(one.manifest.file.close)
        self.files = Files(self._root, lambda path: True, {0: "root"}, {0: "root"})

    def close(self) -> None:
        self._stack.close()

    @property
    def surroundings(self) -> list[Surroundings]:
        """What there is to talk about, by namespace."""
        control = [(name,) for name in CONTROL]
        regular = [(*way.split("/"), name) for way in WAYS[:12] for name in (DATA, REDIR, AVAIL, CHECKSUM)]
        ways = [tuple(way.split("/")) for way in WAYS]
        return [
            Surroundings("swarm", control, WRITTEN),
            Surroundings("files", ways, WRITTEN),
            Surroundings("classic", [*ways, *regular, *regular], WRITTEN),
        ]

    def guest(self, choices: Choices) -> NotedGuest:
        return NotedGuest(self, choices)

    def rest(self) -> None:
        """Nothing stays open but the root."""
        self._root.forget()

    def trees(self, swarm_root: Callable[[], File], backend: Backend) -> Mapping[str, Callable[[], File]]:
        """By aname, as a server makes them for each connection."""
        return {CLASSIC: lambda: tree.tree(backend), FILES: self.files.tree, SWARM: swarm_root}

    def generation(self, choices: Choices) -> Served | None:
        """What is served: nothing yet, a part, all."""
        return choices.pick((None, self._partly, self._served, self._served))

    def change(self, choices: Choices) -> None:
        """More is held than before, or less."""
        store = self._partly.store
        store.hold(choices.below(store.layout.chunk_count))
        if choices.chance(0.2):
            store.drop(choices.below(store.layout.file_count))


class NotedGuest:
    """A guest (see `server.Guest`) of a backend that records."""

    def __init__(self, grounds: Grounds, choices: Choices) -> None:
        self._grounds = grounds
        self._choices = choices
        generation = grounds.generation(choices)
        self._backend = RecordingBackend(generation)
        self._swarm_tree = swarm.master_tree if choices.chance(0.5) else swarm.child_tree
        self._classic = RecordingClassicBackend(generation)
        self._session: Session | None = None

    @property
    def attach(self) -> Attach:
        return attach(self._grounds.trees(lambda: self._swarm_tree(self._backend), self._classic))

    def meet(self, session: Session) -> None:
        self._session = session

    def happen(self) -> None:
        backend = self._backend
        for stream in backend.news:
            stream.replace(b"news\n")
        for stream in backend.requests.values():
            stream.put(b"%d\n" % self._choices.below(100))
        for answer in (*backend.answers, *self._classic.answers):
            if self._choices.chance(0.8):
                answer.put(b"{}\n")
            else:
                answer.fail(StaleGeneration(b"hello"))
        for notes in (backend.answers, backend.said, self._classic.answers, self._classic.said):
            notes.clear()
        self._classic.namespace.ending = self._choices.chance(0.05)
        self._grounds.change(self._choices)
        assert self._session is not None
        self._session.retry()

    def end(self) -> None:
        assert not self._backend.requests
        assert not self._backend.news or self._swarm_tree is swarm.child_tree


@contextmanager
def grounds() -> Iterator[Grounds]:
    """The directory and its trees, for as long as the `with` lasts."""
    with TemporaryDirectory(prefix="xget-fuzz-") as top:
        made = Grounds(make_directory(Path(top)))
        try:
            yield made
        finally:
            made.close()
