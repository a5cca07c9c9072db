"""User and group numbers of another machine."""

from __future__ import annotations

from xget_lib.download.local_ids import LocalIds


def test_a_name_that_exists_here_gives_the_number_and_is_looked_up_once() -> None:
    asked: list[str] = []

    def look_up(name: str) -> int:
        asked.append(name)
        return {"mail": 8}[name]

    ids = LocalIds({1000: "mail", 1001: "unknown here"}, look_up)
    assert [ids[number] for number in (1000, 1001, 1002, 1000, 1001)] == [8, 1001, 1002, 8, 1001]
    assert asked == ["mail", "unknown here"]
