"""The secret, MUNGE and certificates of this machine."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from test.support.certificates import Authority
from test.support.configured import configured
from test.support.fake_munge import FakeMunge, Site
from test.support.keys import KeyFiles
from xget_lib.doctor import credentials
from xget_lib.doctor.credentials import certificates, examine, validity
from xget_lib.doctor.findings import Finding
from xget_lib.errors import Exit, MungeUnavailable
from xget_lib.ninep.auth import Credentials

DAY = 86400
NOW = 1_800_000_000.0


def findings(**options: object) -> list[Finding]:
    return [each for each in examine(configured(**options)) if isinstance(each, Finding)]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("a key that is long enough\n")
    path.chmod(0o600)
    return path


def test_without_a_secret_there_is_nothing_to_examine() -> None:
    (found,) = findings()
    assert found.what == "none: neither a secret nor TLS is configured here"
    assert [type(each) for each in examine(configured())] == [Credentials, Finding]


def test_a_secret_is_read_and_never_shown(secret: Path) -> None:
    (found,) = findings(secret=str(secret))
    assert (found.result, found.what) == ("ok", f"secret {secret}: 1 key, and others cannot read it")


@pytest.mark.parametrize(
    ("mode", "text", "why"),
    [
        (0o644, "a key that is long enough\n", "others can read or change it"),
        (0o600, "short\n", "the key in line 1 has fewer than 16 characters"),
        (0o600, "", "contains no key"),
    ],
)
def test_a_secret_that_cannot_be_used(secret: Path, mode: int, text: str, why: str) -> None:
    secret.write_text(text)
    secret.chmod(mode)
    found = list(examine(configured(secret=str(secret))))
    assert len(found) == 1
    assert isinstance(found[0], Finding)
    assert (found[0].result, found[0].exit) == ("problem", Exit.USAGE)
    assert why in found[0].what
    assert "a key that" not in found[0].line


@pytest.mark.parametrize(
    ("begins", "ends", "result", "words"),
    [
        (-DAY, 100 * DAY, "ok", "is valid until"),
        (-DAY, 3 * DAY, "note", "ends in 72 h, on"),
        (-2 * DAY, -DAY, "problem", "was valid until"),
        (DAY, 9 * DAY, "problem", "is not valid before"),
    ],
)
def test_the_validity_of_a_certificate(begins: int, ends: int, result: str, words: str) -> None:
    found = validity("a certificate", NOW + begins, NOW + ends, NOW)
    assert found.result == result
    assert words in found.what
    assert found.exit == (Exit.NOT_ADMITTED if result == "problem" else Exit.OK)


def test_certificates_of_a_site(tmp_path: Path, secret: Path) -> None:
    pytest.importorskip("cryptography")
    authority = Authority(tmp_path)
    old, new = authority.sign("old", days=-1), authority.sign("new")
    tls = {"tls": True, "tls_ca": str(authority.cert)}
    found = findings(**tls, tls_cert=str(new.cert), tls_key=str(new.key))
    assert [each.result for each in found] == ["note", "note"]  # they end in two days
    assert "CN=new ends in" in found[0].what
    assert "CN=authority ends in" in found[1].what
    (expired,) = certificates("tls-cert", str(old.cert), time.time())
    assert expired.result == "problem"
    (broken,) = certificates("tls-ca", str(secret), time.time())
    assert (broken.result, broken.exit) == ("problem", Exit.USAGE)
    (_, own) = findings(tls=True, secret=str(secret))
    assert own.what.startswith("TLS: this process makes its own certificate")


def test_the_keys_of_signatures(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    keys = KeyFiles(tmp_path)
    found = findings(trust=str(keys.public), sign_key=str(keys.private))
    assert [each.result for each in found] == ["ok", "ok", "ok"]
    assert found[0].what == f"--trust {keys.public}: 1 public key"
    keys.private.chmod(0o644)
    found = findings(sign_key=str(keys.private))
    assert (found[0].result, found[0].exit, found[0].advice) == ("problem", Exit.USAGE, "chmod 600")


def test_whether_munged_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    munge = FakeMunge(Site())
    made = Credentials(required=True, methods=("munge",), munge=munge)
    monkeypatch.setattr(credentials, "credentials_of", lambda config: made)
    (found,) = findings()
    assert found.what == "MUNGE: munged makes credentials"

    def fails(payload: bytes, for_uid: int) -> bytes:
        raise MungeUnavailable("no socket")

    monkeypatch.setattr(munge, "encode", fails)
    (found,) = findings()
    assert (found.what, found.exit) == ("MUNGE: no socket", Exit.UNREACHABLE)
