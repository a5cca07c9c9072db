"""When chunks are written in the loop."""

from __future__ import annotations

import os
import threading
import time

from xget_lib.node.disk_speed import IN_LOOP, DiskSpeed


def slow() -> DiskSpeed:
    disk = DiskSpeed()
    disk.wrote(0.02, waited=True)
    return disk


def test_large_chunks_and_those_of_many_files_are_left_to_threads() -> None:
    disk = DiskSpeed()
    assert disk.may_write_in_loop(IN_LOOP, 4)
    assert not disk.may_write_in_loop(IN_LOOP + 1, 1)
    assert not disk.may_write_in_loop(IN_LOOP, 5)


def test_after_one_slow_write_all_go_to_threads_for_a_while() -> None:
    disk = slow()
    for _ in range(63):
        disk.wrote(0.001, waited=True)
    assert not disk.may_write_in_loop(1, 1)
    disk.wrote(0.001, waited=False)
    assert disk.may_write_in_loop(1, 1)


def test_a_processor_that_is_busy_is_not_the_disk() -> None:
    disk = DiskSpeed()
    disk.wrote(1.0, waited=False)
    assert disk.may_write_in_loop(1, 1)


def test_it_sees_whether_a_thread_waits() -> None:
    disk = DiskSpeed()
    assert disk.watch(lambda: sum(range(1000))) == 499500
    assert disk.may_write_in_loop(1, 1)
    reader, writer = os.pipe()
    timer = threading.Timer(0.05, os.write, (writer, b"x"))
    timer.start()
    begun = time.monotonic()
    assert disk.watch(lambda: os.read(reader, 1)) == b"x"
    timer.join()
    os.close(reader)
    os.close(writer)
    assert time.monotonic() - begun > 0.01 and not disk.may_write_in_loop(1, 1)
