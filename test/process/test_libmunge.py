"""Credentials by a real munged: what is in them, and which are refused, and why."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.support.cluster import eventually
from test.support.munged import Munged, munged
from xget_lib.errors import MungeRefused, MungeUnavailable, UsageError
from xget_lib.process import libmunge
from xget_lib.process.libmunge import LibMunge

UID = os.geteuid()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Munged]:
    with munged(tmp_path_factory.mktemp("munge") / "site") as daemon:
        yield daemon


def test_a_credential_says_who_has_made_it_and_has_any_bytes(daemon: Munged) -> None:
    library = LibMunge(daemon.socket)
    for payload in (b"", b"\0\xff" * 32):
        assert library.decode(library.encode(payload, UID)) == (UID, payload)


def test_a_credential_does_not_show_its_payload_and_fits_into_a_line(daemon: Munged) -> None:
    credential = LibMunge(daemon.socket).encode(b"x" * 64, UID)
    assert credential.startswith(b"MUNGE:") and credential.endswith(b":")
    assert b"eHh4" not in credential, "the payload is encrypted: this would be it in base64"
    assert len(credential) < 300


def test_a_credential_is_decoded_once(daemon: Munged) -> None:
    library = LibMunge(daemon.socket)
    credential = library.encode(b"once", UID)
    assert library.decode(credential) == (UID, b"once")
    with pytest.raises(MungeRefused, match=r"^Replayed credential$"):
        library.decode(credential)


def test_a_credential_for_another_user_is_refused(daemon: Munged) -> None:
    library = LibMunge(daemon.socket)
    with pytest.raises(MungeRefused, match=r"^Unauthorized credential"):
        library.decode(library.encode(b"", UID + 1))


def test_a_credential_of_another_site_or_of_nobody_is_refused(daemon: Munged, tmp_path: Path) -> None:
    with munged(tmp_path / "other", b"another key" * 20) as other:
        foreign = LibMunge(other.socket).encode(b"", UID)
    for credential in (foreign, b"MUNGE:AAAA:", b"MUNGE:" + b"A" * 200 + b":", b"x"):
        with pytest.raises(MungeRefused):
            LibMunge(daemon.socket).decode(credential)


def test_an_expired_credential_is_refused(daemon: Munged, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its twin, which is younger, tells when it has expired: before that, it is only a replayed one."""
    monkeypatch.setattr(LibMunge, "_options", staticmethod(lambda for_uid: ((4, 1), (9, for_uid))))  # MUNGE_OPT_TTL
    library = LibMunge(daemon.socket)
    credential, twin = library.encode(b"", UID), library.encode(b"", UID)

    def has_expired() -> bool:
        try:
            library.decode(twin)
        except MungeRefused as error:
            return str(error) == "Expired credential"
        return False

    eventually(has_expired, "a credential expires after a second")
    with pytest.raises(MungeRefused, match=r"^Expired credential$"):
        library.decode(credential)


def test_without_a_daemon_it_is_said_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for call in (
        lambda: LibMunge(str(tmp_path / "none")).encode(b"", UID),
        lambda: LibMunge("/none").decode(b"MUNGE:x:"),
    ):
        with pytest.raises(MungeUnavailable, match=r"none.*No such file or directory \(Did you start munged\?\)"):
            call()
    monkeypatch.setattr(libmunge, "_LIBRARY", "libnone.so.2")
    with pytest.raises(UsageError, match=r"^--auth munge: libnone.so.2.*\(apt-get install libmunge2 munge\)$"):
        LibMunge()


def test_threads_share_a_library(daemon: Munged) -> None:
    library = LibMunge(daemon.socket)
    decoded: list[bytes] = []
    threads = [
        threading.Thread(target=lambda n=n: decoded.append(library.decode(library.encode(b"%d" % n, UID))[1]))
        for n in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, decoded)) == list(range(50))
