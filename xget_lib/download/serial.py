"""The serial of the signed generation that a destination got last, so that an older one is not taken again.

It is in the staging directory, `.xget/serial`, and stays there: it has to last as long as the content that it is of, on
nodes too of which everything but the destination is in memory. No server can touch it, as nothing with the name `.xget`
is ever served or deleted. It does not say what is in place, but what was accepted: it is on disk before the first file
gets other content.
"""

from __future__ import annotations

import json
import os
import stat
import time

from xget_lib.download.refusal import refusing
from xget_lib.download.workplaces import sync_directory
from xget_lib.errors import DestinationRefused, NotTrusted, printable
from xget_lib.fs.rooted import Root
from xget_lib.manifest.selection import SERIAL, STAGING
from xget_lib.manifest.signature import Signed

_PATH = STAGING + b"/" + SERIAL
_NEW = _PATH + b".new"
_LIMIT = 4096
"""Bytes of the file, at most."""


def check_serial(dest: bytes, signed: Signed, *, allow_rollback: bool) -> None:
    """Raises NotTrusted where a destination, which need not exist, has had a generation that was signed later.

    Two generations with the same serial are not in order, so the one that came first stays. Raises DestinationRefused
    where the file cannot be read, or says nothing: nobody knows then.
    """
    try:
        root = Root(dest)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DestinationRefused(dest, error.strerror or str(error)) from error
    with root:
        _check(root, signed, allow_rollback=allow_rollback)


def take_serial(root: Root, signed: Signed, *, allow_rollback: bool) -> None:
    """The destination gets this generation. As `check_serial`; then the serial is on disk. The caller has locked the
    staging directory."""
    former = _check(root, signed, allow_rollback=allow_rollback)
    if former != signed:
        with refusing(root.path):
            _write(root, json.dumps(signed.fields).encode() + b"\n")


def _check(root: Root, signed: Signed, *, allow_rollback: bool) -> Signed | None:
    """Returns what the destination got last; None if nothing that was signed."""
    former = _read(root)
    if former is None or allow_rollback:
        return former
    older = signed.signature.serial < former.signature.serial
    if older or (signed.signature.serial == former.signature.serial and signed.generation != former.generation):
        raise NotTrusted(
            signed.generation,
            f"signed with serial {signed.signature.serial}{_at(signed)}, but {printable(root.path)} has had serial"
            f" {former.signature.serial}{_at(former)} (--allow-rollback takes it)",
        )
    return former


def _at(signed: Signed) -> str:
    """When it was signed, as far as it can be shown."""
    try:
        at = time.gmtime(signed.signature.time)
    except (OverflowError, OSError):
        return ""
    return time.strftime(" of %Y-%m-%d %H:%M:%S", at) if at.tm_year < 10_000 else ""


def _read(root: Root) -> Signed | None:
    path = os.path.join(root.path, _PATH)
    with refusing(root.path, _PATH):
        try:
            with root.opened(_PATH, os.O_RDONLY) as descriptor:
                is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
                text = os.read(descriptor, _LIMIT) if is_file else b""
        except FileNotFoundError:
            return None
    try:
        return Signed.of_fields(json.loads(text))
    except (ValueError, RecursionError):
        raise DestinationRefused(path, "damaged (remove it, and older generations are accepted)") from None


def _write(root: Root, text: bytes) -> None:
    with root.opened(_NEW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as descriptor:
        os.write(descriptor, text)
        os.fsync(descriptor)
    root.rename(_NEW, _PATH)
    with root.opened(STAGING, os.O_RDONLY | os.O_DIRECTORY) as directory:
        sync_directory(directory)
