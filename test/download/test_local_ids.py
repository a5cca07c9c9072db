"""Users and groups have their numbers by name where this machine has the name."""

from __future__ import annotations

from xget_lib.download.local_ids import LocalIds


def test_a_name_that_this_machine_has_decides_and_is_looked_up_once() -> None:
    asked: list[str] = []

    def look_up(name: str) -> int:
        asked.append(name)
        return {"mail": 8}[name]

    ids = LocalIds({1000: "mail", 1001: "nobody here"}, look_up)
    assert [ids[number] for number in (1000, 1001, 1002, 1000, 1001)] == [8, 1001, 1002, 8, 1001]
    assert asked == ["mail", "nobody here"]
