"""Certificates as a site has them: an authority, and what it has signed. The `openssl` command makes them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from test.support.mounted import needs


@dataclass(frozen=True)
class Certificate:
    """Files, in PEM."""

    cert: Path
    key: Path

    def options(self, authority: Authority) -> list[str]:
        """Of the command."""
        files = ["--tls-cert", str(self.cert), "--tls-key", str(self.key), "--tls-ca", str(authority.cert)]
        return ["--tls", *files]


class Authority:
    """Signs certificates. Its files are in a directory of its own below `base`."""

    def __init__(self, base: Path, name: str = "authority") -> None:
        needs("openssl")
        self._base = base / name
        self._base.mkdir()
        self.cert, self._key = self._base / "ca.pem", self._base / "ca.key"
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(self._key)]
        self._run("req", "-x509", *new, "-out", str(self.cert), "-days", "2", "-subj", f"/CN={name}")

    def sign(self, name: str, *, names: str = "IP:127.0.0.1", days: int = 2) -> Certificate:
        """A certificate for these subject alternative names. With `days` -1 it ended yesterday."""
        made = Certificate(self._base / f"{name}.pem", self._base / f"{name}.key")
        request, extensions = self._base / f"{name}.csr", self._base / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\n")
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(made.key)]
        self._run("req", "-new", *new, "-out", str(request), "-subj", f"/CN={name}")
        signer = ["-CA", str(self.cert), "-CAkey", str(self._key), "-CAcreateserial", "-extfile", str(extensions)]
        self._run("x509", "-req", "-in", str(request), *signer, "-days", str(days), "-out", str(made.cert))
        made.key.chmod(0o600)
        return made

    def _run(self, *words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, umask=0o022)
