"""Serves the status page with gevent's own WSGI server, in the process of a master or a child.

Nobody who connects here may slow down what that process is for. So there are few connections, of which no host has more
than half; one request for each; bounds on its bytes, and on the time to read it and to send the answer; and a pause
between two connections that are accepted. `--allow` holds here too.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
from gevent import Timeout
from gevent import socket as gsocket
from gevent.pywsgi import WSGIHandler, WSGIServer

from xget_lib.config import Config, Network
from xget_lib.net.accept import Accepted, Admission, connections
from xget_lib.page.feed import Feed, Look
from xget_lib.page.site import Site
from xget_lib.report.log import LOGGER
from xget_lib.report.recent_lines import RecentLines
from xget_lib.swarm.addresses import is_allowed

CONNECTIONS = 64
"""At the same time."""
REQUEST = 16 * 1024
"""Bytes of a request, with its headers."""
READ = 10.0
"""Seconds in which a request has to arrive,"""
SEND = 30.0
"""and in which each part of an answer has to be taken."""
_PAUSE = 0.01
"""Seconds between two connections that are accepted."""

_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class PageServer:
    """Serves from the start until `close`."""

    def __init__(self, listening: socket.socket, feed: Feed, config: Config) -> None:
        """Owns the listening socket and the feed from now on."""
        self._listening = listening
        self._feed = feed
        self._open_to = open_to(config)
        host, port = config.http or ("", 0)
        # A name that has to be looked up would block the process.
        environ = {"SERVER_NAME": host, "SERVER_PORT": str(port)}
        site = Site(feed, [host])
        self._wsgi = WSGIServer(listening, site, log=None, error_log=LOGGER, handler_class=_Handler, environ=environ)
        self._admission = Admission(CONNECTIONS, CONNECTIONS // 2, allow=config.allow)
        self._running: set[gevent.Greenlet[..., None]] = set()
        self._accepting = gevent.spawn(self._accept)
        address, bound = listening.getsockname()[:2]
        LOGGER.info("status page on %s port %d", address, bound)

    def close(self) -> None:
        """Stop serving, and end what is being sent."""
        self._accepting.kill()
        self._listening.close()
        self._feed.close()
        gevent.killall(list(self._running))

    def _accept(self) -> None:
        for accepted in connections(self._listening, self._admission):
            serving = gevent.spawn(self._serve, accepted)
            accepted.account.end = partial(self._end, serving)
            self._running.add(serving)
            serving.link(self._running.discard)
            gevent.sleep(_PAUSE)

    def _serve(self, accepted: Accepted) -> None:
        sock = gsocket.socket(fileno=accepted.sock.detach())
        try:
            sock.settimeout(SEND)
            if is_allowed(accepted.address, self._open_to):
                self._wsgi.handle(sock, (accepted.address, accepted.port))  # type: ignore[arg-type]  # the stubs want a str
        except (OSError, Timeout) as error:
            LOGGER.debug("status page, %s: %s", accepted.address, error)
        finally:
            sock.close()
            accepted.account.close()

    @staticmethod
    def _end(serving: gevent.Greenlet[..., None], why: str) -> None:
        LOGGER.debug("status page: %s", why)
        serving.kill(block=False)


def start(
    listening: socket.socket, config: Config, look: Look, prepare: Callable[[], None] = lambda: None
) -> PageServer:
    """Serve a page that shows what `look` sees (`feed.Feed`), and the last warnings of this process."""
    recent = RecentLines()
    LOGGER.addHandler(recent)
    return PageServer(listening, Feed(look, recent, prepare), config)


def open_to(config: Config) -> tuple[Network, ...]:
    """Who may see the page; empty: all. Where a secret is asked for, `--open-to` bounds what is open without one."""
    return config.open_to if "page" in config.open else ()


class _Handler(WSGIHandler):
    """One request of a stranger."""

    def __init__(self, sock: Any, address: Any, server: Any) -> None:
        super().__init__(sock, address, server)
        self.rfile: Any = _Bounded(self.rfile)
        self._reading = Timeout(READ)

    def handle_one_request(self) -> Any:
        with self._reading:
            return super().handle_one_request()

    def read_request(self, raw_requestline: str) -> Any:
        """A request with a body is refused: nothing here takes one."""
        read = super().read_request(raw_requestline)
        if read and (self.headers.get("Transfer-Encoding") or self.headers.get("Content-Length", "0") != "0"):
            return False
        return read

    def handle_one_response(self) -> None:
        self._reading.close()
        self.close_connection = True
        super().handle_one_response()

    def handle_error(self, t: Any, v: Any, tb: Any) -> None:
        """An answer could not be made, or not be sent."""
        if not issubclass(t, Exception):
            raise v
        if issubclass(t, OSError):
            LOGGER.debug("status page, %s: %s", self.client_address[0], v)
            return
        LOGGER.error("status page: internal error", exc_info=(t, v, tb))
        self.close_connection = True

    def _handle_client_error(self, ex: Exception) -> tuple[str, bytes]:
        LOGGER.debug("status page, %s: invalid request (%s)", self.client_address[0], ex)
        return "400", _BAD_REQUEST


class _Bounded:
    """A file of which no more than REQUEST bytes can be read. Raises ValueError where there are more."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left = REQUEST

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)

    def readline(self, size: int = -1) -> bytes:
        return self._counted(self._file.readline(self._most(size)))

    def read(self, size: int = -1) -> bytes:
        return self._counted(self._file.read(self._most(size)))

    def close(self) -> None:
        self._file.close()

    def _most(self, size: int) -> int:
        return self._left + 1 if size < 0 else min(size, self._left + 1)

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f"a request of more than {REQUEST} bytes")
        return data
