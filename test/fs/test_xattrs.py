"""Extended attributes: which belong to a copy, and what reading them does where there are none."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from xget_lib.fs import xattrs


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (b"user.x", True),
        (b"trusted.x", True),
        (b"security.capability", True),
        (b"security.evm", False),
        (b"system.posix_acl_access", True),
        (b"system.nfs4_acl", False),
        (b"other.x", False),
    ],
)
def test_which_attributes_are_kept(name: bytes, kept: bool) -> None:
    assert xattrs.is_kept(name) == kept


def test_a_path_is_not_followed_but_a_descriptor_is_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    os.setxattr(tmp_path / "file", "user.b", b"2")
    os.setxattr(tmp_path / "file", "user.a", b"1")
    expected = ((b"user.a", b"1"), (b"user.b", b"2"))
    assert xattrs.read(bytes(tmp_path / "file")) == expected
    assert xattrs.read(bytes(tmp_path / "link")) == ()
    fd = os.open(tmp_path / "link", os.O_RDONLY)
    assert xattrs.read(fd) == expected
    os.close(fd)


def test_a_file_system_without_attributes_has_none_and_other_errors_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(number: int) -> None:
        def fail(path: object, *, follow_symlinks: bool) -> list[str]:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "listxattr", fail)

    failing(errno.EOPNOTSUPP)
    assert xattrs.read(b"/") == ()
    failing(errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        xattrs.read(b"/")


def test_an_attribute_that_may_not_be_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "listxattr", lambda path, *, follow_symlinks: ["user.a", "trusted.b"])

    def get(path: object, name: bytes, *, follow_symlinks: bool) -> bytes:
        if name == b"trusted.b":
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return b"value"

    monkeypatch.setattr(os, "getxattr", get)
    assert xattrs.read(bytes(tmp_path)) == ((b"user.a", b"value"),)


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
    assert (xattrs.needs_root(name), xattrs.is_permission(name), xattrs.kind_of(name)) == (root, permission, kind)
