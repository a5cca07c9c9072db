"""The checksums that C clients ask for: computed in a thread at the first request, one file at a time, and kept.

Hosts take turns: one that asks for the checksums of all files delays another by one file.
A checksum is zlib's Adler-32 of all bytes of a file (RFC 1950).
"""

from __future__ import annotations

import os
import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial

import gevent

from xget_lib.classic.files import Regular
from xget_lib.errors import CannotStart, RetiredGeneration, StaleGeneration
from xget_lib.net.threads import in_thread
from xget_lib.serve.store import Store
from xget_lib.serve.synthetic import DeferredText

EMPTY = 1
"""The checksum of no bytes: the start of a computation."""
_BUFFER = 1 << 20
_SLICE = 64 << 20
"""Bytes that one call into a thread reads, since other work waits for threads too."""
_KEPT = 65536
"""Checksums that are kept. One stays valid while later generations have the same content under the same path."""


class Checksums:
    """The checksums of one process. Owned by its namespace `classic`."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}
        self._asked: dict[bytes, list[tuple[DeferredText, Callable[[], None]]]] = {}
        self._queue: OrderedDict[Hashable, dict[bytes, Regular]] = OrderedDict()
        """By host, the one whose turn is next first: the files that it waits for, in the order of its requests."""
        self._works = False

    def ask(self, host: Hashable, file: Regular, answer: DeferredText, retry: Callable[[], None]) -> None:
        """Put the checksum, in decimal, into the answer, or the reason why there is none. `retry` is called if that
        happens later.

        All of the file must be held.
        """
        key = file.key()
        if key in self._known:
            answer.put(self._known[key])
        else:
            self._asked.setdefault(key, []).append((answer, retry))
            self._queue.setdefault(host, {}).setdefault(key, file)
            if not self._works:
                self._works = True
                gevent.spawn(self._work)

    def _work(self) -> None:
        """Answer everything that is asked for."""
        try:
            while self._queue:
                host, files = self._queue.popitem(last=False)
                key = next(iter(files))
                file = files.pop(key)
                if files:
                    self._queue[host] = files
                if key in self._asked:  # it may have been computed for another host
                    self._find(key, file)
        finally:
            self._works = False

    def _find(self, key: bytes, file: Regular) -> None:
        give: Callable[[DeferredText], None]
        try:
            text = b"%d" % _compute(file)
        except (StaleGeneration, RetiredGeneration, CannotStart, OSError) as error:
            give = partial(DeferredText.fail, error=error)
        else:
            give = partial(DeferredText.put, text=text)
            self._known[key] = text
            if len(self._known) > _KEPT:
                del self._known[next(iter(self._known))]
        for answer, retry in self._asked.pop(key):
            give(answer)
            retry()


def _compute(file: Regular) -> int:
    """The Adler-32 of a file as it was verified. Raises StaleGeneration, RetiredGeneration or OSError."""
    store: Store = file.served.store
    size = file.entry.size
    checksum = EMPTY
    descriptor = store.open(file.number)
    try:
        for offset in range(0, size, _SLICE):
            longer = in_thread(extended, checksum, descriptor, offset, min(_SLICE, size - offset))
            if longer is None or not store.is_stamped(file.number, os.fstat(descriptor)):
                store.stale(file.number)
            checksum = longer
    finally:
        os.close(descriptor)
    return checksum


def extended(checksum: int, descriptor: int, offset: int, length: int) -> int | None:
    """Extend a checksum by a range of a file. None if the file ends before the range does.

    Blocks, while other threads run. Raises OSError.
    """
    buffer = memoryview(bytearray(min(_BUFFER, length)))
    end = offset + length
    while offset < end:
        count = os.preadv(descriptor, [buffer[: end - offset]], offset)
        if not count:
            return None
        checksum = zlib.adler32(buffer[:count], checksum)
        offset += count
    return checksum
