"""Hypothesis strategies for 9P: any message, made from what its dataclass says about its fields."""

from __future__ import annotations

from dataclasses import fields

from hypothesis import strategies as st

from xget_lib.ninep.messages import MESSAGES, NINEP2000, Message, TMessage
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


def message_of(kind: type[Message]) -> st.SearchStrategy[Message]:
    synopsis = MESSAGES[NINEP2000][kind][1].synopsis
    values: dict[str, st.SearchStrategy[object]] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.type == "int":
            at = synopsis.index(f"{field.name}[") + len(field.name)
            values[field.name] = _SIZES[synopsis[at : at + 3]]
        else:
            values[field.name] = _KINDS[field.type]
    return st.builds(kind, **values)


messages = st.one_of([message_of(kind) for kind in MESSAGES[NINEP2000]])
requests = st.one_of([message_of(kind) for kind in MESSAGES[NINEP2000] if issubclass(kind, TMessage)])
