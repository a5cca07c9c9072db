"""When chunks are written in the loop."""

from __future__ import annotations

from xget_lib.node.disk_speed import IN_LOOP, DiskSpeed


def quick(disk: DiskSpeed, times: int) -> None:
    for _ in range(times):
        disk.wrote(IN_LOOP, 0.001)


def test_a_disk_must_be_seen_to_be_quick_first() -> None:
    disk = DiskSpeed()
    quick(disk, 7)
    assert not disk.may_write_in_loop(IN_LOOP, 1)
    quick(disk, 1)
    assert disk.may_write_in_loop(IN_LOOP, 1)


def test_large_chunks_and_those_of_many_files_are_left_to_threads() -> None:
    disk = DiskSpeed()
    quick(disk, 8)
    assert not disk.may_write_in_loop(IN_LOOP + 1, 1)
    assert not disk.may_write_in_loop(IN_LOOP, 5)


def test_after_one_slow_write_all_go_to_threads_for_a_while() -> None:
    disk = DiskSpeed()
    quick(disk, 8)
    disk.wrote(1, 0.006)
    quick(disk, 63)
    assert not disk.may_write_in_loop(1, 1)
    quick(disk, 1)
    assert disk.may_write_in_loop(1, 1)


def test_a_large_chunk_may_take_longer() -> None:
    disk = DiskSpeed()
    for _ in range(8):
        disk.wrote(4 * IN_LOOP, 0.019)
    assert disk.may_write_in_loop(IN_LOOP, 1)
