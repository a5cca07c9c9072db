"""The metrics: true, bounded, and named as Prometheus wants it. The dashboard and the alert rules name only these."""

from __future__ import annotations

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from test.page.nodes import distribution_of, master_status, node
from test.support.installed import lacking
from xget_lib.page.feed import Snapshot
from xget_lib.page.metrics import NoMetrics, metrics
from xget_lib.report.distribution import DOWNLOADING, FAILED, Distribution
from xget_lib.report.distribution_summary import summarise

ROOT = Path(__file__).parent.parent.parent
DASHBOARD = ROOT / "conf" / "grafana" / "xget.json"
RULES = ROOT / "conf" / "prometheus" / "xget.rules.yml"


def snapshot(known: Distribution, **status: object) -> Snapshot:
    summary = summarise(known).as_json()
    return Snapshot(0.0, master_status(known, **status), summary, known, {"warning": 4, "error": 1})


def values(text: bytes) -> dict[str, float]:
    lines = (line.rsplit(" ", 1) for line in text.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


@pytest.fixture(autouse=True)
def library() -> None:
    if find_spec("prometheus_client") is None:
        lacking("there is no prometheus_client")


def test_they_say_what_the_status_says() -> None:
    known = distribution_of(node(1), node(2, DOWNLOADING, held=50, rate=10.0), node(3, FAILED, held=0))
    found = values(metrics(snapshot(known, sent=99, refused=3, scanned=2.5)))
    assert found['xget_nodes{state="complete"}'] == found['xget_nodes{state="failed"}'] == 1
    assert found["xget_sent_bytes_total"] == 99
    assert found["xget_refused_connections_total"] == 3
    assert found["xget_scan_age_seconds"] == 2.5
    assert found["xget_fetch_bytes_per_second"] == 10
    assert found["xget_progress_ratio"] == 0.5
    assert found['xget_fetched_bytes_total{source="nodes"}'] == 7
    assert found['xget_runs_total{result="lost"}'] == 3
    assert found['xget_log_lines_total{level="warning"}'] == 4
    assert found["xget_connections"] == 4
    assert found["xget_serving"] == 1


def test_a_server_without_a_generation_says_so() -> None:
    found = values(metrics(snapshot(Distribution("", 0, 0, ()), problem="the directory is lost")))
    assert (found["xget_serving"], found["xget_problem"]) == (0, 1)


def test_their_number_does_not_depend_on_the_number_of_nodes() -> None:
    few = metrics(snapshot(distribution_of(*map(node, range(5)))))
    many = metrics(snapshot(distribution_of(*map(node, range(10_000)))))
    assert set(values(few)) == set(values(many))
    assert len(many) < 10_000


def test_names_are_in_base_units_and_counters_say_total() -> None:
    text = metrics(snapshot(distribution_of(node(1)))).decode()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert all(name.startswith("xget_") for name in types)
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in types.items())


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(NoMetrics, match="pip install prometheus_client"):
        metrics(snapshot(distribution_of(node(1))))


def known_metrics() -> set[str]:
    master = snapshot(distribution_of(node(1)), scanned=1.0, serial=1)
    child = snapshot(distribution_of(node(1)), held=1, connections=1)
    text = metrics(master).decode() + metrics(child).decode()
    return set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("path", [DASHBOARD, RULES, ROOT / "docs" / "operations.md"], ids=lambda path: path.name)
def test_each_metric_that_is_named_exists(path: Path) -> None:
    named = set(re.findall(r"\bxget_[a-z_]+\b", path.read_text())) - {"xget_lib"}
    assert len(named) > 5
    assert named - known_metrics() == set()


def test_each_metric_is_described_in_the_operations_manual() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    assert [name for name in sorted(known_metrics()) if f"`{name}" not in text] == []


def test_the_dashboard_is_one() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 5
    assert all(target["expr"] for panel in panels for target in panel.get("targets", ()))
    corners = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(corners)) == len(corners)
