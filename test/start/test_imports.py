"""What a plain start imports does not grow unnoticed: each module takes its time, on every node at every boot.

Where a new module is needed, `python -m test.start --write` adds it to the list, with its milliseconds. Most that
few runs need (TLS, signatures, the status page, a file of options) is imported where they need it.
"""

from __future__ import annotations

import pytest

from test.start.recorded import BEFORE, compare, imported, listed
from test.support.cluster import Cluster


@pytest.fixture(scope="module")
def found(shared_cluster: Cluster) -> dict[str, set[str]]:
    return imported(shared_cluster)


@pytest.mark.parametrize("process", BEFORE)
def test_each_import_of_a_plain_start_is_listed(found: dict[str, set[str]], process: str) -> None:
    assert compare(found.__getitem__, process) == []


@pytest.mark.parametrize("process", ["client", "node"])
def test_what_is_slow_and_seldom_needed_is_not_listed(process: str) -> None:
    """The standard library's dataclasses load `inspect`, and compile all methods of each class."""
    seldom = {"asyncio", "cryptography", "dataclasses", "hmac", "inspect", "pathlib", "ssl", "tomllib", "urllib"}
    seldom |= {"prometheus_client", "tqdm", "xget_lib.page.server", "xget_lib.report.log_handlers", "xget_lib.ipc"}
    assert not seldom & listed(process)[1].keys()


def test_a_module_too_many_and_one_too_few_are_told(found: dict[str, set[str]]) -> None:
    changed = found["node"] - {"xget_lib.node.node"} | {"xget_lib.page.server"}
    told = compare({"node": changed}.__getitem__, "node")
    assert told == ["the node imports xget_lib.page.server, too", "no node imports xget_lib.node.node"]
