"""Answers requests: the page, its stream of events, metrics, and the same as JSON. A WSGI application that only reads.

    /              the status page          /events       its server-sent events
    /metrics       for Prometheus           /healthz      200 if a generation is served
    /status.json   as `xget status --json`  /nodes.json   all nodes, as the file `nodes`
    /node.json?place=N                      one node of the map

A page of another site must not read this one through the browser of an administrator. So there are no CORS headers, and
a request is answered only if it names this server by an address or by its own name (against DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

from xget_lib.page.document import document
from xget_lib.page.feed import Busy, Feed
from xget_lib.page.metrics import CONTENT_TYPE, NoMetrics, metrics

Answer = tuple[str, str, Iterable[bytes]]
"""Status line, content type, and body."""
StartResponse = Callable[[str, list[tuple[str, str]]], Any]

_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
    ("Connection", "close"),
)
_JSON, _TEXT = "application/json", "text/plain; charset=utf-8"


class Site:
    """The application of one process. `names`: by which names, besides addresses, this server may be asked for."""

    def __init__(self, feed: Feed, names: Iterable[str] = ()) -> None:
        self._feed = feed
        node = os.uname().nodename.lower()
        self._names = {"localhost", node, node.partition(".")[0], *(name.lower() for name in names)}

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        status, kind, body = self._answer(environ)
        headers = [("Content-Type", kind), *_HEADERS]
        if kind.startswith("text/html"):
            headers.append(("Content-Security-Policy", document().policy))
        if status.startswith("405"):
            headers.append(("Allow", "GET, HEAD"))
        if isinstance(body, list):  # also for HEAD
            headers.append(("Content-Length", str(sum(map(len, body)))))
        start_response(status, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else body

    def _answer(self, environ: dict[str, Any]) -> Answer:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _line("405 Method Not Allowed", "only GET and HEAD")
        if not self._is_ours(environ.get("HTTP_HOST", "")):
            return _line("421 Misdirected Request", "ask for an address, or for the name of this machine")
        try:
            return self._page(environ["PATH_INFO"], environ.get("QUERY_STRING", ""), environ["REQUEST_METHOD"])
        except Busy as error:
            return _line("503 Service Unavailable", f"busy: {error}")

    def _page(self, path: str, query: str, method: str) -> Answer:
        match path:
            case "/":
                return "200 OK", "text/html; charset=utf-8", [document().body]
            case "/events":
                return "200 OK", "text/event-stream", [] if method == "HEAD" else self._feed.watch()
            case "/metrics":
                try:
                    return "200 OK", CONTENT_TYPE, [metrics(self._feed.latest())]
                except NoMetrics as error:
                    return _line("501 Not Implemented", str(error))
            case "/healthz":
                problem = self._feed.latest().problem
                return _line("503 Service Unavailable", problem) if problem else _line("200 OK", "serving")
            case "/status.json":
                return "200 OK", _JSON, [_json(self._feed.latest().status)]
            case "/nodes.json":
                return "200 OK", _JSON, [self._feed.encoded_nodes()]
            case "/node.json":
                return self._node(query)
        return _line("404 Not Found", "there is no such page")

    def _node(self, query: str) -> Answer:
        place = parse_qs(query[:100], max_num_fields=2).get("place", [""])[0]
        node = self._feed.node(int(place)) if place.isascii() and place.isdecimal() and len(place) < 9 else None
        return ("200 OK", _JSON, [_json(node)]) if node is not None else _line("404 Not Found", "no such node")

    def _is_ours(self, host: str) -> bool:
        """Whether this is what a header Host may say of this server. Programs may leave it out."""
        name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
        with suppress(ValueError):
            ipaddress.ip_address(name.partition("%")[0])
            return True
        return not host or name.lower() in self._names


def _line(status: str, text: str) -> Answer:
    return status, _TEXT, [text.encode() + b"\n"]


def _json(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"
