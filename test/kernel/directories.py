"""Reading directories: large ones, again, and from places within them."""

from __future__ import annotations

import ctypes
import os
import random
from collections.abc import Iterator

from test.kernel.check import Mounted, check
from test.kernel.facts import LINUX


@check(small=True)
def large_directory(mounted: Mounted) -> None:
    names = os.listdir(mounted.path("many"))
    assert len(names) == len(set(names)) == mounted.facts["many"]
    assert set(names) == {f"entry{number}" for number in range(mounted.facts["many"])}


@check(LINUX, small=True)
def seeking_in_a_directory(mounted: Mounted) -> None:
    with Directory(mounted.path("many")) as directory:
        places = []
        while True:
            place = directory.tell()
            name = directory.read()
            if name is None:
                break
            places.append((place, name))
        assert len(places) == mounted.facts["many"] + 2  # . and ..
        for place, name in [*random.Random(1).sample(places, 30), places[-1], places[0], places[1]]:
            directory.seek(place)
            assert (directory.read()) == name, f"not at {place}"


@check()
def reading_a_directory_again(mounted: Mounted) -> None:
    with Directory(mounted.path("tree")) as directory:
        first = list(directory)
        directory.rewind()
        assert list(directory) == first
        assert len(first) > 2


_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.opendir.restype = _LIBC.readdir.restype = ctypes.c_void_p
_LIBC.telldir.restype = ctypes.c_long
for _function in (_LIBC.readdir, _LIBC.telldir, _LIBC.rewinddir, _LIBC.closedir):
    _function.argtypes = [ctypes.c_void_p]
_LIBC.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


class Directory:
    """An open directory, as C programs see it."""

    _NAME = 19  # where d_name begins in the struct dirent of 64-bit Linux

    def __init__(self, path: str) -> None:
        self._stream = _LIBC.opendir(os.fsencode(path))
        assert self._stream, os.strerror(ctypes.get_errno())

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        _LIBC.closedir(self._stream)

    def __iter__(self) -> Iterator[str]:
        while (name := self.read()) is not None:
            yield name

    def read(self) -> str | None:
        """The next name; None at the end. Raises OSError."""
        ctypes.set_errno(0)
        entry = _LIBC.readdir(self._stream)
        if entry:
            return os.fsdecode(ctypes.string_at(entry + self._NAME))
        if number := ctypes.get_errno():
            raise OSError(number, os.strerror(number))
        return None

    def tell(self) -> int:
        return int(_LIBC.telldir(self._stream))

    def seek(self, place: int) -> None:
        _LIBC.seekdir(self._stream, place)

    def rewind(self) -> None:
        _LIBC.rewinddir(self._stream)
