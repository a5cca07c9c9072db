"""A selection without what patterns exclude (`--exclude` of a client).

A pattern is compared with the path that an entry has in the destination, as rsync does. The destination itself is not
compared.
"""

from __future__ import annotations

from xget_lib.manifest.entry import DIRECTORY, joined
from xget_lib.manifest.patterns import Patterns
from xget_lib.manifest.selection import Selection


def leave_out(selection: Selection, exclude: Patterns) -> Selection:
    """The same selection without these entries and all below them. What else is at such a path in the destination is
    protected (`Selection.protects`)."""
    entries = selection.manifest.entries
    excluded: list[int] = []
    unvisited: list[tuple[int, bytes]] = []

    def visit(number: int, path: bytes) -> None:
        if number not in selection:
            return
        is_directory = entries.kind(number) == DIRECTORY
        if path and exclude.exclude(path, is_directory=is_directory):
            excluded.append(number)
        elif is_directory:
            unvisited.append((number, path))

    for name, number in selection.sources.items():
        visit(number, name)
    while unvisited:
        directory, path = unvisited.pop()
        children = entries.children_of(directory)
        for number, name in zip(children, entries.names_in(children), strict=True):
            visit(number, joined(path, name))
    return selection.without(excluded, exclude)
