"""Manifests with everything in them: an example, the smallest, and any."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from test.support.manifests import (
    directory,
    entry,
    file,
    hard_link,
    link,
    manifest,
    root,
)
from xget_lib.manifest.entry import Entry, EntryMetadata
from xget_lib.manifest.manifest import Manifest, Omitted

KIB = 1024
ACL = (b"system.posix_acl_access", b"\2\0\0\0")

SMALL = manifest(
    root(),
    directory(b"a"),
    file(b"a/b", 70_000),
    link(b"a/z", b"../../etc/passwd"),
    file(b"a/\xff\n", 0),
    file(b"a.c", 300_000, EntryMetadata(0o644, 1, 2, ((b"security.capability", b"\1"), ACL))),
    hard_link(b"ab", b"a.c"),
    entry(b"a/pipe", "p"),
    entry(b"a/null", "c", device=(1, 3)),
    entry(b"a/sda", "b", device=(8, 0)),
    directory(b"a/deep"),
    hard_link(b"a/deep/z", b"a/z"),
    users={0: "root", 1: "daemon"},
    groups={2: "domain users"},
    extents={b"a.c": (4096, 8192, 200 * KIB, 4096)},
    omitted=[Omitted(b"a/secret", "Permission denied")],
)


SINGLE = manifest(file(b"f"))


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """A valid manifest with everything in it: a tree of odd names, links of both kinds, holes, far times."""
    names = st.binary(min_size=1, max_size=6).filter(lambda name: name not in (b".", b"..") and not {0, 47} & {*name})
    entries: dict[bytes, Entry] = {b"": root(draw(metadata()), draw(times))}
    extents: dict[bytes, tuple[int, ...]] = {}
    for _ in range(draw(st.integers(0, 12))):
        parent = draw(st.sampled_from(sorted(path for path, entry in entries.items() if entry.kind == "d")))
        name = draw(names)
        path = parent + b"/" + name if parent else name
        if path not in entries:
            entries[path] = made = draw(things(path))
            if made.kind == "f" and made.size > 64 * KIB and draw(st.booleans()):
                extents[path] = draw(st.sampled_from([(), (4096, 8192), (0, 4096, 8192, 56 * KIB)]))
    firsts = sorted(path for path, entry in entries.items() if entry.kind not in "dh" and b"/" not in path)
    if firsts and firsts[0] + b"+" not in entries:
        entries[firsts[0] + b"+"] = hard_link(firsts[0] + b"+", firsts[0])
    whole = manifest(*entries.values(), extents=extents)
    names_of = st.text("ab-9 ü", min_size=1, max_size=8)
    users = draw(st.dictionaries(st.sampled_from([entry.uid for entry in whole.entries]), names_of))
    groups = draw(st.dictionaries(st.sampled_from([entry.gid for entry in whole.entries]), names_of))
    reasons = st.tuples(names_of, st.booleans())
    omitted = draw(st.dictionaries(st.binary(min_size=1, max_size=4).filter(lambda path: 0 not in path), reasons))
    digests = bytes(draw(st.binary(min_size=len(whole.digests), max_size=len(whole.digests))))
    said = tuple(Omitted(path, *why) for path, why in sorted(omitted.items()))
    return Manifest(whole.entries, digests, users, groups, said)


@st.composite
def metadata(draw: st.DrawFn) -> EntryMetadata:
    number = st.one_of(st.integers(0, 3), st.integers(0, (1 << 32) - 2))
    xattrs = draw(st.dictionaries(st.binary(min_size=1, max_size=3).filter(lambda name: 0 not in name), st.binary()))
    return EntryMetadata(draw(st.integers(0, 0o7777)), draw(number), draw(number), tuple(sorted(xattrs.items())))


times = st.one_of(st.integers(-3, 3), st.integers(-(1 << 63), (1 << 63) - 1))


@st.composite
def things(draw: st.DrawFn, path: bytes) -> Entry:
    kind = draw(st.sampled_from("ddfffflcbp"))
    fields: dict[str, Any] = {}
    if kind == "f":
        fields["size"] = draw(st.one_of(st.just(0), st.integers(0, 200_000)))
    elif kind == "l":
        fields["target"] = draw(st.binary(min_size=1, max_size=9).filter(lambda target: 0 not in target))
    elif kind in "cb":
        fields["device"] = draw(st.tuples(st.integers(0, (1 << 32) - 1), st.integers(0, 3)))
    return entry(path, kind, draw(metadata()), draw(times), **fields)
