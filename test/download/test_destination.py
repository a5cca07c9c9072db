"""Looking at what is in a destination."""

from __future__ import annotations

from pathlib import Path

import pytest

from test.support.downloads import Served, destination
from xget_lib.download.destination import Destination
from xget_lib.fs.rooted import Root


@pytest.fixture
def there(served: Served, dest: Path) -> Destination:
    dest.mkdir()
    (dest / "file").write_bytes(b"12345")
    (dest / "out").symlink_to("/etc")
    return destination(Root(bytes(dest)), served.manifest)


def test_the_status_is_that_of_the_entry_itself(there: Destination) -> None:
    file, link = there.status(b"file"), there.status(b"out")
    assert file is not None and file.st_size == 5
    assert link is not None and link.st_size == len("/etc")


@pytest.mark.parametrize("path", [b"nothing", b"nothing/below", b"file/below", b"out/passwd"])
def test_nothing_is_at_a_path_whose_directory_is_missing_or_a_file_or_a_link(there: Destination, path: bytes) -> None:
    assert there.status(path) is None
