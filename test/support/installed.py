"""Tests of what is not part of Python, and so may not be installed."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def lacking(what: str) -> NoReturn:
    """Skips a test, and says for want of what. A build machine has everything: there it is a failure (`CI=true`)."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
