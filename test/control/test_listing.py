"""What a master serves, as `ls -l` shows it, and as JSON."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from test.control.test_status import configured
from test.support.manifests import directory, entry, file, hard_link, link, manifest, root
from xget_lib.control import listing
from xget_lib.errors import Exit, LinkLost, MalformedManifest, MasterUnreachable, NinepError, NotAdmitted, NotServed

SERVED = manifest(
    root(),
    directory(b"d"),
    file(b"d/inner", 7),
    file(b"\x1bname", 123456),
    hard_link(b"twin", b"\x1bname"),
    link(b"to", b"d/inner"),
    entry(b"null", "c", device=(1, 3)),
    entry(b"pipe", "p"),
)


@pytest.fixture(autouse=True)
def answer(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the master gives: a text, or an error to raise."""
    answers: list[Any] = [SERVED.encode()]

    def read(*asked: object) -> bytes:
        if isinstance(answers[0], Exception):
            raise answers[0]
        text: bytes = answers[0]
        return text

    monkeypatch.setattr(listing, "read_file", read)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    return answers


def rows(capsys: pytest.CaptureFixture[str], source: bytes) -> list[list[str]]:
    assert listing.run(configured(), source) == Exit.OK
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_a_directory_is_listed_as_ls_does(capsys: pytest.CaptureFixture[str]) -> None:
    shown = {" ".join(row[8 if row[0][0] == "c" else 7 :]): row for row in rows(capsys, b".")}
    assert set(shown) == {"\\x1bname", "d", "null", "pipe", "to -> d/inner", "twin"}
    assert shown["\\x1bname"][:4] == ["-rw-r--r--", "1", "2", "123456"]
    assert shown["twin"][3] == "123456"
    assert shown["d"][0] == "drw-r--r--"
    assert shown["null"][:5] == ["crw-r--r--", "1", "2", "1,", "3"]
    assert shown["pipe"][0][0] == "p"
    assert shown["d"][4:7] == ["Jan", "1", "1970"]


def test_a_path_leads_into_a_directory_or_to_one_entry(capsys: pytest.CaptureFixture[str]) -> None:
    assert [row[-1] for row in rows(capsys, b"d")] == ["inner"]
    assert [row[-1] for row in rows(capsys, b"d/inner")] == ["inner"]
    with pytest.raises(NotServed):
        rows(capsys, b"gone")


def test_json_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert listing.run(configured(json=True), b".") == Exit.OK
    found = {each["path"]: each for each in map(json.loads, capsys.readouterr().out.splitlines())}
    plain = {"mode": "0644", "user": "1", "group": "2", "mtime": 7e-9}
    assert found["to"] == {**plain, "path": "to", "type": "link", "size": 0, "target": "d/inner"}
    assert found["twin"]["same_file_as"] == "\\x1bname"
    assert (found["null"]["type"], found["null"]["device"]) == ("device", [1, 3])


@pytest.mark.parametrize(
    ("given", "raised"),
    [
        (LinkLost("head", "Connection refused"), MasterUnreachable),
        (NinepError(11), MasterUnreachable),
        (ValueError("the manifest is too long"), MasterUnreachable),
        (NotAdmitted("head", "no"), NotAdmitted),
        (b"nonsense", MalformedManifest),
    ],
)
def test_without_a_manifest_it_is_an_error(answer: list[Any], given: object, raised: type[Exception]) -> None:
    answer[0] = given
    with pytest.raises(raised):
        listing.run(configured(), b".")
