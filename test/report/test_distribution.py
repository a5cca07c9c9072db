"""All nodes at one moment: the JSON comes back as it was, and what is none is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xget_lib.errors import ProtocolViolation
from xget_lib.report.distribution import COMPLETE, DOWNLOADING, OUTDATED, STATES, Distribution, NodeStatus

GENERATION = "ab" * 32
NODE = NodeStatus("10.0.0.1", 4711, "n1", DOWNLOADING, GENERATION, 5, 3.5)
FULL = NodeStatus(
    *("10.0.0.2", 4712, "", COMPLETE, GENERATION, 10, 7.0, 7.0, True, 30, 10, 2.5),
    sources=(("10.0.0.1", 4711, 20),),
    took=4.0,
    changed=1.0,
    lagging="slow",
    why="x",
)
DISTRIBUTION = Distribution(GENERATION, 10, 1000, (NODE, FULL))


def test_the_json_comes_back_as_it_was_and_leaves_out_what_is_usual() -> None:
    assert Distribution.decode(DISTRIBUTION.encode()) == DISTRIBUTION
    assert set(NODE.as_json()) == {"address", "port", "name", "state", "generation", "held", "seconds"}


def test_fields_of_other_versions_are_ignored() -> None:
    text = json.loads(DISTRIBUTION.encode())
    text["new"], text["nodes"][0]["new"] = 1, 2
    assert Distribution.decode(json.dumps(text).encode()) == DISTRIBUTION


@pytest.mark.parametrize(
    ("field", "value"),
    [("port", "x"), ("held", None), ("name", 7), ("state", 7), ("rate", 1e999), ("sources", [[1]]), ("address", None)],
)
def test_a_field_of_the_wrong_type_is_refused(field: str, value: object) -> None:
    text = json.loads(DISTRIBUTION.encode())
    text["nodes"][0][field] = value
    with pytest.raises(ProtocolViolation, match="invalid list of nodes"):
        Distribution.decode(json.dumps(text).encode())


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"7", b"[" * 100_000, b'{"generation":"","chunks":1,"bytes":1}'])
def test_what_is_no_distribution_is_refused(text: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        Distribution.decode(text)


@given(st.dictionaries(st.sampled_from([*NODE.as_json(), "sources", "why"]), st.none() | st.integers() | st.text()))
def test_any_node_is_understood_or_refused(changed: dict[str, Any]) -> None:
    text = json.loads(DISTRIBUTION.encode())
    text["nodes"][0].update(changed)
    try:
        decoded = Distribution.decode(json.dumps(text).encode())
    except ProtocolViolation:
        return
    assert decoded.nodes[0].place.isprintable()


@pytest.mark.parametrize(
    ("state", "held", "generation", "share"),
    [
        (DOWNLOADING, 5, GENERATION, 0.5),
        (DOWNLOADING, 500, GENERATION, 1.0),
        (COMPLETE, 5, GENERATION, 1.0),
        (OUTDATED, 5, "cd" * 32, 0.0),
    ],
)
def test_how_much_a_node_has(state: str, held: int, generation: str, share: float) -> None:
    node = NodeStatus("10.0.0.1", 1, "", state, generation, held, 0)
    assert DISTRIBUTION.share(node) == share
    assert Distribution("", 0, 0, (node,)).share(node) in (0.0, 1.0)


def test_a_node_is_called_by_its_name_and_told_apart_by_its_address() -> None:
    assert (NODE.label, NODE.place) == ("n1", "n1 (10.0.0.1 port 4711)")
    assert (FULL.label, FULL.place) == ("10.0.0.2", "10.0.0.2 port 4712")
    assert set(STATES) >= {NODE.state, FULL.state}
