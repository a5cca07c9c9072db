"""Hypothesis strategies for 9P: any message, made from what its dataclass says about its fields."""

from __future__ import annotations

import os
import re
from dataclasses import fields

from hypothesis import strategies as st

from xget_lib.ninep.messages import MESSAGES, NINEP2000, NINEP2000_L, Message, TMessage
from xget_lib.ninep.stat import Stat
from xget_lib.ninep.wire import MAXWELEM, Qid

U8, U16, U32, U64 = (st.integers(0, 256**size - 1) for size in (1, 2, 4, 8))

# Text that 9P can carry: no NUL, and no surrogates, which are not UTF-8.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)

qids = st.builds(Qid, U8, U32, U64)

stats = st.builds(
    Stat,
    type=U16,
    dev=U32,
    qid=qids,
    mode=U32,
    atime=U32,
    mtime=U32,
    length=U64,
    name=texts,
    uid=texts,
    gid=texts,
    muid=texts,
)

_SIZES = {"[1]": U8, "[2]": U16, "[4]": U32, "[8]": U64}
_KINDS: dict[object, st.SearchStrategy[object]] = {
    "str": texts,
    "bytes": st.binary(max_size=200),
    "Qid": qids,
    "tuple[str, ...]": st.lists(texts, max_size=MAXWELEM).map(tuple),
    "tuple[Qid, ...]": st.lists(qids, max_size=MAXWELEM).map(tuple),
}


# What Linux takes for a name: any bytes but NUL, as os.fsdecode has them.
linux_names = st.binary(max_size=40).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")))


def message_of(kind: type[Message], dialect: str = NINEP2000) -> st.SearchStrategy[Message]:
    """Any message of a kind, with the fields that a dialect carries."""
    layout = MESSAGES[dialect][kind][1]
    values: dict[str, st.SearchStrategy[object]] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name not in layout.names:
            continue
        if field.type == "int":
            size = re.search(rf"\b{field.name}(\[.\])", layout.synopsis)
            assert size is not None
            values[field.name] = _SIZES[size[1]]
        elif field.type == "str" and dialect == NINEP2000_L:
            values[field.name] = linux_names
        else:
            values[field.name] = _KINDS[field.type]
    return st.builds(kind, **values)


messages = st.one_of([message_of(kind) for kind in MESSAGES[NINEP2000]])
requests = st.one_of([message_of(kind) for kind in MESSAGES[NINEP2000] if issubclass(kind, TMessage)])
spoken = st.one_of(
    [st.tuples(st.just(dialect), message_of(kind, dialect)) for dialect in MESSAGES for kind in MESSAGES[dialect]]
)
"""A dialect, and any of its messages."""
