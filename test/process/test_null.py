"""What stands in the place of stdin, stdout and stderr, whether there is a /dev/null or not."""

from __future__ import annotations

import os

import pytest

from xget_lib.process.null import open_null


@pytest.mark.parametrize("path", [os.devnull, "/nonexistent/null"])
def test_it_is_empty_and_takes_what_is_written(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "devnull", path)
    descriptor = open_null()
    try:
        assert os.read(descriptor, 1) == b""
        assert os.write(descriptor, b"x") == 1
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)
