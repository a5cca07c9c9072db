"""9P conversations as text, and replaying them against a session. They are in test/traces.

    # A paragraph of arrows is a step: requests that arrive together, then all replies to them, in order.
    -> Tversion msize=8192 version=9P2000.L
    <- Rversion msize=8192 version=9P2000

    -> Twalk tag=1 fid=0 newfid=1 wname=[deep er]
    <- Rwalk tag=1 wqid=[9.7.d 10.7.d]

A tag that is left out is 0, and in Tversion and Rversion NOTAG. A qid is path.version, with `.d` for a directory.
Bytes are 'text', a file's bytes as image[0:100], directory entries as stats(hello image) or stats(nothing), or in
9P2000.L those of a whole directory as names(deep). Fields that the dialect does not have are left out. Of a request
that is always refused the fields are `fid` and `rest`, the bytes after the fid.

    -> hex 0700000000        bytes that are no message
    <- closed 'why'          the connection must end
    ! tell 'text'            the file `news` changes, and waiting reads are asked again
    ! count fids=2 waiting=1 how many fids and waiting reads the session has now
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from test.support.memory_tree import MemoryFile, MemoryTree
from xget_lib.errors import ProtocolViolation
from xget_lib.ninep import messages, wire
from xget_lib.ninep.dialect import DIALECTS, NINEP2000, NINEP2000_U, decode, encode
from xget_lib.ninep.limits import Limits
from xget_lib.ninep.messages import Message, Rread, Rversion, Tattach, TMessage, Tversion, rread_header
from xget_lib.ninep.session import Reply, Session
from xget_lib.ninep.stat import DONT_TOUCH, PLAIN_STAT, UNIX_STAT, DirectoryEntry
from xget_lib.ninep.wire import NOFID, NOTAG, QTDIR, Field, Integer, Layout, Qid, QidField, Repeated, String

_STAT_FORMATS = {NINEP2000: PLAIN_STAT, NINEP2000_U: UNIX_STAT}
_ENTRY = Layout.of(DirectoryEntry, unix=True, linux=True)
_FIELD = re.compile(r"(\w+)=('[^']*'|\[[^]]*\]|\w+\([^)]*\)|\S+)")


def number(text: str, _tree: MemoryTree) -> int:
    """A decimal, a hexadecimal, or names from the manual such as NOFID or OREAD|OTRUNC."""
    total = 0
    for word in text.split("|"):
        total |= int(word, 0) if word[0].isdigit() else getattr(wire, word, None) or getattr(messages, word)
    return total


def string(text: str, _tree: MemoryTree) -> str:
    return str(ast.literal_eval(text)) if text.startswith("'") else text


def qid(text: str, _tree: MemoryTree) -> Qid:
    path, version, *directory = text.split(".")
    return Qid(QTDIR if directory else 0, int(version), int(path))


def octets(text: str, tree: MemoryTree) -> bytes:
    if text == "DONT_TOUCH":
        return DONT_TOUCH.pack(_STAT_FORMATS[tree.dialect])
    if text.startswith("'"):
        return string(text, tree).encode("latin-1")
    if names := re.fullmatch(r"names\((.*)\)", text):
        return linux_entries(tree.find(names[1]))
    if entries := re.fullmatch(r"stats\((.*)\)", text):
        paths = [] if entries[1] == "nothing" else entries[1].split()
        return b"".join(tree.find(path).stat().pack(_STAT_FORMATS[tree.dialect]) for path in paths)
    if part := re.fullmatch(r"(\S+)\[(\d*):(\d*)\]", text):
        return tree.find(part[1]).text[int(part[2] or 0) : int(part[3]) if part[3] else None]
    raise ValueError(text)


def linux_entries(directory: MemoryFile) -> bytes:
    """All entries of a directory, as in an Rreaddir."""
    children = enumerate(directory.children or (), start=1)
    entries = (DirectoryEntry(child.qid, number, child.kind, child.name) for number, child in children)
    return b"".join(part for entry in entries for part in _ENTRY.pack(entry))


def value(text: str, field: Field, tree: MemoryTree) -> Any:
    """The value of a field that a line writes as `text`."""
    match field:
        case Integer():
            return number(text, tree)
        case String():
            return string(text, tree)
        case QidField():
            return qid(text, tree)
        case Repeated():
            return tuple(value(each, field.each, tree) for each in text[1:-1].split())
    return octets(text, tree)


def parse(line: str, tree: MemoryTree) -> tuple[int, Message]:
    """The tag and the message of a line, which must have every field of the tree's dialect."""
    name, _, rest = line.partition(" ")
    values = dict(_FIELD.findall(rest))
    assert not _FIELD.sub("", rest).strip(), f"not understood: {line}"
    dialect = DIALECTS[tree.dialect]
    make, layout = next((make, layout) for known, make, layout in dialect.by_number.values() if known == name)
    tag = values.pop("tag", None)
    message = make(**{name: value(values.pop(name), field, tree) for name, field in layout.fields.items()})
    assert not values, f"{name} has no {values}"
    if tag is None:
        return NOTAG if isinstance(message, Tversion | Rversion) else 0, message
    return number(tag, tree), message


@dataclass
class Step:
    """Lines of a trace that belong together."""

    line: int
    sent: list[str]
    answered: list[str]


def steps(text: str) -> Iterator[Step]:
    step = Step(0, [], [])
    for at, line in enumerate([*text.splitlines(), ""], start=1):
        mark, _, rest = line.strip().partition(" ")
        if step.sent and (mark not in ("->", "<-", "!") or (mark != "<-" and step.answered)):
            yield step
            step = Step(0, [], [])
        if mark in ("->", "!"):
            step.line = step.line or at
            step.sent.append(rest if mark == "->" else f"! {rest}")
        elif mark == "<-":
            step.answered.append(rest)
        else:
            assert not mark or mark.startswith("#"), f"line {at}: {line}"


def drain(session: Session) -> Iterator[Reply]:
    while (reply := session.next_reply()) is not None:
        yield reply


def frame_of(reply: Reply) -> bytes:
    """The reply as it is sent over the network; the source of a MemoryTree's Content is its bytes."""
    if reply.content is None:
        return reply.header
    data = reply.content.source
    assert isinstance(data, bytes) and len(data) == reply.content.length
    assert reply.header == rread_header(reply.tag, len(data))
    return encode(reply.tag, Rread(data), NINEP2000)


def say(session: Session, *said: TMessage, first_tag: int = 0) -> list[Message]:
    """Send 9P2000 messages together, with tags from `first_tag` on. Returns all replies."""
    for tag, message in enumerate(said, start=first_tag):
        session.receive(encode(NOTAG if isinstance(message, Tversion) else tag, message, NINEP2000))
    return [decode(frame_of(reply), NINEP2000)[1] for reply in drain(session)]


def attached(tree: MemoryTree | None = None, **limits: Any) -> Session:
    """A session in which fid 0 is the root of the tree."""
    session = Session((tree or MemoryTree()).attach, limits=Limits(**limits))
    say(session, Tversion(8192, "9P2000"), Tattach(0, NOFID, "glenda", ""))
    return session


def replay(path: Path, *, at_once: int) -> None:
    """Replay the conversation in `path`; the requests of a step arrive `at_once` bytes at a time."""
    tree = MemoryTree()
    session = Session(tree.attach, max_msize=65536, limits=Limits(max_fids=50, max_tags=20))
    for step in steps(path.read_text()):
        tree.dialect = session.dialect
        end: list[str] = []
        try:
            for chunk in _cut(b"".join(_carry_out(line, tree, session) for line in step.sent), at_once):
                session.receive(chunk)
        except ProtocolViolation as violation:
            end = [f"closed {str(violation)!r}"]
        replies = [*(decode(frame_of(reply), session.dialect) for reply in drain(session)), *end]
        tree.dialect = session.dialect
        expected = [line if line.startswith("closed ") else parse(line, tree) for line in step.answered]
        assert replies == expected, f"{path.name}:{step.line}: {replies} instead of {expected}"
    session.close()
    assert [handle.clunks for handle in tree.handles] == [1] * len(tree.handles), path.name


def _carry_out(line: str, tree: MemoryTree, session: Session) -> bytes:
    """Do what a line says. Returns the bytes to send."""
    if line.startswith("hex "):
        return bytes.fromhex(line.removeprefix("hex "))
    if line.startswith("! tell "):
        tree.tell(octets(line.removeprefix("! tell "), tree))
        session.retry()
        return b""
    if line.startswith("! count "):
        assert line == f"! count fids={session.fid_count} waiting={session.waiting}"
        return b""
    return encode(*parse(line, tree), tree.dialect)


def _cut(data: bytes, at_once: int) -> Iterator[bytes]:
    for at in range(0, len(data), at_once):
        yield data[at : at + at_once]
