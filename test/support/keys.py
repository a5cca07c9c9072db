"""Key files for tests, as openssl writes them, and signatures by them."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from xget_lib.manifest.signature import Signed
from xget_lib.signing.keys import read_signing_key


class KeyFiles:
    """A new pair of keys in two files."""

    def __init__(self, base: Path, name: str = "key") -> None:
        key = Ed25519PrivateKey.generate()
        self.private, self.public = base / f"{name}.pem", base / f"{name}.pub"
        self.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        os.chmod(self.private, 0o600)
        self.public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        os.chmod(self.public, 0o644)

    def sign(self, generation: bytes, serial: int = 1, time: int = 1_700_000_000) -> Signed:
        return read_signing_key("key", str(self.private)).sign(generation, serial, time)
