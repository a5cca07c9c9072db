"""The status page as one document without outside resources, and the policy that keeps it so.

Style and scripts stand in the document. A Content-Security-Policy names their digests, so that the browser runs nothing
else, whatever a node calls itself; the page can load and send nothing but what this server gives.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from xget_lib.dataclass import dataclass

SCRIPTS = ("text.js", "map.js", "flow.js", "chart.js", "page.js")
"""In this order they are one script."""


@dataclass(frozen=True, slots=True)
class Document:
    """What is sent for `/`."""

    body: bytes
    policy: str
    """Of the header Content-Security-Policy."""


@cache
def document() -> Document:
    """The page. Its parts are read once."""
    style = _part("page.css")
    script = "\n".join(map(_part, SCRIPTS))
    body = _part("page.html").replace("/* style */", style).replace("/* script */", script)
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; img-src data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Document(body.encode(), policy)


def _part(name: str) -> str:
    return files("xget_lib.page").joinpath("parts", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
