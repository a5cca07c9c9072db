"""What is not well is an error, and with --json a line on stderr."""

from __future__ import annotations

import pytest

from test.control.test_status import configured
from xget_lib.control.outcome import failed
from xget_lib.errors import CommandFailed

ERROR = CommandFailed("status", "2 missing", 1)


def test_it_is_an_error_unless_stdout_has_said_it_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandFailed):
        failed(configured(), ERROR)
    assert failed(configured(json=True), ERROR) == 1
    assert capsys.readouterr() == ("", "xget: status: 2 missing\n")
