"""How a master comes to the signature of what it serves: it signs by itself, or finds it in a file that was signed
elsewhere.

A master that signs writes the same file: there it finds, after a restart, what it has signed before, and the highest
serial. Workers read and write it, as all that is on the disk of the served directory.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from xget_lib.errors import Failed, NotTrusted, printable
from xget_lib.ipc.jobs import AddSignature, ReadSignatures, SignatureAdded, SignaturesRead
from xget_lib.manifest.signature import Signature, Signed
from xget_lib.master.workers import WorkerPool
from xget_lib.report.log import LOGGER
from xget_lib.signing import signature_file
from xget_lib.signing.keys import SigningKey

_HOW = "xget sign, with -x, -o and --public-only as here"


class Signatures:
    """Of one served directory. Owned by the publisher, which asks after each scan."""

    def __init__(
        self, pool: WorkerPool, root: bytes, path: bytes = b"", key: SigningKey | None = None, *, needed: bool = False
    ) -> None:
        """`path`: the signature file; b"" for the usual one. `needed`: what is not signed is not served."""
        self._pool = pool
        self._root = root
        self._path = path
        self._key = key
        self._needed = needed
        self._last: Signed | None = None
        """The generation of the last scan, signed by `key`."""
        self._is_saved = False
        """Whether the file has it, or has had it."""
        self._highest = 0
        """The highest serial that is known, also where the file cannot be read or written any more."""
        self._told: dict[str, str] = {}
        """By what did not work: why not, as it was logged last."""

    def of(self, generation: bytes) -> Signature | None:
        """The signature of a generation that was scanned just now; None if there is none.

        Blocks while a worker reads the file. Raises NotTrusted if there is none and one is needed, and
        Failed where others sign all the time, or no serial is left.
        """
        file, there = self._read()
        if self._key is not None:
            return self._signed(self._key, generation, file, there).signature
        found = signature_file.newest([each for each in there if each.generation == generation])
        name = printable(file or signature_file.NAME)
        if found is None and self._needed:
            raise NotTrusted(generation, f"{name} has no signature of it, so it is not served ({_HOW})")
        if found is None and there and self._is_new("find", f"{name} {generation.hex()}"):
            text = "%s has no signature of generation %s: clients with --trust refuse it (%s)"
            LOGGER.warning(text, name, generation.hex()[:16], _HOW)
        return found.signature if found is not None else None

    def _read(self) -> tuple[bytes, list[Signed]]:
        """The path of the file, b"" if it is not known, and what is in it."""
        try:
            read, _ = self._pool.work("signature", ReadSignatures(self._root, self._path), SignaturesRead)
        except Failed as error:
            read = SignaturesRead(self._path, b"", error.why)
        if self._is_new("read", read.trouble):
            LOGGER.warning("cannot read signatures: %s", read.trouble)
        return read.path, signature_file.decode(read.lines)

    def _signed(self, key: SigningKey, generation: bytes, file: bytes, there: Sequence[Signed]) -> Signed:
        """The signature by the key. The file gets it if it does not have it."""
        for _ in range(signature_file.TRIES):
            self._highest = max(self._highest, signature_file.highest_serial(there))
            signed = self._valid(key, generation, there) or self._new(key, generation)
            if signed in there:
                self._is_saved = True
            elif signed != self._last:
                self._is_saved = False
            self._last = signed
            # What was saved, and is not there, was replaced by a signature of the same generation by another key.
            replaced = self._is_saved and any(each.generation == generation for each in there)
            if signed in there or replaced or self._save(file, signed):
                return signed
            self._last = None
            _, there = self._read()
        raise Failed(printable(file), "others sign all the time")

    def _valid(self, key: SigningKey, generation: bytes, there: Sequence[Signed]) -> Signed | None:
        """What the key has signed before, if it need not be signed again.

        As long as the generation is the same, whatever others sign. At the start, and when a generation comes back,
        nobody knows what was served meanwhile: then only if nothing was signed since.
        """
        last = self._last if self._last is not None and self._last.generation == generation else None
        same = [each for each in there if each.generation == generation]
        newest = signature_file.newest([last, *same] if last is not None else same)
        if newest is None or newest == last:
            return last
        is_current = last is not None or newest.signature.serial == self._highest
        return newest if is_current and key.has_signed(newest) else last

    def _new(self, key: SigningKey, generation: bytes) -> Signed:
        now = time.time()
        self._highest = signature_file.next_serial(self._highest, now)
        return key.sign(generation, self._highest, int(now))

    def _save(self, file: bytes, signed: Signed) -> bool:
        """Add it to the file. False if somebody else has signed meanwhile: this one must not be used."""
        if not file:
            return True  # the log says why its path is not known
        trouble = ""
        try:
            request = AddSignature(file, signature_file.encode([signed]))
            added, _ = self._pool.work("signature", request, SignatureAdded)
        except Failed as error:
            trouble = error.why
        else:
            self._is_saved = added.done
        if self._is_new("save", trouble):
            LOGGER.warning("cannot save the signature: %s", trouble)
        return self._is_saved or bool(trouble)

    def _is_new(self, kind: str, trouble: str) -> bool:
        """Whether to log a trouble of this kind, if there is one: once as long as it is the same."""
        former, self._told[kind] = self._told.get(kind), trouble
        return bool(trouble) and trouble != former
