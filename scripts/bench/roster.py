"""All tools by name."""

from __future__ import annotations

from .bittorrent import Aria2, Libtorrent
from .multicast import Udpcast, Uftp
from .tools import Nginx, Rsync, Tool, XGet

TOOLS: dict[str, Tool] = {
    tool.name: tool for tool in (XGet(), Nginx(), Rsync(), Aria2(), Libtorrent(), Udpcast(), Uftp())
}
OTHERS = [name for name in TOOLS if name != XGet.name]
