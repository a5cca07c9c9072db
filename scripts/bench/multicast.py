"""Multicast tools, which send every byte once, to all nodes: udpcast and UFTP.

Both get a limit slightly below the rate of the links. If they send faster, packet losses slow them down.
"""

from __future__ import annotations

from .tools import PORT, Stage, Tool, first_line, quoted, shell

_SHARE = 0.95
"""Share of a link's rate that is left for data after the headers of each packet."""
_BUFFER = ("--rcvbuf", "2M")
"""The default buffer overflows if a receiver gets no processor time for some hundredths of a second."""


class Udpcast(Tool):
    """One stream; a tree is sent as a tar archive."""

    name = "udpcast"
    package = "udpcast"
    programs = ("udp-sender", "udp-receiver")
    needs_all = True
    needs_rate = True
    listens = False

    def version(self) -> str:
        return first_line("dpkg-query", "--show", "udpcast")

    def head(self, stage: Stage) -> list[list[str]]:
        sender = quoted(
            *("udp-sender", "--nokbd", "--no-progress", "--full-duplex", "--interface", "eth0", "--portbase", PORT),
            # Of its own accord it asks a receiver that is gone 200 times, which takes minutes.
            *("--retries-until-drop", 30, "--min-receivers", stage.nodes, "--max-bitrate", int(stage.rate * _SHARE)),
        )
        root = quoted(stage.payload.root)
        if stage.payload.is_tree:
            return [shell(f"tar --create --directory {root} . | {sender}")]
        return [shell(f"{sender} --file {root}/{quoted(stage.payload.files[0])}")]

    def node(self, stage: Stage, node: int) -> list[str]:
        receiver = quoted(
            "udp-receiver", "--nokbd", "--no-progress", "--interface", "eth0", "--portbase", PORT, *_BUFFER
        )
        there = quoted(stage.destination(node))
        if stage.payload.is_tree:
            return shell(f"{receiver} | tar --extract --directory {there}")
        return shell(f"{receiver} --file {there}/{quoted(stage.payload.files[0])}")


class Uftp(Tool):
    """Sends file after file; all nodes acknowledge each. At the end of the session a node has everything."""

    name = "uftp"
    package = "uftp"
    programs = ("uftp", "uftpd")
    needs_all = True
    needs_rate = True
    listens = False
    goes_on = True
    head_comes_last = True

    def version(self) -> str:
        return first_line("dpkg-query", "--show", "uftp")

    def head(self, stage: Stage) -> list[list[str]]:
        receivers = ",".join(stage.address(node) for node in range(stage.nodes))
        kilobits = int(stage.rate * _SHARE / 1000)
        sender = quoted("uftp", "-R", kilobits, "-I", "eth0", "-p", PORT, "-r", "0.1", "-H", receivers)
        return [shell(f"cd {quoted(stage.payload.root)}", f"exec {sender} *")]

    def node(self, stage: Stage, node: int) -> list[str]:
        script = stage.work / f"received-{node}"
        script.write_text(f"#!/bin/sh\ntouch {quoted(stage.mark(node))}\n")
        script.chmod(0o755)
        # With a directory for what is not complete, the script is called once, when all is in place.
        unfinished = stage.work / "unfinished" / str(node)
        unfinished.mkdir(parents=True)
        client = ["uftpd", "-d", "-q", "-I", "eth0", "-p", str(PORT), "-D", str(stage.destination(node))]
        return [*client, "-T", str(unfinished), "-s", str(script)]
