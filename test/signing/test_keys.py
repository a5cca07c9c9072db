"""Key files: what openssl writes is read, what others can read or change is refused, and so is all that is no key."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from test.support.installed import lacking
from test.support.keys import KeyFiles
from xget_lib.errors import UsageError
from xget_lib.manifest.signature import Signed
from xget_lib.signing.keys import KEYS_LIMIT, is_signed, read_public_keys, read_signing_key

GENERATION = bytes(range(32))


@pytest.fixture
def keys(tmp_path: Path) -> KeyFiles:
    return KeyFiles(tmp_path)


def accepts(path: Path, signed: Signed) -> bool:
    return is_signed(signed, read_public_keys("trust", str(path)))


def test_what_one_key_signs_its_public_key_accepts_and_no_other(keys: KeyFiles, tmp_path: Path) -> None:
    signed = keys.sign(GENERATION)
    assert accepts(keys.public, signed)
    assert not accepts(KeyFiles(tmp_path, "other").public, signed)
    assert read_signing_key("key", str(keys.private)).has_signed(signed)


def test_nothing_of_what_is_signed_can_be_changed(keys: KeyFiles) -> None:
    signed = keys.sign(GENERATION)
    signature = signed.signature
    for forged in (
        replace(signed, generation=bytes(32)),
        replace(signed, signature=replace(signature, serial=signature.serial + 1)),
        replace(signed, signature=replace(signature, time=signature.time + 1)),
        replace(signed, signature=replace(signature, value=bytes(64))),
        replace(signed, signature=replace(signature, value=signature.value[::-1])),
    ):
        assert not accepts(keys.public, forged)


def test_the_keys_of_openssl_are_read(tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        lacking("openssl")
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    generate = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(private)]
    extract = ["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(public)]
    for command in (generate, extract):
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    os.chmod(private, 0o600)
    assert accepts(public, read_signing_key("key", str(private)).sign(GENERATION, 1, 1))


def test_a_file_may_have_several_keys_with_remarks(keys: KeyFiles, tmp_path: Path) -> None:
    other = KeyFiles(tmp_path, "other")
    both = tmp_path / "both"
    both.write_bytes(b"# of this year\n" + keys.public.read_bytes() + b"\nnext:\n" + other.public.read_bytes())
    os.chmod(both, 0o644)
    assert accepts(both, keys.sign(GENERATION)) and accepts(both, other.sign(GENERATION))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_private_key_that_others_can_read_is_refused(keys: KeyFiles, mode: int) -> None:
    os.chmod(keys.private, mode)
    with pytest.raises(UsageError, match=r"--sign-key .*key\.pem: others can read this private key \(chmod 600\)"):
        read_signing_key("sign-key", str(keys.private))


@pytest.mark.parametrize("mode", [0o666, 0o646, 0o664])
def test_trusted_keys_that_others_can_change_are_refused(keys: KeyFiles, mode: int) -> None:
    os.chmod(keys.public, mode)
    with pytest.raises(UsageError, match="others can change this file"):
        read_public_keys("trust", str(keys.public))


@pytest.mark.root
def test_trusted_keys_of_another_user_are_refused(keys: KeyFiles) -> None:
    os.chown(keys.public, 12345, -1)
    with pytest.raises(UsageError, match="others can change this file"):
        read_public_keys("trust", str(keys.public))


def private_file(path: Path, text: bytes) -> str:
    path.write_bytes(text)
    os.chmod(path, 0o600)
    return str(path)


def test_what_is_no_private_key_is_refused_with_the_reason(keys: KeyFiles, tmp_path: Path) -> None:
    secret = BestAvailableEncryption(b"secret")
    encrypted = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret)
    elliptic = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for text, why in (
        (encrypted, "the private key is encrypted"),
        (elliptic, "not an Ed25519 key"),
        (keys.public.read_bytes(), "no private key in PEM format"),
        (b"", "no private key in PEM format"),
        (os.urandom(100), "no private key in PEM format"),
    ):
        with pytest.raises(UsageError, match=why):
            read_signing_key("key", private_file(tmp_path / "file", text))


def test_what_is_no_list_of_public_keys_is_refused_with_the_reason(keys: KeyFiles, tmp_path: Path) -> None:
    elliptic = ec.generate_private_key(ec.SECP256R1()).public_key()
    public = keys.public.read_bytes()
    for text, why in (
        (b"", "no public key in PEM format, or too many"),
        (b"no key\n", "no public key in PEM format, or too many"),
        (public * (KEYS_LIMIT + 1), "no public key in PEM format, or too many"),
        (keys.private.read_bytes(), "PRIVATE KEY: not an Ed25519 public key"),
        (elliptic.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "not an Ed25519 public key"),
        (public + public.replace(b"MCow", b"MCoz"), "PUBLIC KEY: not an Ed25519 public key"),
    ):
        with pytest.raises(UsageError, match=why):
            read_public_keys("trust", private_file(tmp_path / "file", text))
    with pytest.raises(UsageError, match="No such file"):
        read_public_keys("trust", str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="Is a directory"):
        read_public_keys("trust", str(tmp_path))


def test_without_the_package_one_line_says_so(keys: KeyFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.split(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for option, read, path in (
        ("trust", read_public_keys, keys.public),
        ("sign-key", read_signing_key, keys.private),
    ):
        with pytest.raises(UsageError, match=rf"--{option}: the Python package cryptography is not installed"):
            read(option, str(path))
