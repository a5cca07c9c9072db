"""Namespaces that an installation may lack."""

from __future__ import annotations

from pathlib import Path

import pytest

from xget_lib import extensions
from xget_lib.classic import extension


def test_an_installed_package_is_loaded_under_its_aname() -> None:
    assert extensions.extensions() == {"classic": extension}


@pytest.mark.parametrize("package", ["xget_lib.not_there", "xget_lib.nothing_in_it"])
def test_a_package_that_is_not_installed_is_left_out(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import xget_lib

    (tmp_path / "nothing_in_it" / "__pycache__").mkdir(parents=True)
    monkeypatch.setattr(xget_lib, "__path__", [*xget_lib.__path__, str(tmp_path)])
    monkeypatch.setattr(extensions, "_PACKAGES", {"another": package})
    assert extensions.extensions() == {}
