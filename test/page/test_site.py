"""What is answered to which request."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from test.page.nodes import distribution_of, master_status, node
from xget_lib.page.feed import Feed
from xget_lib.page.site import Site
from xget_lib.report.distribution import Distribution
from xget_lib.report.recent_lines import RecentLines


class Asked:
    """A site whose server serves `known`."""

    def __init__(self) -> None:
        self.known = distribution_of(node(1))
        self.feed = Feed(lambda: (master_status(self.known, problem=self.problem), self.known), RecentLines())
        self.problem: str | None = None
        self.site = Site(self.feed, ["page.example"])

    def ask(self, path: str, *, method: str = "GET", host: str = "127.0.0.1:8004") -> tuple[int, bytes]:
        found: dict[str, Any] = {}

        def start(status: str, headers: list[tuple[str, str]]) -> None:
            found["status"], self.headers = int(status.split()[0]), dict(headers)

        where, _, query = path.partition("?")
        environ = {"REQUEST_METHOD": method, "PATH_INFO": where, "QUERY_STRING": query, "HTTP_HOST": host}
        body = b"".join(self.site(environ, start))
        return found["status"], body


@pytest.fixture
def asked() -> Iterator[Asked]:
    asked = Asked()
    yield asked
    asked.feed.close()


def test_the_page_has_a_policy_and_no_permission_for_other_sites(asked: Asked) -> None:
    status, body = asked.ask("/")
    assert status == 200 and b"<!doctype html>" in body
    assert "script-src 'sha256-" in asked.headers["Content-Security-Policy"]
    assert asked.headers["X-Content-Type-Options"] == "nosniff"
    assert not [name for name in asked.headers if name.startswith("Access-Control")]


def test_head_is_get_without_the_body(asked: Asked) -> None:
    _, body = asked.ask("/")
    assert asked.ask("/", method="HEAD") == (200, b"")
    assert asked.headers["Content-Length"] == str(len(body))
    assert asked.ask("/events", method="HEAD") == (200, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_it_only_reads(asked: Asked, method: str) -> None:
    assert asked.ask("/", method=method)[0] == 405
    assert asked.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8004", "127.0.0.1.evil.example", "localhost.evil"])
def test_a_name_of_somebody_else_is_refused(asked: Asked, host: str) -> None:
    assert asked.ask("/nodes.json", host=host)[0] == 421


@pytest.mark.parametrize(
    "host", ["", "localhost", "LOCALHOST:8004", "10.1.2.3", "[::1]:8004", "page.example:80", os.uname().nodename]
)
def test_addresses_and_own_names_are_fine(asked: Asked, host: str) -> None:
    assert asked.ask("/status.json", host=host)[0] == 200


def test_health_is_that_a_generation_is_served(asked: Asked) -> None:
    assert asked.ask("/healthz") == (200, b"serving\n")


def test_without_a_generation_it_says_why(asked: Asked) -> None:
    asked.known, asked.problem = Distribution("", 0, 0, ()), "the directory is lost"
    assert asked.ask("/healthz") == (503, b"the directory is lost\n")


def test_the_same_as_json(asked: Asked) -> None:
    assert json.loads(asked.ask("/status.json")[1])["generation"] == asked.known.generation
    assert Distribution.decode(asked.ask("/nodes.json")[1]) == asked.known
    assert json.loads(asked.ask("/node.json?place=0")[1])["name"] == "node1"


@pytest.mark.parametrize("query", ["", "?place=", "?place=1", "?place=-1", "?place=²", "?place=99999999999999", "?x=0"])
def test_who_is_not_there_is_not_found(asked: Asked, query: str) -> None:
    asked.ask("/status.json")
    assert asked.ask(f"/node.json{query}")[0] == 404


def test_another_path_is_not_found(asked: Asked) -> None:
    assert asked.ask("/../etc/passwd")[0] == 404
