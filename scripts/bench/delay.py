"""A switch that delays: `python -m scripts.bench.delay SECONDS READY DEVICE...`.

It passes Ethernet frames between the devices, each SECONDS after it came, and makes the file READY when it has begun.
`network` uses it in the place of the bridge, because not every kernel has netem. Frames that the kernel has not cut yet
(up to 64 KB of one flow, with sums that are not computed) are passed on as they are: that costs a tenth of the
processor time, and is what happens on a bridge. A frame for which there is no room at the receiving end is dropped, as
by every switch.

It stands for a wire, so processes that are measured must not delay it: its priority is the highest of the ordinary
ones.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

_ETH_P_ALL = 3
_SOL_PACKET = 263
_PACKET_VNET_HDR = 15
_PACKET_IGNORE_OUTGOING = 23
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_HEADER = 10
"""Bytes of a struct virtio_net_hdr, which the kernel puts before a frame: how to cut it, and where its sum belongs."""
_LARGEST = _HEADER + 18 + (64 << 10)
_ROOM = 512 << 20
"""Bytes. The queues of the shaped links are what may drop frames, not the sockets."""
_AT_ONCE = 16
"""Frames of one device in a row."""


def main(seconds: str, ready: str, *devices: str) -> None:
    os.nice(-20)
    switch = _Switch(float(seconds), [_port(device) for device in devices])
    Path(ready).touch()
    while True:
        switch.turn()


def _port(device: str) -> socket.socket:
    """A socket that receives and sends whole frames of a device, without those that are sent here."""
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    port.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    port.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    for option in (_SO_SNDBUFFORCE, _SO_RCVBUFFORCE):
        port.setsockopt(socket.SOL_SOCKET, option, _ROOM)
    port.setblocking(False)
    port.bind((device, _ETH_P_ALL))
    return port


class _Switch:
    """Learns which address is behind which port, as switches do."""

    def __init__(self, delay: float, ports: list[socket.socket]) -> None:
        self._delay = delay
        self._ports = ports
        self._behind: dict[bytes, socket.socket] = {}
        self._on_its_way: deque[tuple[float, socket.socket, bytes]] = deque()
        """Moment, port of arrival, and frame: in the order of arrival, since all are delayed alike."""

    def turn(self) -> None:
        """Wait until there is something to do, and do it."""
        queue = self._on_its_way
        wait = max(0.0, queue[0][0] - time.monotonic()) if queue else None
        for port in select.select(self._ports, (), (), wait)[0]:
            self._take(port)
        now = time.monotonic()
        while queue and queue[0][0] <= now:
            self._pass_on(*queue.popleft()[1:])

    def _take(self, port: socket.socket) -> None:
        with suppress(BlockingIOError):
            for _ in range(_AT_ONCE):
                frame = port.recv(_LARGEST)
                self._behind[frame[_HEADER + 6 : _HEADER + 12]] = port
                self._on_its_way.append((time.monotonic() + self._delay, port, frame))

    def _pass_on(self, source: socket.socket, frame: bytes) -> None:
        known = self._behind.get(frame[_HEADER : _HEADER + 6])
        for port in self._ports if known is None else (known,):
            if port is not source:
                with suppress(OSError):  # no room, or the link is cut
                    port.send(frame)


if __name__ == "__main__":
    main(*sys.argv[1:])
