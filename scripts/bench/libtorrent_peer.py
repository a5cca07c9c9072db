"""One BitTorrent peer of libtorrent's: `libtorrent_peer.py TORRENT DIRECTORY ADDRESS:PORT MARK`.

It makes the file MARK when it has everything and goes on serving until it is killed. Run by Debian's Python, for
which libtorrent is packaged; it imports nothing of ours.
"""

from __future__ import annotations

import sys
from pathlib import Path

import libtorrent


def main(torrent: str, directory: str, listen: str, mark: str) -> None:
    session = libtorrent.session(
        {
            "listen_interfaces": listen,
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            # TCP alone: its own transport (uTP) steps back before everything else on the link.
            "enable_incoming_utp": False,
            "enable_outgoing_utp": False,
            # All nodes of a cluster may share an address range, and start at once.
            "allow_multiple_connections_per_ip": True,
            "connection_speed": 500,
            "torrent_connect_boost": 100,
            "min_reconnect_time": 1,
            "alert_mask": libtorrent.alert.category_t.status_notification,
        }
    )
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(torrent)
    parameters.save_path = directory
    parameters.flags &= ~(libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused)
    handle = session.add_torrent(parameters)
    while not handle.status().is_seeding:
        session.wait_for_alert(50)
        session.pop_alerts()
    Path(mark).touch()
    while True:
        session.wait_for_alert(60_000)
        session.pop_alerts()


if __name__ == "__main__":
    main(*sys.argv[1:])
