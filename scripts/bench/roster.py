"""All tools by name."""

from __future__ import annotations

from .bittorrent import Aria2, Libtorrent
from .multicast import Udpcast, Uftp
from .tools import Nginx, Rsync, RsyncCompressed, Tool, XGet, XGetSecret, XGetTls

_XGET: tuple[Tool, ...] = (XGet(), XGetSecret(), XGetTls())
_OTHERS: tuple[Tool, ...] = (Nginx(), Rsync(), RsyncCompressed(), Aria2(), Libtorrent(), Udpcast(), Uftp())
TOOLS = {tool.name: tool for tool in (*_XGET, *_OTHERS)}
OTHERS = [tool.name for tool in _OTHERS]
