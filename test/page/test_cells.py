"""The map of nodes: a place for each, kept for as long as it is known."""

from __future__ import annotations

from dataclasses import replace

from test.page.nodes import distribution_of, node
from xget_lib.page.cells import FREE, LETTERS, Cells
from xget_lib.report.distribution import COMPLETE, DOWNLOADING, FAILED, LOST, STATES


def test_each_node_has_two_characters() -> None:
    cells = Cells()
    names = cells.update(distribution_of(node(1, COMPLETE), node(2, DOWNLOADING, held=50), node(3, FAILED, held=0)))
    assert names == {0: "node1", 1: "node2", 2: "node3"}
    assert cells.text == "c_" + "dV" + "f0"


def test_a_node_that_lags_has_a_capital() -> None:
    cells = Cells()
    cells.update(distribution_of(replace(node(1, DOWNLOADING, held=0), lagging="nothing new for 9 s")))
    assert cells.text == "D0"


def test_who_leaves_the_connected_ones_keeps_its_place() -> None:
    cells = Cells()
    cells.update(distribution_of(node(1), node(2)))
    assert cells.update(distribution_of(node(2), replace(node(1, LOST, held=0), left=1.0))) == {}
    assert cells.text == "l0c_"


def test_a_place_is_free_again_when_its_node_is_forgotten() -> None:
    cells = Cells()
    cells.update(distribution_of(node(1), node(2)))
    assert cells.update(distribution_of(node(2))) == {0: None}
    assert (cells.text, cells.node(0)) == (FREE + "c_", None)
    assert cells.update(distribution_of(node(2), node(3))) == {0: "node3"}
    found = cells.node(0)
    assert found is not None and found.name == "node3"


def test_who_left_does_not_hide_who_came_with_its_address() -> None:
    cells = Cells()
    cells.update(distribution_of(node(1), replace(node(1, FAILED), name="other", left=2.0)))
    assert (cells.names, cells.text) == (["node1"], "c_")


def test_every_state_has_a_letter() -> None:
    assert set(LETTERS) == set(STATES)
    assert len(set(LETTERS.values())) == len(STATES)


def test_ten_thousand_nodes_are_twenty_kilobytes() -> None:
    cells = Cells()
    cells.update(distribution_of(*(node(number) for number in range(10_000))))
    assert len(cells.text) == 20_000
