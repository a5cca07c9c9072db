"""What a process needs to prove that it belongs, and to ask others, by its options."""

from __future__ import annotations

import pytest

from test.support.nodes import configured
from xget_lib.net.credentials import credentials_of
from xget_lib.process import libmunge


def test_munge_is_there_if_it_is_a_method_with_the_users_of_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libmunge, "_load", object)
    munge = credentials_of(configured(1, auth=("munge",), munge_users=(5,))).munge
    assert munge is not None and munge.allows(5) and not munge.allows(0)
    assert credentials_of(configured(1)).munge is None
