"""Access lists: which users and groups are in them, and the same list with other IDs."""

from __future__ import annotations

from test.support.oddities import access_list
from xget_lib.manifest import acl
from xget_lib.manifest.entry import EntryMetadata


def test_owners_are_those_of_entries_and_those_named_in_lists() -> None:
    metadata = [
        EntryMetadata(0o644, 1, 2),
        EntryMetadata(0o644, 1, 3, ((acl.ACCESS, access_list(40, 50)), (b"user.x", access_list(60, 70)))),
        EntryMetadata(0o755, 4, 2, ((acl.DEFAULT, access_list(41, 51)),)),
    ]
    assert acl.owner_ids(metadata) == ({1, 4, 40, 41}, {2, 3, 50, 51})


def test_a_list_is_translated_for_another_machine() -> None:
    translated = acl.translated(access_list(40, 50), lambda user: user + 1, lambda group: group + 2)
    assert translated == access_list(41, 52)
    same = access_list(40, 50)
    assert acl.translated(same, lambda user: user, lambda group: group) is same


def test_the_permissions_of_the_owning_group_are_in_the_list() -> None:
    assert acl.group_permissions(access_list(40, 50)) == 4


def test_a_value_in_another_format_is_a_list_without_entries() -> None:
    for value in (b"", b"\3\0\0\0", access_list(40, 50)[:-1]):
        assert acl.owner_ids([EntryMetadata(0, 1, 2, ((acl.ACCESS, value),))]) == ({1}, {2})
        assert acl.translated(value, lambda user: 0, lambda group: 0) == value
        assert acl.group_permissions(value) == 0
