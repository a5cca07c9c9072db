"""Option values from the command line and the file: which are accepted, and the errors for the others."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test.support.roles import USAGE
from xget_lib import config, config_file
from xget_lib.config import Config
from xget_lib.errors import UsageError

DEFAULTS: dict[str, Any] = {
    "port": "20004",
    "workers": 2,
    "max-direct": "6",
    "retries": "3",
    "timeout": "60",
    "stall-timeout": "60",
    "linger": "300",
    "debug": "0",
    "max-delete": "50%",
    "log-format": "plain",
    **dict.fromkeys(
        [
            "follow",
            "delete",
            "checksum",
            "dry-run",
            "no-permissions",
            "no-owners",
            "no-devices",
            "no-set-id",
            "insecure-dest",
            "signed-only",
            "allow-rollback",
            "one-file-system",
            "public-only",
            "rehash",
            "force",
            "daemon",
            "quiet",
            "verbose",
            "json",
            "tls",
            "tree",
            "watch",
            "all",
        ],
        False,
    ),
}


def build(**given: Any) -> Config:
    return config.build(DEFAULTS, {}, {name.replace("_", "-"): value for name, value in given.items()})


def test_the_command_line_overrides_the_file_and_the_file_the_defaults() -> None:
    built = config.build(DEFAULTS, {"port": 1, "retries": 2}, {"port": "3", "retries": None})
    assert (built.port, built.retries, built.debug) == (3, 2, 0)


def test_a_file_can_turn_off_a_flag_that_is_on_by_default() -> None:
    assert config.build({**DEFAULTS, "quiet": True}, {"quiet": False}, {}).quiet is False


def test_a_follower_lingers_forever_unless_linger_is_given() -> None:
    assert build(follow=True).linger == math.inf
    assert build(follow=True, linger="7").linger == 7
    assert config.build(DEFAULTS, {"linger": 8}, {"follow": True}).linger == 8
    assert config.build(DEFAULTS, {"follow": True}, {"linger": None}).linger == math.inf
    assert build(follow=False).linger == 300


def test_follow_cannot_be_combined_with_linger_0() -> None:
    with pytest.raises(UsageError, match=r"^--linger 0: cannot be combined with --follow, which keeps running"):
        build(follow=True, linger=0)


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("port", "1", 1),
        ("port", 65535, 65535),
        ("workers", "256", 256),
        ("timeout", 0, 0.0),
        ("timeout", "1e3", 1000.0),
        ("linger", "forever", math.inf),
        ("linger", 1.5, 1.5),
        ("json", True, True),
        ("host", "fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_valid_values_are_converted(name: str, value: object, accepted: object) -> None:
    assert getattr(build(**{name: value}), name) == accepted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "0"),
        ("port", 65536),
        ("port", True),
        ("port", 1.0),
        ("port", "٣"),
        ("port", " 7"),
        ("port", "7" * 5000),
        ("workers", 257),
        ("debug", -1),
        ("timeout", "inf"),
        ("timeout", math.inf),
        ("timeout", "nan"),
        ("timeout", True),
        ("timeout", [1]),
        ("timeout", 1e300),
        ("linger", "Forever"),
        ("linger", -0.1),
        ("quiet", "true"),
        ("quiet", 1),
        ("host", ""),
        ("host", 7),
        ("log", "a\0b"),
        ("log", ["a"]),
    ],
)
def test_an_invalid_value_is_an_error_that_names_the_option(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"^--{name} "):
        build(**{name: value})


@settings(deadline=None)
@given(
    st.sampled_from(sorted(DEFAULTS)),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.text(max_size=3)),
)
def test_any_value_is_accepted_or_an_error_of_one_line(name: str, value: object) -> None:
    try:
        config.build(DEFAULTS, {name: value}, {})
    except UsageError as error:
        assert str(error).isprintable()


def test_paths_are_relative_to_the_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    built = build(log="log", pidfile="../pid")
    assert built.log == os.path.join(tmp_path, "log")
    assert built.pidfile == os.path.join(tmp_path.parent, "pid")


def test_a_relative_path_in_a_directory_that_was_removed_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UsageError, match=r"^log: the current directory does not exist any more"):
        build(log="log")
    assert build(log="/log").log == "/log"


def test_an_empty_text_is_an_error() -> None:
    with pytest.raises(UsageError, match="--host : not a text, or an empty one"):
        build(host="")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"prot = 1\n", "unknown option 'prot'"),
        (b"[section]\nport = 1\n", "unknown section 'section'"),
        (b"config = 'other'\n", "unknown option 'config'"),
        (b"help = true\n", "unknown option 'help'"),
        (b"port = \n", "Invalid value"),
        (b"\n\xff\n", "line 2: not UTF-8"),
    ],
)
def test_an_invalid_file_is_an_error_of_one_line(tmp_path: Path, text: bytes, why: str) -> None:
    file = tmp_path / "xget.toml"
    file.write_bytes(text)
    with pytest.raises(UsageError) as caught:
        config_file.read(str(file), USAGE)
    assert str(caught.value).startswith(f"{file} line ")
    assert why in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError) as caught:
            config_file.read(str(path), USAGE)
        assert str(caught.value) == f"--config {path}: {why}"


def test_a_configuration_is_immutable() -> None:
    with pytest.raises(AttributeError):
        build().port = 7  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "why"),
    [("x%", "neither a whole number nor a percentage"), ("101%", "not between 0% and 100%"), ("-1", "neither a whole")],
)
def test_a_limit_of_removals_is_a_number_or_a_percentage(value: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"--max-delete {value}: {why}"):
        config.build(DEFAULTS, {}, {"max-delete": value})


def test_a_limit_of_removals_without_removals_is_refused() -> None:
    with pytest.raises(UsageError, match="--max-delete: has no effect without --delete"):
        config.build(DEFAULTS, {}, {"max-delete": "3"})
    assert config.build(DEFAULTS, {"delete": True}, {"max-delete": "3"}).max_delete.number == 3
    assert config.build(DEFAULTS, {"max-delete": 3}, {}).max_delete.number == 3, "a file may have options for all runs"


def test_a_rollback_is_allowed_only_where_there_may_be_one() -> None:
    with pytest.raises(UsageError, match="--allow-rollback: has no effect without --trust"):
        config.build(DEFAULTS, {}, {"allow-rollback": True})
    assert config.build(DEFAULTS, {"trust": "/keys"}, {"allow-rollback": True}).allow_rollback


@pytest.mark.parametrize("option", ["no_permissions", "no_owners"])
def test_without_permissions_or_owners_there_are_neither_devices_nor_powers(option: str) -> None:
    assert (build().devices, build().set_id) == (True, True)
    built = build(**{option: True})
    assert (built.devices, built.set_id) == (False, False)
    assert (build(no_devices=True).devices, build(no_devices=True).set_id) == (False, True)
    assert (build(no_set_id=True).devices, build(no_set_id=True).set_id) == (True, False)


def test_what_is_open_without_the_secret_is_a_list() -> None:
    built = config.build(
        DEFAULTS, {"secret": "/etc/xget/secret"}, {"open": "files, classic", "open-to": "192.0.2.0/24,::1"}
    )
    assert (built.secret, built.open) == ("/etc/xget/secret", ("files", "classic"))
    assert list(map(str, built.open_to)) == ["192.0.2.0/24", "::1/128"]
    assert config.build(DEFAULTS, {"secret": "s", "open": ["files"], "open-to": ["::1"]}, {}).open == ("files",)


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("rate", "fast", "not a number of bytes such as 500K, 20M or 1.5G"),
        ("rate", True, "not a number of bytes such as 500K, 20M or 1.5G"),
        ("rate-up", "1", "not between 16K and 1000T"),
        ("rate", "9999999T", "not between 16K and 1000T"),
        ("ports", "80-90", "not FIRST-LAST: not between 1024 and 65535"),
        ("ports", "4000-", "not FIRST-LAST: not a whole number"),
        ("ports", "4001-4000", "the first port is higher than the last"),
        ("exclude", 7, "not a list of patterns"),
        ("exclude", ["a", ""], "not a list of patterns: one is empty, or too long"),
        ("exclude", ["+ "], "not a list of patterns: one is empty, or too long"),
        ("exclude", "!", "a pattern that rsync has for itself only"),
        ("open", "status", "not some of classic, files, swarm"),
        ("open", "files,", "not a list of texts, or an empty one"),
        ("auth", "kerberos", "not some of secret, munge"),
        ("munge-users", "root,nobody knows", "there is no user nobody knows"),
        ("munge-users", "4294967295", "not between 0 and 4294967294"),
        ("munge-users", "0,", "not a list of texts, or an empty one"),
        ("open-to", "head", "not a network such as 192.0.2.0/24: "),
        ("open-to", "192.0.2.1/24", "not a network such as 192.0.2.0/24: "),
    ],
)
def test_a_list_has_nothing_else(option: str, value: str, why: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"--{option} {value}: {why}")):
        config.build(DEFAULTS, {"secret": "s", "open": "files"}, {option: value})


@pytest.mark.parametrize(
    ("option", "value", "needed"),
    [
        ("open", "files", "secret or --auth or --tls"),
        ("open-to", "::1", "open"),
        ("tls-cert", "c", "tls"),
        ("tls-key", "k", "tls-cert"),
        ("tls-ca", "a", "tls"),
    ],
)
def test_exceptions_without_a_rule_are_refused(option: str, value: str, needed: str) -> None:
    with pytest.raises(UsageError, match=f"--{option}: has no effect without --{needed}"):
        config.build(DEFAULTS, {}, {option: value})


@pytest.mark.parametrize(
    ("options", "methods"),
    [
        ({}, ()),
        ({"secret": "s"}, ("secret",)),
        ({"auth": "munge"}, ("munge",)),
        ({"auth": "munge,secret", "secret": "s"}, ("munge", "secret")),
        ({"auth": ["secret", "munge", "secret"], "secret": "s"}, ("secret", "munge")),
    ],
)
def test_a_secret_is_proved_if_no_other_method_is_named(options: dict[str, Any], methods: tuple[str, ...]) -> None:
    assert config.build(DEFAULTS, {}, options).auth == methods
    assert config.build(DEFAULTS, options, {}).auth == methods


def test_a_method_on_the_command_line_counts_before_a_secret_in_the_file() -> None:
    assert config.build({**DEFAULTS, "secret": "of systemd"}, {"secret": "s"}, {"auth": "munge"}).auth == ("munge",)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"auth": "secret"}, "--auth secret: needs --secret FILE"),
        ({"auth": "munge", "secret": "s"}, "--secret: has no effect without --auth secret"),
        ({"munge-users": "0"}, "--munge-users: has no effect without --auth munge"),
        ({"munge-socket": "/x", "secret": "s"}, "--munge-socket: has no effect without --auth munge"),
        ({"open": "files"}, "--open: has no effect without --secret or --auth or --tls"),
    ],
)
def test_methods_have_what_they_need_and_nothing_else(options: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError) as error:
        config.build(DEFAULTS, {}, options)
    assert str(error.value) == why


def test_users_are_names_and_uids() -> None:
    for value in ("root,1000", ["root", 1000], "root, 1000"):
        assert config.build(DEFAULTS, {}, {"auth": "munge", "munge-users": value}).munge_users == (0, 1000)
    assert config.build(DEFAULTS, {"auth": "munge", "munge-users": 7}, {}).munge_users == (7,)


def test_tls_that_proves_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="--tls: needs --secret, --auth or --tls-ca, or anybody can be in the middle"):
        build(tls=True)
    with pytest.raises(UsageError, match="--tls-ca: needs --tls-cert: both sides show a certificate"):
        build(tls=True, tls_ca="a")
    assert build(tls=True, secret="s").tls and build(tls=True, tls_ca="a", tls_cert="c").tls
    assert build(tls=True, secret="s", open="files").open == ("files",)


def test_a_credential_of_systemd_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.credential() is None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert config.credential() is None
    (tmp_path / "xget-secret").touch()
    assert config.credential() == str(tmp_path / "xget-secret")


def test_who_may_connect_is_a_list_of_networks_and_ipv4_is_the_same_in_both_spellings() -> None:
    assert list(map(str, build(allow="192.0.2.0/24, ::1").allow)) == ["192.0.2.0/24", "::1/128"]
    assert list(map(str, config.build(DEFAULTS, {"allow": ["::ffff:192.0.2.0/120"]}, {}).allow)) == ["192.0.2.0/24"]
    assert build().allow == ()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("192.0.2.0/24,", "not a list of texts, or an empty one"),
        ("head", "not a network such as 192.0.2.0/24: "),
        ("192.0.2.1/24", "not a network such as 192.0.2.0/24: "),
    ],
)
def test_a_list_of_networks_has_nothing_else(value: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"--allow {value}: {why}"):
        build(allow=value)


def test_a_credential_that_cannot_be_read_is_not_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else everything would be served without a secret, and without a word."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "xget-secret").symlink_to("/nowhere")
    assert config.credential() == str(tmp_path / "xget-secret")
    (tmp_path / "file").touch()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "file"))  # cannot be searched
    assert config.credential() == str(tmp_path / "file/xget-secret")


# The status page.


def test_the_page_has_an_address_and_a_port() -> None:
    assert build(http="127.0.0.1:8004").http == ("127.0.0.1", 8004)
    assert build(http="[::1]:8004").http == ("::1", 8004)
    assert build().http is None
    with pytest.raises(UsageError, match="without a port"):
        build(http="127.0.0.1")
    for wrong in ("8004", ":8004", "127.0.0.1:0", "[::1]"):
        with pytest.raises(UsageError, match="--http"):
            build(http=wrong)


def test_with_a_secret_the_page_is_for_this_machine_only_unless_told() -> None:
    for host in ("127.0.0.1", "127.8.8.8", "[::1]", "localhost"):
        build(http=f"{host}:8004", secret="/secret")
    for host in ("0.0.0.0", "[::]", "192.0.2.1", "head", "localhost.example"):
        shown = "would show the names of nodes to everybody who reaches that address, without a proof"
        with pytest.raises(UsageError, match=shown):
            build(http=f"{host}:8004", secret="/secret")
        with pytest.raises(UsageError, match="without a proof"):
            build(http=f"{host}:8004", secret="/secret", open="files")
        build(http=f"{host}:8004", secret="/secret", open="page")
        build(http=f"{host}:8004")


def test_a_page_that_is_not_served_cannot_be_open() -> None:
    with pytest.raises(UsageError, match="--open page: has no effect without --http"):
        build(secret="/secret", open="page")


# The log.


def test_the_log_has_a_form_and_the_journal_is_no_file() -> None:
    assert build().log_format == "plain"
    assert build(log_format="json", log="/log").log_format == "json"
    with pytest.raises(UsageError, match="not one of plain, json, journal"):
        build(log_format="xml")
    with pytest.raises(UsageError, match="--log: cannot be combined with --log-format journal"):
        build(log_format="journal", log="/log")
