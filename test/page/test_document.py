"""The page is one document, which loads nothing else, and the policy lets its own parts run and nothing more."""

from __future__ import annotations

import base64
import hashlib
import re

from xget_lib.page.document import document


def test_it_loads_nothing_from_elsewhere() -> None:
    text = document().body.decode()
    assert not re.findall(r"""(?:src|href|@import|url)\s*[=(]\s*["']?(?:https?:)?//""", text)
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=(?!\"data:)", text)


def test_style_and_script_have_the_digests_of_the_policy() -> None:
    text, policy = document().body.decode(), document().policy
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy and "default-src 'none'" in policy


def test_it_puts_texts_of_strangers_in_as_text() -> None:
    text = document().body.decode()
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser", "Function("):
        assert way not in text
    assert not re.search(r"<[^>]+\s(?:style|on\w+)=", text)
