"""Which extended attributes (xattr(7)) a process can set, and which of them count as permissions."""

from __future__ import annotations

from xget_lib.fs import xattrs
from xget_lib.manifest import acl

# Prefix of the name; whether only root can set it; whether it counts as permissions. The first that fits decides.
_RULES = (
    (xattrs.USER, False, False),
    (acl.ACCESS, False, True),
    (acl.DEFAULT, False, True),
    (xattrs.CAPABILITY, True, True),
    (b"", True, False),  # trusted, and the rest of security
)


def needs_root(name: bytes) -> bool:
    return next(root for prefix, root, _ in _RULES if name.startswith(prefix))


def is_permission(name: bytes) -> bool:
    return next(permission for prefix, _, permission in _RULES if name.startswith(prefix))


def kind_of(name: bytes) -> bytes:
    """What a file system supports as a whole or not at all: an access list, or a namespace."""
    return name if name in acl.ACLS else name.partition(b".")[0]
