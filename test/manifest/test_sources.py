"""Sources: which entry each means, through links too, and what is said of one that means none."""

from __future__ import annotations

import pytest

from test.support.manifests import directory, file, hard_link, link, manifest, root
from xget_lib.errors import NotServed
from xget_lib.manifest.manifest import Manifest, Omitted
from xget_lib.manifest.sources import find_source, normalise_source


@pytest.mark.parametrize(
    ("source", "path"),
    [
        (b".", b""),
        (b"./", b""),
        (b"./.", b""),
        (b"a", b"a"),
        (b"a/", b"a"),
        (b"./a//b/./", b"a/b"),
        (b"...", b"..."),
    ],
)
def test_a_source_may_be_written_in_several_ways(source: bytes, path: bytes) -> None:
    assert normalise_source(source) == path


SERVED = manifest(
    root(),
    directory(b"a"),
    directory(b"a/b"),
    file(b"a/b/file"),
    directory(b"secret"),
    link(b"a/up", b"../a/./b//"),
    link(b"a/again", b"up"),
    link(b"to-file", b"a/b/file"),
    link(b"gone", b"a/nothing"),
    link(b"out", b"a/../../other"),
    link(b"absolute", b"/srv/images/a"),
    link(b"loop", b"pool/x"),
    link(b"pool", b"loop"),
    link(b"through-file", b"a/b/file/.."),
    omitted=(
        Omitted(b"a/b/socket", "a socket", expected=True),
        Omitted(b"key", "Permission denied"),
        Omitted(b"secret", "Permission denied"),
    ),
)


@pytest.mark.parametrize(
    ("source", "path"),
    [
        (b".", b""),
        (b"a", b"a"),
        (b"a/", b"a"),
        (b"a/up", b"a/up"),
        (b"a/up/", b"a/b"),
        (b"a/up/.", b"a/b"),
        (b"a/again/file", b"a/b/file"),
        (b"to-file", b"to-file"),
    ],
)
def test_a_link_is_followed_with_a_slash_or_a_name_after_it(source: bytes, path: bytes) -> None:
    assert SERVED.entries.path(find_source(SERVED, source)) == path


def test_a_further_name_of_a_link_is_followed_too() -> None:
    served = manifest(root(), directory(b"d"), file(b"d/x"), link(b"l", b"d"), hard_link(b"m", b"l"))
    assert served.entries.path(find_source(served, b"m/x")) == b"d/x"


NOTHING_WRITTEN = "nothing was written)"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"b", "b: not served by the master ("),
        (b"a/b/file/", "a/b/file/: not a directory (remove the / at its end; "),
        (b"a/b/file/x", "a/b/file/x: a/b/file is not a directory ("),
        (b"to-file/", "to-file/: not a directory (remove the / at its end; "),
        (b"gone/", "gone/: gone is a link to a/nothing, which the master does not serve ("),
        (b"out/x", "out/x: out is a link to a/../../other, which leads out of what the master serves ("),
        (b"absolute/", "absolute/: absolute is a link to /srv/images/a, an absolute path (make it a relative link at"),
        (b"loop/", "loop/: too many links, the last: "),
        (b"through-file/", "through-file/: a/b/file is not a directory ("),
        (b"a/up/socket", "a/up/socket: not served by the master: a socket ("),
        (b"key", "key: not readable at the master: Permission denied ("),
        (b"secret/x", "secret/x: not readable at the master: Permission denied ("),
    ],
)
def test_a_source_that_is_not_there_says_why(source: bytes, message: str) -> None:
    with pytest.raises(NotServed) as caught:
        find_source(SERVED, source)
    assert str(caught.value).startswith(message) and str(caught.value).endswith(NOTHING_WRITTEN)


def test_of_a_single_file_only_its_name_is_served() -> None:
    served: Manifest = manifest(file(b"image"))
    assert find_source(served, b".") == find_source(served, b"./image") == 0
    for source in (b"other", b"image/x", b"image/"):
        with pytest.raises(NotServed):
            find_source(served, source)
