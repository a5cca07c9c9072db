"""The status page, in a real browser, of a real master and 16 nodes of which 2 fail and 2 are killed.

All that tells how a distribution went is compared: the page, the metrics, `xget status --json`, and what the clients
say themselves. The nodes have host names of their own (UTS namespaces). A relay holds them half-way for as long as the
test looks at them.
"""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from test.support.browser import CHROMIUM, Browser, Page
from test.support.cluster import Cluster, Ended, Master, Running, eventually, free_port
from test.support.installed import lacking
from test.support.relay import MIB, Relay
from test.support.trees import noise, write

NODES = 16
FAIL, KILLED = ("node03", "node04"), ("node11", "node12")
WHOLE = [name for name in (f"node{number:02}" for number in range(1, NODES + 1)) if name not in FAIL + KILLED]
SIZE = 24 * MIB
START = 120.0
"""Seconds that 16 clients may take to start, on a machine that does other things too."""
LEGEND = "[...document.querySelectorAll('#legend li')].map(item => item.textContent).join(' ')"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        lacking("there is no chromium")
    with Browser() as browser:
        yield browser


@pytest.fixture
def port() -> int:
    return free_port()


def served(cluster: Cluster, content: bytes, name: str = "served") -> Path:
    """A directory with one file."""
    directory = cluster.base / name
    directory.mkdir()
    write(directory / "image", content)
    return directory


@dataclass
class Site:
    """What the page's server answers."""

    port: int

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            data: bytes = answer.read()
            return data

    def json(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get(path))
        return found

    def metrics(self) -> dict[str, float]:
        lines = (line.rsplit(" ", 1) for line in self.get("/metrics").decode().splitlines() if line[0] != "#")
        return {name: float(value) for name, value in lines}

    def nodes(self) -> dict[str, dict[str, Any]]:
        return {node["name"]: node for node in self.json("/nodes.json")["nodes"]}


def client(cluster: Cluster, relay: Relay, name: str) -> Running:
    """A client on a host of its own name. Those in FAIL have a destination that has no room."""
    top = cluster.base / name
    top.mkdir()
    mount = f"mount -t tmpfs -o size=4m tmpfs {top} && " if name in FAIL else ""
    prefix = ("unshare", "--uts", "--mount", "sh", "-c", f'{mount}hostname {name} && exec "$@"', "sh")
    return cluster.client(relay, top / "dest", options=["--stall-timeout", "600"], prefix=prefix)


@contextmanager
def half_way(cluster: Cluster, master: Master, site: Site) -> Iterator[tuple[Relay, dict[str, Running]]]:
    """All nodes download, and some have a part. They stay so until the relay is opened."""
    with Relay(master.port, hold_after=MIB // 4) as relay:
        clients = {f"node{number:02}": client(cluster, relay, f"node{number:02}") for number in range(1, NODES + 1)}

        def begun() -> bool:
            nodes = site.nodes()
            running = [node for name, node in nodes.items() if name not in FAIL and node["state"] == "downloading"]
            return len(running) == NODES - len(FAIL) and any(node.get("fetched") for node in running)

        eventually(begun, "all nodes download", START)
        yield relay, clients


def counts(site: Site) -> Counter[str]:
    return Counter(node["state"] for node in site.nodes().values())


def shown(page: Page) -> Counter[str]:
    """How many nodes are in each state, on the map."""
    letters = page.run("map.order.map(place => map.cells[2 * place])")
    return Counter(page.run("STATES")[letter.lower()] for letter in letters)


def totals(found: dict[str, float], name: str, label: str) -> dict[str, float]:
    prefix = f'{name}{{{label}="'
    return {
        key.removeprefix(prefix).removesuffix('"}'): value for key, value in found.items() if key.startswith(prefix)
    }


@pytest.mark.root
def test_page_metrics_status_and_clients_agree(cluster: Cluster, browser: Browser, port: int) -> None:
    if find_spec("prometheus_client") is None:
        lacking("there is no prometheus_client")
    master, site = cluster.master(served(cluster, noise(SIZE, 1)), "--http", f"127.0.0.1:{port}"), Site(port)
    page = browser.open(f"http://127.0.0.1:{port}/")
    with half_way(cluster, master, site) as (relay, clients):
        # Nodes fill up.
        page.until(f"map.order.length === {NODES}", "all nodes are on the map")
        assert page.run("map.order.map(place => map.names[place])") == sorted(clients)
        eventually(lambda: shown(page)["downloading"] == NODES - len(FAIL), "they are shown as downloading")
        page.until("flow.facts.flows.some(([giver]) => giver === MASTER)", "something flows from the master")
        for name in KILLED:
            os.kill(clients[name].background(), signal.SIGKILL)
        relay.open()
        ended = {name: clients[name].ended(START) for name in clients}
        expected = Counter(complete=len(WHOLE), failed=len(FAIL), lost=len(KILLED))
        eventually(lambda: counts(site) == expected, f"{expected}, and not {counts(site)}")
        check_clients(site, ended)
        check_status(cluster, master, expected)
        check_metrics(site, expected)
        check_page(page, expected)
    phone = browser.open(f"http://127.0.0.1:{port}/", width=390, height=844, dark=True, touch=True)
    check_phone(phone)
    assert page.console == phone.console == []
    assert {address.split("/")[2] for address in page.requested} == {f"127.0.0.1:{port}"}


def check_clients(site: Site, ended: dict[str, Ended]) -> None:
    """What nodes told the master is what they told their users."""
    nodes = site.nodes()
    assert {name: run.status for name, run in ended.items()} == {
        **dict.fromkeys(WHOLE, 0),
        **dict.fromkeys(FAIL, 6),
        **dict.fromkeys(KILLED, 1),
    }
    for name in WHOLE + list(FAIL):
        done = ended[name].done
        told = {field: nodes[name].get(field, 0) for field in ("fetched", "from_master")}
        assert told == {field: done[field] for field in told}, name
    assert all("disk full" in nodes[name]["why"] for name in FAIL)


def check_status(cluster: Cluster, master: Master, expected: Counter[str]) -> None:
    status = json.loads(cluster.run("status", "--json", "-n", f"127.0.0.1:{master.port}").stdout)
    summary = status["distribution"]
    assert Counter(summary["states"]) + Counter(summary["left"]) == expected
    assert sum(failure["nodes"] for failure in summary["failures"]) == len(FAIL) + len(KILLED)


def check_metrics(site: Site, expected: Counter[str]) -> None:
    found, nodes = site.metrics(), site.nodes().values()
    states = Counter(totals(found, "xget_nodes", "state")) + Counter(totals(found, "xget_left_nodes", "state"))
    assert states == expected
    assert totals(found, "xget_runs_total", "result") == {"done": 12, "failed": 2, "interrupted": 0, "lost": 2}
    from_master = sum(node.get("from_master", 0) for node in nodes)
    fetched = sum(node.get("fetched", 0) for node in nodes)
    arrived = totals(found, "xget_fetched_bytes_total", "source")
    assert arrived == {"master": from_master, "nodes": fetched - from_master}
    assert from_master <= found["xget_sent_bytes_total"]


def check_page(page: Page, expected: Counter[str]) -> None:
    eventually(lambda: shown(page) == expected, "the map shows it")
    legend = page.run(LEGEND)
    assert all(f"{count}{state}" in legend for state, count in expected.items()), legend
    assert "12 of 12 nodes complete · 2 failed · 2 lost" in page.run("document.body.innerText")
    # With the keyboard alone: the next one with a problem, and what it is.
    page.run("byId('map').focus()")
    page.press("n")
    page.until("byId('who').textContent.includes('node03') && byId('who').textContent.includes('failed')", "who it is")
    page.press("ArrowLeft")
    page.until("byId('who').textContent.startsWith('node02') && byId('who').textContent.includes('100 %')", "who it is")


def check_phone(page: Page) -> None:
    page.until("shown.last !== undefined", "it is live")
    assert page.run("document.documentElement.scrollWidth") == 390
    red = int(page.run("getComputedStyle(document.body).backgroundColor").split("(")[1].split(",")[0])
    assert red < 60, "not dark"
    assert page.run("document.querySelectorAll('#flow .ribbon').length") > 0


def test_names_of_strangers_are_text(cluster: Cluster, browser: Browser, port: int) -> None:
    """Whatever the served directory is called."""
    source = served(cluster, b"x", "<img src=x onerror=document.title='broken'>")
    cluster.master(source, "--http", f"127.0.0.1:{port}")
    page = browser.open(f"http://127.0.0.1:{port}/")
    page.until("byId('path').textContent.includes('<img src=x')", "its name is there as text")
    assert page.run("document.querySelectorAll('h1 img').length") == 0
    assert page.console == []


def test_a_client_has_a_page_and_leaves_the_port_to_the_next(cluster: Cluster, port: int) -> None:
    master, site = cluster.master(served(cluster, noise(MIB, 1))), Site(port)
    options = ["--http", f"127.0.0.1:{port}", "--linger", "forever"]
    first = cluster.client(master, cluster.base / "dest", options=options).ended()
    assert first.status == 0
    eventually(lambda: site.json("/status.json")["role"] == "child", "the child has a page")
    assert site.json("/nodes.json")["nodes"][0]["fetched"] == first.done["fetched"]
    second = cluster.client(master, cluster.base / "dest", options=options).ended()
    assert second.status == 0

    def pid() -> int:
        with suppress(OSError):
            return int(site.json("/status.json")["pid"])
        return 0

    eventually(lambda: pid() == second.done["serves"]["pid"], "the next child has the page")


def test_a_port_in_use_is_an_error_of_a_master_that_names_the_option(cluster: Cluster, port: int) -> None:
    source = served(cluster, b"x")
    cluster.master(source, "--http", f"127.0.0.1:{port}")
    ended = cluster.run("-p", str(free_port()), "--http", f"127.0.0.1:{port}", source)
    assert ended.status == 1
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in ended.stderr
    assert "another port with --http)" in ended.stderr


def test_health_follows_what_is_served(cluster: Cluster, port: int) -> None:
    site = Site(port)
    signature = str(cluster.base / "no signature")
    options = ("--http", f"127.0.0.1:{port}", "--signed-only", "--signature", signature)
    cluster.master(served(cluster, b"x"), *options, wait=False)

    def health() -> tuple[int, bytes]:
        try:
            return 200, site.get("/healthz")
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    eventually(lambda: health()[0] == 503 and b"sign" in health()[1], f"why it does not serve: {health()}")
