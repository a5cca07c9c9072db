"""A BitTorrent tracker, as small as it gets: `python -m scripts.bench.tracker ADDRESS PORT`.

It tells every peer all others (BEP 3, compact as in BEP 23), since there are few, and asks to be asked again soon.
"""

from __future__ import annotations

import socket
import sys
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from urllib.parse import parse_qs, urlsplit

from .bittorrent import bencoded

_INTERVAL = 5
"""Seconds."""


class _Announce(BaseHTTPRequestHandler):
    peers: dict[bytes, None] = {}  # noqa: RUF012 - the tracker's memory: handlers are made anew for every request

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query, encoding="latin-1")
        own = socket.inet_aton(self.client_address[0]) + int(query["port"][0]).to_bytes(2, "big")
        if query.get("event") == ["stopped"]:
            self.peers.pop(own, None)
        else:
            self.peers[own] = None
        others = b"".join(peer for peer in list(self.peers) if peer != own)
        answer = bencoded({"interval": _INTERVAL, "min interval": 1, "peers": others})
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing of what went well."""


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024


def main(address: str, port: str) -> None:
    _Server((address, int(port)), _Announce).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
