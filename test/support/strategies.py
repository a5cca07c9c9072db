"""Hypothesis strategies for 9P: any message, made from what its layout says about its fields."""

from __future__ import annotations

import os

from hypothesis import settings
from hypothesis import strategies as st

from xget_lib.ninep.dialect import DIALECTS, NINEP2000
from xget_lib.ninep.linux import REFUSED, Refused
from xget_lib.ninep.messages import Message, TMessage
from xget_lib.ninep.stat import Stat
from xget_lib.ninep.wire import MAXWELEM, NAME, Field, Integer, Qid, QidField, Repeated, String

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

# What Linux takes for a name: any bytes but NUL, as os.fsdecode has them.
linux_names = st.binary(max_size=40).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")))


def field_of(field: Field) -> st.SearchStrategy[object]:
    """Any value of a field."""
    match field:
        case Integer():
            return st.integers(0, 256**field.size - 1)
        case String():
            return linux_names if field is NAME else texts
        case QidField():
            return qids
        case Repeated():
            return st.lists(field_of(field.each), max_size=MAXWELEM).map(tuple)
    return st.binary(max_size=200)


def message_of(kind: type[Message], dialect: str = NINEP2000) -> st.SearchStrategy[Message]:
    """Any message of a kind, with the fields that a dialect carries."""
    values = {name: field_of(field) for name, field in DIALECTS[dialect].layouts[kind].fields.items()}
    if kind is Refused:
        values["number"] = st.sampled_from(list(REFUSED))
    return st.builds(kind, **values)


messages = st.one_of([message_of(kind) for kind in DIALECTS[NINEP2000].kinds])
requests = st.one_of([message_of(kind) for kind in DIALECTS[NINEP2000].kinds if issubclass(kind, TMessage)])
spoken = st.one_of(
    [st.tuples(st.just(dialect), message_of(kind, dialect)) for dialect in DIALECTS for kind in DIALECTS[dialect].kinds]
)
"""A dialect, and any of its messages."""


def examples(count: int) -> int:
    """So many examples for hypothesis; fewer in the profile of `make unit`."""
    return max(1, count * settings().max_examples // 100)
