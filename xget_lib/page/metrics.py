"""The metrics of a server, as Prometheus reads them. Their number does not depend on the number of nodes.

Names follow Prometheus' own rules: base units, `_total` for what only grows. docs/operations.md lists them all. The
library is optional, and imported only here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from xget_lib.page.feed import Snapshot
from xget_lib.report.distribution import STATES

if TYPE_CHECKING:
    from prometheus_client import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of the text format, which every version of Prometheus reads."""

_FROM_STATUS = (
    ("files", "xget_content_files", "Files of the generation that is served."),
    ("bytes", "xget_content_bytes", "Bytes of content of the generation that is served."),
    ("chunks", "xget_content_chunks", "Chunks of the generation that is served."),
    ("held", "xget_held_chunks", "Chunks of it that this node holds."),
    ("scanned", "xget_scan_age_seconds", "Seconds since the last scan of the directory began."),
    ("serial", "xget_signature_serial", "Serial of the signature of what is served."),
    ("connections", "xget_connections", "Open connections of nodes and other 9P clients."),
)
"""Fields of a status that are gauges. One that is not there has no metric."""


class NoMetrics(Exception):
    """The library is not there; the text says what to do."""


def metrics(snapshot: Snapshot) -> bytes:
    """All metrics in the text format. Raises NoMetrics."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError:
        raise NoMetrics("metrics need the Python package prometheus_client (pip install prometheus_client)") from None

    class _Collector:
        def collect(self) -> Iterator[Metric]:
            yield from _families(snapshot)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(cast(Any, _Collector()))
    return bytes(generate_latest(registry))


def _families(snapshot: Snapshot) -> Iterator[Metric]:
    yield from _of_server(snapshot)
    if "totals" in snapshot.status:
        yield from _of_transfers(snapshot.status["totals"])
    if snapshot.status.get("role") == "master":
        yield from _of_nodes(snapshot.summary)


def _of_server(snapshot: Snapshot) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily

    status = snapshot.status
    yield _info("xget", "Version and role of this server.", version=status["version"], role=status["role"])
    generation = status.get("generation") or ""
    yield _info("xget_generation", "The generation that is served.", generation=generation)
    yield _gauge("xget_up_seconds", "Seconds since this server started.", status["seconds"])
    yield _gauge("xget_serving", "1 if a generation is served.", int(not snapshot.problem))
    problem = bool(status.get("problem") or status.get("nursery_problem"))
    yield _gauge("xget_problem", "1 if this server reports a problem, such as a directory that is lost.", int(problem))
    for field, name, text in _FROM_STATUS:
        if status.get(field) is not None:
            yield _gauge(name, text, status[field])
    if "workers" in status:
        workers = status["workers"]
        yield _gauge("xget_workers", "Worker processes of the master.", len(workers))
        connections = sum(worker["connections"] for worker in workers)
        yield _gauge("xget_connections", "Open connections of nodes and other 9P clients.", connections)
    yield _counter("xget_sent_bytes", "Bytes of content that this server has sent.", status["sent"])
    yield _counter("xget_refused_connections", "Connections that were closed at once.", status["refused"])
    lines = CounterMetricFamily("xget_log_lines", "Lines in the log of this process.", labels=["level"])
    for level, count in snapshot.counts.items():
        lines.add_metric([level], count)
    yield lines


def _of_transfers(totals: dict[str, Any]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily

    fetched = CounterMetricFamily(
        "xget_fetched_bytes", "Bytes of content that nodes say they fetched.", labels=["source"]
    )
    fetched.add_metric(["master"], totals["from_master"])
    fetched.add_metric(["nodes"], totals["from_nodes"])
    yield fetched
    runs = CounterMetricFamily("xget_runs", "Runs of nodes that have ended.", labels=["result"])
    for result, count in totals["ended"].items():
        runs.add_metric([result], count)
    yield runs


def _of_nodes(summary: dict[str, Any]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    for name, field, text in (
        ("xget_nodes", "states", "Nodes that are connected, by state."),
        ("xget_left_nodes", "left", "Nodes that have left, by their last state."),
    ):
        nodes = GaugeMetricFamily(name, text, labels=["state"])
        for state in STATES:
            nodes.add_metric([state], summary[field].get(state, 0))
        yield nodes
    yield _gauge("xget_lagging_nodes", "Connected nodes that lag behind the others.", summary["lagging"])
    yield _gauge("xget_fetch_bytes_per_second", "Bytes of content per second that all nodes fetch.", summary["rate"])
    if summary["percent"] is not None:
        share = round(summary["percent"] / 100, 4)
        yield _gauge("xget_progress_ratio", "How much connected nodes have, on average, from 0 to 1.", share)


def _gauge(name: str, text: str, value: float) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(name, text, value=value)


def _info(name: str, text: str, **labels: str) -> Metric:
    from prometheus_client.core import InfoMetricFamily

    return InfoMetricFamily(name, text, value=labels)
