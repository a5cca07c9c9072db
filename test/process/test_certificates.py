"""What a process needs for TLS: from files of a site, or made by itself."""

from __future__ import annotations

import hashlib
import os
import ssl
import subprocess
from pathlib import Path

import pytest

from test.support.certificates import Authority, Certificate
from test.support.nodes import configured
from xget_lib.config import Config
from xget_lib.errors import UsageError
from xget_lib.process.certificates import load_tls
from xget_lib.process.self_signed import self_signed


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def options(authority: Authority, certificate: Certificate) -> Config:
    files = {"tls_cert": str(certificate.cert), "tls_key": str(certificate.key), "tls_ca": str(authority.cert)}
    return configured(20004, tls=True, **files)


def test_a_process_makes_a_key_and_a_certificate_of_its_own_each_time() -> None:
    one, other = load_tls(configured(1, tls=True)), load_tls(configured(1, tls=True))
    assert one.binding != other.binding
    assert b"PRIVATE KEY" in self_signed()


def test_what_is_made_is_never_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = set(os.listdir("/proc/self/fd"))
    load_tls(configured(1, tls=True))
    assert not list(tmp_path.iterdir()) and set(os.listdir("/proc/self/fd")) == before


def test_where_openssl_cannot_be_called_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("_ssl.__file__", "/nowhere")
    with pytest.raises(UsageError, match="--tls: cannot make a certificate: "):
        self_signed()


def test_the_binding_is_the_hash_of_the_first_certificate(authority: Authority) -> None:
    made = authority.sign("head")
    made.cert.write_text(made.cert.read_text() + authority.cert.read_text())
    first = ssl.PEM_cert_to_DER_cert(
        made.cert.read_text().partition("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----"
    )
    expected = b"tls-server-end-point:" + hashlib.sha256(first).digest()
    assert load_tls(options(authority, made)).binding == expected


def test_older_versions_are_never_spoken_and_nothing_is_resumed(authority: Authority) -> None:
    tls = load_tls(options(authority, authority.sign("head")))
    for context in (tls.server, tls.client, tls.named_client):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_3
        assert context.verify_mode == ssl.CERT_REQUIRED
    assert tls.server.num_tickets == 0
    assert tls.named_client.check_hostname and not tls.client.check_hostname


def test_authorities_that_others_can_change_are_refused(authority: Authority) -> None:
    """Whoever can add one there decides whom this process trusts."""
    authority.cert.chmod(0o664)
    with pytest.raises(UsageError, match=f"--tls-ca {authority.cert}: others can change it"):
        load_tls(options(authority, authority.sign("head")))


@pytest.mark.root
@pytest.mark.parametrize("option", ["tls-key", "tls-cert", "tls-ca"])
def test_what_belongs_to_another_user_is_refused(authority: Authority, option: str) -> None:
    made = authority.sign("head")
    path = {"tls-key": made.key, "tls-cert": made.cert, "tls-ca": authority.cert}[option]
    os.chown(path, 4321, -1)
    with pytest.raises(UsageError, match=f"--{option} {path}: belongs to another user"):
        load_tls(options(authority, made))


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o620])
def test_a_key_that_others_can_read_or_change_is_refused(authority: Authority, mode: int) -> None:
    made = authority.sign("head")
    made.key.chmod(mode)
    with pytest.raises(UsageError, match=f"--tls-key {made.key}: others can read or change it"):
        load_tls(options(authority, made))


def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    made, other = authority.sign("head"), authority.sign("other")
    garbage, missing = tmp_path / "garbage", tmp_path / "missing"
    garbage.write_bytes(b"\xff no PEM")
    garbage.chmod(0o600)
    for certificate, line in (
        (Certificate(missing, made.key), f"--tls-cert {missing}: No such file"),
        (Certificate(made.cert, missing), f"--tls-key {missing}: No such file"),
        (Certificate(garbage, made.key), f"--tls-cert {garbage}: "),
        (Certificate(made.cert, garbage), f"--tls-key {garbage}: not a certificate and its private key"),
        (Certificate(made.cert, other.key), f"--tls-key {other.key}: .*key values mismatch"),
    ):
        with pytest.raises(UsageError, match=line):
            load_tls(options(authority, certificate))
    authority.cert.write_text("")
    with pytest.raises(UsageError, match=f"--tls-ca {authority.cert}: no certificates"):
        load_tls(options(authority, made))


def test_nobody_is_asked_for_the_password_of_a_key(authority: Authority, tmp_path: Path) -> None:
    made, encrypted = authority.sign("head"), tmp_path / "encrypted"
    words = ["pkey", "-in", str(made.key), "-aes256", "-passout", "pass:x", "-out", str(encrypted)]
    subprocess.run(["openssl", *words], check=True)
    encrypted.chmod(0o600)
    with pytest.raises(UsageError, match="the private key is encrypted"):
        load_tls(options(authority, Certificate(made.cert, encrypted)))
