"""The usage text as a table, and any command line that is read with it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xget_lib import cli
from xget_lib.usage import Usage

USAGE = Usage(cli.__doc__ or "")


def test_the_roles_of_an_option_stand_in_its_description() -> None:
    assert USAGE.options["delete"].roles == ("client",)
    assert USAGE.options["json"].roles == ("client", "status")
    assert USAGE.options["port"].roles == ()


def test_every_role_is_one_that_exists() -> None:
    roles = {role for option in USAGE.options.values() for role in option.roles}
    assert roles <= {"master", "client", *USAGE.commands}


def test_the_defaults_are_those_in_the_text() -> None:
    assert USAGE.defaults["port"] == "20004"
    assert set(USAGE.defaults) <= set(USAGE.options)


@given(st.lists(st.sampled_from(["--", "-", "-p", "-q", "--no", "--json", "--port=1", "-qp", "status"]) | st.text()))
def test_any_command_line_is_read_to_its_end(arguments: list[str]) -> None:
    parsed = USAGE.parse(arguments)
    assert parsed.error is None or str(parsed.error).isprintable()
    assert set(parsed.options) <= set(USAGE.options)


def test_an_error_does_not_hide_the_options_behind_it() -> None:
    parsed = USAGE.parse(["--bogus", "-z", "--json", "a"])
    assert str(parsed.error).startswith("unknown option --bogus")
    assert (parsed.options, parsed.words) == ({"json": True}, ["a"])
