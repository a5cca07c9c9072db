"""Who gave how much to whom: exact for few nodes, in groups for many, and never more bytes than were fetched."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from test.page.nodes import distribution_of, node
from xget_lib.page.flows import MASTER, OTHERS, ROWS, Row, flows_of
from xget_lib.swarm.messages import Source


def source(number: int, count: int) -> Source:
    return (node(number).address, 40000, count)


def test_few_nodes_have_a_row_each_in_the_order_in_which_people_read_names() -> None:
    flows = flows_of(distribution_of(*(node(number, fetched=10) for number in (10, 9, 1))))
    assert [row.first for row in flows.rows] == ["node1", "node9", "node10"]


def test_bytes_go_from_row_to_row() -> None:
    first = node(1, fetched=100, from_master=100)
    second = node(2, fetched=100, from_master=10, sources=(source(1, 70), source(77, 15)))
    assert flows_of(distribution_of(first, second)).flows == (
        (MASTER, 0, 100),
        (0, 1, 70),
        (OTHERS, 1, 20),  # 15 from a node that is not known, and 5 from nodes that are not named
        (MASTER, 1, 10),
    )


def test_nodes_that_took_no_part_have_no_row() -> None:
    assert flows_of(distribution_of(node(1), node(2))).rows == ()
    assert flows_of(distribution_of()).flows == ()


def test_many_nodes_are_grouped_by_name() -> None:
    flows = flows_of(distribution_of(*(node(number, fetched=1, from_master=1) for number in range(1000))))
    assert len(flows.rows) == ROWS
    assert flows.rows[0] == Row("node0", "node61", 62)
    assert sum(row.nodes for row in flows.rows) == 1000
    assert sum(count for _, _, count in flows.flows) == 1000


@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.lists(st.integers(-50, 99), max_size=3)), max_size=40)
)
def test_what_flows_is_what_was_fetched_whatever_nodes_say(said: list[tuple[int, int, list[int]]]) -> None:
    nodes = [
        node(
            number, fetched=fetched, from_master=min(fetched, master), sources=tuple(source(c % 50, c) for c in counts)
        )
        for number, (fetched, master, counts) in enumerate(said)
    ]
    flows = flows_of(distribution_of(*nodes))
    assert sum(count for _, _, count in flows.flows) == sum(fetched for fetched, _, _ in said)
    assert all(count > 0 for _, _, count in flows.flows)
