"""What this machine proves to others: whether its files can be used, and until when its certificates are valid."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from xget_lib.config import Config
from xget_lib.doctor.findings import Finding, note, ok, problem
from xget_lib.errors import Exit, MungeUnavailable, UsageError, printable
from xget_lib.net.credentials import credentials_of
from xget_lib.ninep.auth import Credentials
from xget_lib.report.events import counted
from xget_lib.report.status import duration
from xget_lib.signing.keys import read_public_keys, read_signing_key

_SOON = 30 * 86400
"""Seconds before the end of a certificate in which it should be replaced."""
_FIX = "correct the file, or the option"


def examine(config: Config) -> Iterator[Finding | Credentials]:
    """Findings, and the credentials, unless they cannot be used."""
    try:
        credentials = credentials_of(config)
    except UsageError as error:
        yield _unusable(error)
        return
    yield credentials
    if credentials.source:
        keys = counted(len(credentials.keys), "key")
        yield ok("credentials", f"secret {printable(credentials.source)}: {keys}, and others cannot read it")
    if credentials.munge is not None:
        yield _munge(credentials)
    for option, path in (("tls-cert", config.tls_cert), ("tls-ca", config.tls_ca)):
        if config.tls and path is not None:
            yield from certificates(option, path, time.time())
    if config.tls and config.tls_cert is None:
        yield ok("credentials", "TLS: this process makes its own certificate, which the secret confirms")
    yield from _signatures(config)
    if not credentials.required and not config.tls:
        yield ok("credentials", "none: neither a secret nor TLS is configured here")


def _signatures(config: Config) -> Iterator[Finding]:
    """The files with the keys of signatures."""
    try:
        if config.trust is not None:
            keys = counted(len(read_public_keys("trust", config.trust)), "public key")
            yield ok("credentials", f"--trust {printable(config.trust)}: {keys}")
        if config.sign_key is not None:
            read_signing_key("sign-key", config.sign_key)
            yield ok(
                "credentials", f"--sign-key {printable(config.sign_key)}: a private key that only its owner can read"
            )
    except UsageError as error:
        yield _unusable(error)


def _unusable(error: UsageError) -> Finding:
    what, bracket, advice = str(error).removesuffix(")").rpartition(" (")
    return problem("credentials", *((what, advice) if bracket else (str(error), _FIX)), Exit.USAGE)


def _munge(credentials: Credentials) -> Finding:
    assert credentials.munge is not None
    try:
        credentials.munge.encode(b"xget doctor", os.geteuid())
    except MungeUnavailable as error:
        return problem("credentials", f"MUNGE: {error}", "systemctl status munge", Exit.UNREACHABLE)
    return ok("credentials", "MUNGE: munged makes credentials")


def certificates(option: str, path: str, now: float) -> Iterator[Finding]:
    """Until when the certificates in a file are valid. `now`: seconds since 1970."""
    try:
        from cryptography import x509
    except ImportError:
        advice = f"openssl x509 -enddate -noout -in {printable(path)}"
        yield note("credentials", f"--{option}: its end is not known without the package cryptography", advice)
        return
    try:
        with open(path, "rb") as file:
            found = x509.load_pem_x509_certificates(file.read())
    except (OSError, ValueError) as error:
        yield problem("credentials", f"--{option} {printable(path)}: {error}", _FIX, Exit.USAGE)
        return
    for each in found:
        name = f"--{option} {printable(path)}: {printable(each.subject.rfc4514_string()) or 'a certificate'}"
        begins, ends = _moment(each, "not_valid_before"), _moment(each, "not_valid_after")
        yield validity(name, begins, ends, now)


def _moment(certificate: object, name: str) -> float:
    """An attribute of a certificate, in seconds since 1970. Before version 42 of cryptography it has no time zone."""
    aware = f"{name}_utc"
    moment: datetime = getattr(certificate, aware if hasattr(certificate, aware) else name)
    return moment.replace(tzinfo=UTC).timestamp()


def validity(name: str, begins: float, ends: float, now: float) -> Finding:
    """Whether a certificate is valid now, and for long enough. Times are in seconds since 1970."""
    if now < begins:
        what = f"{name} is not valid before {_date(begins)}"
        return problem("credentials", what, "is the clock of this machine right?", Exit.NOT_ADMITTED)
    if now >= ends:
        what = f"{name} was valid until {_date(ends)}"
        return problem("credentials", what, "replace it, or set the clock if that is wrong", Exit.NOT_ADMITTED)
    if ends - now < _SOON:
        return note("credentials", f"{name} ends in {duration(ends - now)}, on {_date(ends)}", "replace it")
    return ok("credentials", f"{name} is valid until {_date(ends)}")


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%F %T UTC")
