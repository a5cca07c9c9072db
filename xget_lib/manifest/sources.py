"""What a source on the command line means: an entry of the manifest, and the name that it gets in the destination.

A symbolic link is followed where more of the path comes after it, and where the path ends with a slash (`current/`), as
rsync does. It is followed inside the manifest: a link that leads out of what the master serves is refused, as nobody
can tell what is there.
"""

from __future__ import annotations

from collections import deque

from xget_lib.errors import NotServed, UsageError, printable
from xget_lib.manifest.entry import DIRECTORY, LINK, joined
from xget_lib.manifest.manifest import Manifest

_LINKS_LIMIT = 40
"""Links in one path; the limit of Linux (path_resolution(7))."""


def normalise_source(source: bytes) -> bytes:
    """A source as a path in the manifest: `./a//b/` is b"a/b", `.` is b"". UsageError where it leads outside."""
    names = [name for name in source.split(b"/") if name not in (b"", b".")]
    if not source or b"\0" in source:
        raise UsageError(f"'{printable(source)}': invalid path (use . for everything)")
    if source.startswith(b"/"):
        raise UsageError(f"{printable(source)}: a source must be a relative path (remove the / at its start)")
    if b".." in names:
        raise UsageError(f"{printable(source)}: a source must not contain ..")
    return b"/".join(names)


def find_source(manifest: Manifest, source: bytes) -> int:
    """The entry that a source means. Raises NotServed, and UsageError as normalise_source does."""
    path = normalise_source(source)
    entries = manifest.entries
    if not path:
        return 0
    names_directory = source.endswith((b"/", b"/."))
    if entries.kind(0) != DIRECTORY:
        number = entries.find(path)
        if number is None:
            raise NotServed(source)
    else:
        number = _walk(manifest, source, deque(path.split(b"/")), follow_last=names_directory)
    if names_directory and entries.kind(number) != DIRECTORY:
        raise NotServed(source, "not a directory", "remove the / at its end")
    return number


def _walk(manifest: Manifest, source: bytes, names: deque[bytes], *, follow_last: bool) -> int:
    """The entry at a path below the served directory. The loop ends: links count, and the length of a target has a
    limit."""
    entries = manifest.entries
    walked = [0]  # the entries from the root to here
    links = 0
    link = ""  # the last that was followed
    while names:
        name = names.popleft()
        if entries.kind(walked[-1]) != DIRECTORY:
            raise NotServed(source, f"{printable(entries.path(walked[-1]))} is not a directory")
        if name in (b"", b"."):
            continue
        if name == b"..":
            if len(walked) == 1:
                raise NotServed(source, f"{link}, which leads out of what the master serves")
            walked.pop()
            continue
        number = entries.child(walked[-1], name)
        if number is None:
            raise _absent(manifest, source, walked[-1], name, link)
        first = entries.first_name(number)
        if entries.kind(first) != LINK or not (names or follow_last):
            walked.append(number)
            continue
        links += 1
        target = entries.target(first)
        link = f"{printable(entries.path(number))} is a link to {printable(target)}"
        if links > _LINKS_LIMIT:
            raise NotServed(source, f"too many links, the last: {link}")
        if target.startswith(b"/"):
            raise NotServed(source, f"{link}, an absolute path", "make it a relative link at the master")
        names.extendleft(reversed(target.split(b"/")))
    return walked[-1]


def _absent(manifest: Manifest, source: bytes, directory: int, name: bytes, link: str) -> NotServed:
    """The error for a name that the manifest does not have in a directory. `link` led there, if it is not empty."""
    above = manifest.entries.path(directory)
    path = joined(above, name)
    for each in manifest.omitted:
        if each.path in (path, above):
            return NotServed(source, f"not {'served by' if each.expected else 'readable at'} the master: {each.why}")
    return NotServed(source, f"{link}, which the master does not serve") if link else NotServed(source)
