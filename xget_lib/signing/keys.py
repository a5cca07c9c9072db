"""Ed25519 keys (RFC 8032) in PEM files, as `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write them.

The package cryptography is an extra (`pip install "xget[sign]"`). It is imported when a key is read, and only then:
nothing else needs it, and it takes longer than the start of a client.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from xget_lib.dataclass import dataclass
from xget_lib.errors import UsageError, printable
from xget_lib.manifest.signature import Signature, Signed, statement

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEYS_LIMIT = 64
"""Public keys in one file, at most: each may be tried for each generation."""
_FILE_LIMIT = 1 << 16
"""Bytes of a key file, at most."""
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


@dataclass(frozen=True)
class SigningKey:
    """A private key."""

    _key: Ed25519PrivateKey

    def sign(self, generation: bytes, serial: int, time: int) -> Signed:
        """`time`: seconds since 1970."""
        value = self._key.sign(statement(generation, serial, time))
        return Signed(generation, Signature(serial, time, value))

    def has_signed(self, signed: Signed) -> bool:
        """Whether this key made a signature."""
        return is_signed(signed, [self._key.public_key()])


def is_signed(signed: Signed, keys: Sequence[Ed25519PublicKey]) -> bool:
    """Whether one of the keys made a signature."""
    from cryptography.exceptions import InvalidSignature

    for key in keys:
        try:
            key.verify(signed.signature.value, signed.statement)
        except InvalidSignature:
            continue
        return True
    return False


def read_signing_key(option: str, path: str) -> SigningKey:
    """The private key in a file. Raises UsageError, which names the option.

    Nobody but its owner may read the file, as ssh has it: whoever can read it signs what nodes boot from.
    """
    text, status = _read(option, path)
    if stat.S_IMODE(status.st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(f"{_name(option, path)}: others can read this private key (chmod 600)")
    serialization, ed25519 = _cryptography(option)
    try:
        key = serialization.load_pem_private_key(text, None)
    except TypeError:  # a password is needed
        raise UsageError(f"{_name(option, path)}: the private key is encrypted (store it without a password)") from None
    except Exception:  # what a damaged file raises depends on the version of cryptography and OpenSSL
        raise UsageError(f"{_name(option, path)}: no private key in PEM format") from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise UsageError(f"{_name(option, path)}: not an Ed25519 key")
    return SigningKey(key)


def read_public_keys(option: str, path: str) -> list[Ed25519PublicKey]:
    """The public keys in a file, one after the other; text between them is a comment. Raises UsageError, which names
    the option.

    Only root and this user may be able to change the file: what it says decides what is trusted.
    """
    text, status = _read(option, path)
    if status.st_uid not in (0, os.geteuid()) or stat.S_IMODE(status.st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(f"{_name(option, path)}: others can change this file (chown root, chmod go-w)")
    blocks = list(_BLOCK.finditer(text))
    if not 0 < len(blocks) <= KEYS_LIMIT:
        raise UsageError(f"{_name(option, path)}: no public key in PEM format, or too many")
    serialization, ed25519 = _cryptography(option)
    keys = []
    for block in blocks:
        try:
            key = serialization.load_pem_public_key(block.group())
        except Exception:  # as above
            key = None
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise UsageError(f"{_name(option, path)}: {printable(block.group(1))}: not an Ed25519 public key")
        keys.append(key)
    return keys


def _read(option: str, path: str) -> tuple[bytes, os.stat_result]:
    try:
        # A FIFO without a writer does not block; a file that can be listed is not read.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read(_FILE_LIMIT) or b"", os.fstat(file.fileno())
    except OSError as error:
        raise UsageError(f"{_name(option, path)}: {error.strerror}") from None


def _name(option: str, path: str) -> str:
    return f"--{option} {printable(path)}"


def _cryptography(option: str) -> tuple[ModuleType, ModuleType]:
    """`serialization` and `ed25519`. Raises UsageError."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise UsageError(
            f"--{option}: the Python package cryptography is not installed (pip install cryptography)"
        ) from None
    return serialization, ed25519
