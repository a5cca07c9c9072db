"""What can be seen of a directory, and what each dialect of 9P lets Linux see of it.

The same functions look at the served directory here and at the mounted one in the virtual machine.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from typing import Any

PLAIN, UNIX, LINUX = DIALECTS = "9P2000", "9P2000.u", "9P2000.L"

Facts = dict[str, Any]
Tree = dict[str, Facts]
"""By path from the root, which is `.`; names that are no text as os.fsdecode gives them."""

_SECOND = 1_000_000_000


def describe(root: str) -> Tree:
    """Everything below a directory. Raises OSError."""
    return {os.path.relpath(path, root): _facts(path) for path in _below(root)}


def _below(directory: str) -> Iterator[str]:
    yield directory
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if stat.S_ISDIR(os.lstat(path).st_mode):
            yield from _below(path)
        else:
            yield path


def _facts(path: str) -> Facts:
    status = os.lstat(path)
    facts: Facts = {
        "kind": stat.S_IFMT(status.st_mode),
        "mode": stat.S_IMODE(status.st_mode),
        "user": status.st_uid,
        "group": status.st_gid,
        "modified": status.st_mtime_ns,
        "names": status.st_nlink,
    }
    match facts["kind"]:
        case stat.S_IFREG:
            facts |= {"size": status.st_size, "content": digest(path), "attributes": attributes(path)}
        case stat.S_IFLNK:
            facts |= {"size": status.st_size, "target": os.readlink(path)}
        case stat.S_IFCHR | stat.S_IFBLK:
            facts |= {"device": [os.major(status.st_rdev), os.minor(status.st_rdev)]}
    return facts


def digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def attributes(path: str) -> dict[str, str]:
    """The extended attributes that anybody can set, in hexadecimal. None where the file system knows none."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    return {name: os.getxattr(path, name).hex() for name in sorted(names) if name.startswith("user.")}


def shown(tree: Tree, dialect: str) -> Tree:
    """What Linux sees of a tree that is mounted in a dialect."""
    return {path: _shown(facts, dialect) for path, facts in tree.items() if _exists(path, facts, dialect)}


def _exists(path: str, facts: Facts, dialect: str) -> bool:
    """9P2000 has no word for links and devices, and only that of Linux has one for names that are no text."""
    if dialect == LINUX:
        return True
    return _is_text(path) and (dialect == UNIX or facts["kind"] in (stat.S_IFREG, stat.S_IFDIR))


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(facts: Facts, dialect: str) -> Facts:
    if dialect == LINUX:
        return facts
    # Seconds only; how many names a file has is not told.
    facts = facts | {"modified": facts["modified"] // _SECOND * _SECOND}
    hidden = {"names", "attributes"}
    if dialect == PLAIN:
        # Owners are names that Linux does not look at, and there is no set-user-id.
        hidden |= {"user", "group"}
        facts["mode"] &= 0o777
    return {name: value for name, value in facts.items() if name not in hidden}


def differences(expected: Tree, seen: Tree) -> list[str]:
    """What of the expected is not seen so, and what else there is. Facts that are not expected are not compared."""
    found = [f"lacking: {path!a}" for path in expected.keys() - seen.keys()]
    found += [f"too much: {path!a}" for path in seen.keys() - expected.keys()]
    for path in sorted(expected.keys() & seen.keys()):
        found += [
            f"{name} of {path!a}: {seen[path].get(name)!a} instead of {value!a}"
            for name, value in expected[path].items()
            if seen[path].get(name) != value
        ]
    return found
