"""The status of a server as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xget_lib.errors import ProtocolViolation, printable
from xget_lib.report.distribution_text import summary_lines
from xget_lib.report.events import counted, size
from xget_lib.swarm.hosts import host_of
from xget_lib.swarm.recent import RecentByHost

_ENDED_SHOWN = 10
"""Runs that ended which are shown."""
_CHILDREN_SHOWN = 20
"""More nodes than these are not shown one by one: the summary names those that need a look."""


def table(status: Mapping[str, Any]) -> str:
    """Format a status, which came from a server as JSON. Unknown fields are ignored, missing ones left out.

    Control characters are escaped: the text comes from another machine and is printed on a terminal. Raises
    ProtocolViolation if the status is not what a server sends.
    """
    try:
        return "\n".join(map(printable, _lines(status)))
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise ProtocolViolation(f"invalid status ({type(error).__name__}: {error})") from None


def _lines(status: Mapping[str, Any]) -> list[str]:
    generation = status.get("generation")
    files = counted(status.get("files", 0), "file")
    signed = f", signed with serial {status['serial']}" if status.get("serial") is not None else ""
    lines = [
        f"{status.get('role', 'server')} of {status.get('path')}, process {status.get('pid')},"
        f" up {duration(status.get('seconds', 0))}, sent {size(status.get('sent', 0))}",
        f"generation {generation[:16]}: {files}, {size(status.get('bytes', 0))}{signed}"
        if generation
        else "no snapshot yet",
    ]
    lines += [f"PROBLEM: {status[field]}" for field in ("problem", "nursery_problem") if status.get(field)]
    if status.get("encrypts"):
        lines.append(f"TLS: content is encrypted in {status['encrypts']}")
    lines += [f"not served: {line}" for line in status.get("omitted") or ()]
    if status.get("scanned") is not None:
        watched = "watching for changes" if status.get("notices") else "not watching for changes"
        lines.append(f"scanned {duration(status['scanned'])} ago, {watched}")
    if "held" in status:
        follows = ", follows the master" if status.get("follows") else ""
        follows += ", its files are of an earlier generation" if status.get("outdated") else ""
        lines.append(f"holds {_share(status['held'], status.get('chunks'))}{follows}")
    for worker in status.get("workers", ()):
        connections = counted(worker["connections"], "connection")
        lines.append(f"worker {worker['pid']}: {connections}, sent {size(worker['sent'])}")
    children = status.get("children")
    distribution = status.get("distribution")
    if distribution is not None:
        lines += summary_lines(distribution)
    elif children is not None:
        lines.append(f"{counted(len(children), 'node')} serving")
    many = distribution is not None and len(children or ()) > _CHILDREN_SHOWN
    for child in () if many else children or ():
        holds = _share(child["held"], status.get("chunks"))
        if child.get("generation") != generation:
            holds = "another generation" if child.get("generation") else "no content yet"
        follows = ", follows" if child.get("follows") else ""
        since = duration(child["seconds"])
        state = _state(child)
        where = f"{child['address']} port {child['port']}"
        where = f"{child['name']} ({where})" if child.get("name") else where
        lines.append(f"  {where}: {state}{holds}, registered {since} ago{follows}")
    lines += _ended(status.get("ended") or [])
    clients = status.get("c_clients", ())
    if clients:
        lines.append(f"{counted(len(clients), 'C client')} serving")
    for client in clients:
        files = counted(client["files"], "file")
        since = duration(client["seconds"])
        lines.append(f"  {client['address']} port {client['port']}: {files}, registered {since} ago")
    return lines


def _ended(nodes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """How the last runs of nodes have ended."""
    shown: RecentByHost[Mapping[str, Any]] = RecentByHost(_ENDED_SHOWN)
    for node in nodes:
        shown.add(host_of(str(node["address"])), node)
    if nodes:
        yield f"the last runs that ended, {min(len(nodes), _ENDED_SHOWN)} of {len(nodes)}:"
    for node in shown:
        how = f"{node['state']}: {node['why']}" if node.get("why") else node["state"]
        ago, took, fetched = duration(node["seconds_ago"]), duration(node["seconds"]), size(node["fetched"])
        yield f"  {node['address']} port {node['port']}: {how}, {ago} ago, after {took}, {fetched} fetched"


def _state(child: Mapping[str, Any]) -> str:
    """How a node is doing, if that is more than what it holds says."""
    state = child.get("state")
    if state not in ("downloading", "outdated", "failed", "interrupted"):
        return ""
    why = child.get("lagging") or child.get("why")
    if child.get("lagging"):
        return f"LAGGING ({why}), "
    return f"{state} ({why}), " if why else f"{state}, "


def _share(held: int, chunks: int | None) -> str:
    if chunks is None:
        return f"{held} chunks"
    percent = 100 * held // chunks if chunks else 100
    return f"{percent} % ({held} of {chunks} chunks)"


def duration(seconds: float) -> str:
    """A time for people: `90 s`, `10 min`, `2 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds) // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
