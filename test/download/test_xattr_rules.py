"""Extended attributes: who can set them, and which are permissions."""

from __future__ import annotations

import pytest

from xget_lib.download.xattr_rules import is_permission, kind_of, needs_root


@pytest.mark.parametrize(
    ("name", "root", "permission", "kind"),
    [
        (b"user.x", False, False, b"user"),
        (b"system.posix_acl_access", False, True, b"system.posix_acl_access"),
        (b"system.posix_acl_default", False, True, b"system.posix_acl_default"),
        (b"security.capability", True, True, b"security"),
        (b"security.selinux", True, False, b"security"),
        (b"trusted.x", True, False, b"trusted"),
    ],
)
def test_each_attribute_has_its_rule(name: bytes, root: bool, permission: bool, kind: bytes) -> None:
    assert (needs_root(name), is_permission(name), kind_of(name)) == (root, permission, kind)
