"""Watches how content arrives: tells how far a download is and what it waits for, and gives up where nothing comes."""

from __future__ import annotations

import gevent

from xget_lib.download.download import Download
from xget_lib.errors import XGetError, one_line, printable
from xget_lib.manifest.manifest import Manifest
from xget_lib.node.patience import CHECK_EVERY, Patience
from xget_lib.node.transfer import Transfer
from xget_lib.node.transfer_run import TransferStats
from xget_lib.node.waits import Tell
from xget_lib.report.events import counted, size
from xget_lib.report.waiting import Wait

DISK = "the disk of this node"
_STEP = 16 * 1024
"""Bytes that are progress although no chunk is whole: on a slow link a chunk takes minutes."""
_NAMED = 3
"""Peers that an error names, at most."""
_PATH_SHOWN = 200
"""Characters of a path in an error about more than this path."""


class ContentWatch:
    """Of one download. `run` runs until it is killed."""

    def __init__(
        self,
        patience: Patience,
        transfer: Transfer,
        tell: Tell,
        download: Download,
        manifest: Manifest,
        stats: TransferStats,
    ) -> None:
        self._patience = patience
        self._transfer = transfer
        self._tell = tell
        self._download = download
        self._manifest = manifest
        self._stats = stats
        self._received = Received(stats.fetched)

    def run(self) -> None:
        """Ends the download with MasterUnreachable, NotAdmitted or Stalled where no more arrives."""
        transfer, waits = self._transfer, self._patience.waits
        with waits.on(self._expect):
            while True:
                gevent.sleep(CHECK_EVERY)
                fetched = self._stats.fetched
                bytes_there = self._download.reused + fetched
                self._tell("progress", bytes=bytes_there, fetched=fetched, peers=transfer.sources)
                if transfer.disk_is_busy:
                    waits.postpone()
                if self._received.more(fetched, transfer.receiving):
                    waits.progress()
                elif waits.seconds > CHECK_EVERY:
                    try:
                        self._patience.check(self._missing, self._asked)
                    except XGetError as error:
                        transfer.fail(error)

    def _expect(self) -> Wait:
        """What is waited for while content is downloaded."""
        transfer, master, timeout = self._transfer, self._patience.master, self._patience.timeout
        if transfer.disk_is_busy:
            return Wait("content to be written", DISK, "more is fetched then")
        if not transfer.sources:
            return master.expect(
                "content", "it gives to other nodes, and no peer can be reached", "the master is asked again", timeout
            )
        servers = counted(transfer.sources, "server")
        if master.is_silent:
            why = f"the master does not answer ({master.why_silent})"
            return Wait("content", servers, f"giving up after {timeout:g} s without data and without it", why)
        return Wait("content", servers, "others are asked if they send nothing", "the master answers")

    def _missing(self) -> str:
        """What has not arrived: a number of bytes, and the first file."""
        layout = self._manifest.layout
        length, first = 0, None
        for chunk in range(layout.chunk_count):
            for run in self._download.missing(chunk):
                begin, end = layout.piece(run.start), layout.piece(run.stop - 1)
                length += end.stream_offset + end.length - begin.stream_offset
                first = begin.file if first is None else first
        if first is None:
            return size(length)
        return f"{size(length)}, the first of {one_line(printable(self._manifest.path_of(first)), _PATH_SHOWN)},"

    def _asked(self) -> str:
        """The servers that were asked for it."""
        peers = self._transfer.peers
        named = [self._patience.master.name_and_trouble, *(f"{host} port {port}" for host, port in peers[:_NAMED])]
        if len(peers) > _NAMED:
            named.append(f"{counted(len(peers) - _NAMED, 'other peer')}")
        return ", ".join(named)


class Received:
    """Whether content arrives: chunks, or their bytes at a minimum rate. Any byte is not progress: those of a read that
    fails are lost, so they must arrive again, and more, before they count."""

    def __init__(self, fetched: int) -> None:
        self._fetched = self._most = fetched
        """The most bytes of whole chunks that there have been; those that turn out to be wrong are taken back. And the
        most bytes at the last progress, those of the chunks that were being read included."""

    def more(self, fetched: int, receiving: int) -> bool:
        """Whether there has been progress since the last time that this was true. `fetched`: bytes of whole chunks;
        `receiving`: bytes that have arrived of the chunks that are being read."""
        if fetched <= self._fetched and fetched + receiving < self._most + _STEP:
            return False
        self._fetched, self._most = max(self._fetched, fetched), fetched + receiving
        return True
