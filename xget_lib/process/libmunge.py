"""libmunge: credentials of MUNGE (munge(7)), which say on one machine who has made them on another.

A daemon on each machine, munged, has the key of the site. It learns the user of a process that asks it from the kernel,
so nobody can make a credential in the name of another user, root of a machine of the site aside. The payload is
encrypted; who may decode it can be limited to one user. A credential can be decoded for some minutes (the clocks must
agree), and once on each machine.

Functions, constants and errors: munge.h and its manual pages munge(3), munge_ctx(3). The library is loaded only where
MUNGE is used.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

from xget_lib.errors import MungeRefused, MungeUnavailable, UsageError, printable

_LIBRARY = "libmunge.so.2"

# munge.h: enum munge_opt, munge_cipher, munge_mac, munge_zip, munge_err.
_CIPHER, _MAC, _ZIP, _SOCKET, _MAY_DECODE = 0, 1, 2, 8, 9
_AES128, _SHA256, _NO_ZIP = 4, 5, 0
_SUCCESS = 0
_BAD_CREDENTIAL = range(8, 19)
"""From EMUNGE_BAD_CRED to EMUNGE_CRED_UNAUTHORIZED: not the daemon is at fault, but what it was given."""

_free = ctypes.CDLL(None).free


class LibMunge:
    """Makes and decodes credentials. Threads may share it. A call blocks until munged answers, some seconds at most."""

    def __init__(self, path: str | None = None) -> None:
        """`path`: of the socket of munged; None: that of the library. Raises UsageError without the library."""
        try:
            self._library = _load()
        except OSError as error:
            why = printable(str(error))
            raise UsageError(f"--auth munge: {why} (apt-get install libmunge2 munge)") from None
        self._path = None if path is None else os.fsencode(path)

    def encode(self, payload: bytes, for_uid: int) -> bytes:
        """A credential of this process that processes of one user can decode. Raises MungeUnavailable."""
        with _Context(self._library, self._path) as context:
            for option, value in self._options(for_uid):
                context.set(option, ctypes.c_uint(value))
            credential = ctypes.c_void_p()
            try:
                context.check(
                    self._library.munge_encode(ctypes.byref(credential), context.pointer, payload, len(payload))
                )
                return ctypes.string_at(credential)
            finally:
                _free(credential)

    @staticmethod
    def _options(for_uid: int) -> Iterable[tuple[int, int]]:
        """The cipher is named because the payload must not be readable, whatever the default of the site."""
        return (_CIPHER, _AES128), (_MAC, _SHA256), (_ZIP, _NO_ZIP), (_MAY_DECODE, for_uid)

    def decode(self, credential: bytes) -> tuple[int, bytes]:
        """The uid that has made a credential, and its payload. Raises MungeRefused if this process cannot decode it, or
        not any more, and MungeUnavailable."""
        with _Context(self._library, self._path) as context:
            payload, size, uid = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_uint()
            references = ctypes.byref(payload), ctypes.byref(size), ctypes.byref(uid)
            try:
                # Also for a credential that has expired, the payload is there, and to be freed.
                context.check(self._library.munge_decode(credential, context.pointer, *references, None))
                return uid.value, ctypes.string_at(payload, size.value)
            finally:
                _free(payload)


def _load() -> ctypes.CDLL:
    """Raises OSError."""
    library = ctypes.CDLL(_LIBRARY)
    library.munge_ctx_create.restype = ctypes.c_void_p
    library.munge_ctx_strerror.restype = library.munge_strerror.restype = ctypes.c_char_p
    return library


class _Context:
    """The options and the last error of one call."""

    def __init__(self, library: ctypes.CDLL, path: bytes | None) -> None:
        self._library = library
        self._path = path

    def __enter__(self) -> _Context:
        self.pointer = ctypes.c_void_p(self._library.munge_ctx_create())
        if not self.pointer:
            raise MungeUnavailable(os.strerror(12))
        if self._path is not None:
            self.set(_SOCKET, self._path)
        return self

    def __exit__(self, *ended: object) -> None:
        self._library.munge_ctx_destroy(self.pointer)

    def set(self, option: int, value: object) -> None:
        """Raises MungeUnavailable."""
        self.check(self._library.munge_ctx_set(self.pointer, option, value))

    def check(self, error: int) -> None:
        """Raises MungeRefused, MungeUnavailable."""
        if error == _SUCCESS:
            return
        text = self._library.munge_ctx_strerror(self.pointer) or self._library.munge_strerror(error)
        why = printable((text or b"").decode(errors="replace"))
        raise MungeRefused(why) if error in _BAD_CREDENTIAL else MungeUnavailable(why)
