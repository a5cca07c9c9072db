"""A cache of open descriptors: the most recently used stay open, and none is closed while it is in use."""

from __future__ import annotations

import os
import resource
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_SHARE = 10
"""One cache has at most this part of the descriptors of the process. There are a few of them."""


class SharedFd:
    """An open descriptor and the number of its users. It is closed after its last user has released it."""

    __slots__ = ("fd", "users")

    def __init__(self, fd: int) -> None:
        """The caller is the first user."""
        self.fd = fd
        self.users = 1


class FdCache(Generic[Key]):
    """Keeps up to `limit` descriptors open by key, fewer where this process may have few. Any thread may use it.

    The cache itself counts as a user of each descriptor that it keeps. The caller of `get`, `add` or `use` is one more
    user of the SharedFd that it gets, and calls `release`; `opened` does both.
    """

    def __init__(self, limit: int) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._limit = limit if soft == resource.RLIM_INFINITY else min(limit, max(1, soft // _SHARE))
        self._closed = False
        self._lock = Lock()
        self._kept: OrderedDict[Key, SharedFd] = OrderedDict()  # the one used last at the end

    @contextmanager
    def opened(self, key: Key, open_it: Callable[[], int]) -> Iterator[int]:
        """The descriptor with this key, valid inside the `with`. `open_it` opens it if the cache has none."""
        shared = self.get(key) or self.add(key, open_it())
        try:
            yield shared.fd
        finally:
            self.release(shared)

    def get(self, key: Key) -> SharedFd | None:
        with self._lock:
            self._check_open()
            shared = self._kept.get(key)
            if shared is not None:
                shared.users += 1
                self._kept.move_to_end(key)
            return shared

    def add(self, key: Key, fd: int) -> SharedFd:
        """Keeps an open descriptor under a key. It belongs to the cache from now on.

        If another thread has added one under this key meanwhile, returns that one and closes `fd`.
        """
        surplus = []
        with self._lock:
            shared = self._kept.get(key)
            if shared is None:
                shared = self._kept[key] = SharedFd(fd)
            else:
                surplus.append(SharedFd(fd))
            shared.users += 1
            while len(self._kept) > (0 if self._closed else self._limit):
                surplus.append(self._kept.popitem(last=False)[1])
        for each in surplus:
            self.release(each)
        return shared

    def use(self, shared: SharedFd) -> SharedFd:
        """Counts one more user of a descriptor that the caller uses already."""
        with self._lock:
            self._check_open()
            shared.users += 1
        return shared

    def release(self, shared: SharedFd) -> None:
        """Counts one user less; closes the descriptor after the last."""
        with self._lock:
            shared.users -= 1
            unused = shared.users == 0
        if unused:
            os.close(shared.fd)

    def keys(self) -> list[Key]:
        with self._lock:
            return list(self._kept)

    def forget(self, keys: Iterable[Key]) -> None:
        """Drops these keys: the next user opens them again."""
        with self._lock:
            forgotten = [self._kept.pop(key) for key in keys if key in self._kept]
        for shared in forgotten:
            self.release(shared)

    def close(self) -> bool:
        """Closes unused descriptors, and the others when they are released. Returns False if it was closed before.

        Afterwards `get`, `use` and `opened` raise ValueError.
        """
        with self._lock:
            was_open, self._closed = not self._closed, True
        self.forget(self.keys())
        return was_open

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the descriptors are closed")
