"""`xget.py sign`: signs a directory or file as it is now, for a master that has no private key, or another machine's.

It makes the manifest that a master of this directory makes, so the options that change it (-x, -o, --exclude) must be
the same.
"""

from __future__ import annotations

import json
import os
import time

from xget_lib.config import Config, absolute
from xget_lib.errors import Exit, Failed, UsageError, printable
from xget_lib.manifest.patterns import Patterns
from xget_lib.manifest.signature import Signed
from xget_lib.report.events import counted, size
from xget_lib.report.output import print_line
from xget_lib.signing import signature_file
from xget_lib.signing.keys import SigningKey, read_signing_key
from xget_lib.snapshot.whole import take_whole


def run(config: Config, path: bytes) -> int:
    """Sign, and print what is signed. Returns the exit status.

    Raises UsageError, PathRefused, and Failed where something cannot be read, or the signature cannot be written.
    """
    if config.key is None:
        raise UsageError("sign needs a private key (--key FILE; openssl genpkey -algorithm ed25519 makes one)")
    key = read_signing_key("key", config.key)
    root = absolute(path)
    file = signature_file.path_of(root, config.signature, one_file_system=config.one_file_system)
    _serial(config, file)  # if it is refused, then before everything is read
    manifest = take_whole(
        root,
        one_file_system=config.one_file_system,
        owner_names=not config.no_owners,
        public_only=config.public_only,
        exclude=Patterns(map(os.fsencode, config.exclude)),
    )
    signed = _sign(config, key, manifest.generation, file)
    layout = manifest.layout
    if config.json:
        facts = {"files": layout.file_count, "bytes": layout.size, "signature": os.fsdecode(file)}
        print_line(json.dumps({**signed.fields, **facts}))
    elif not config.quiet:
        what = f"{counted(layout.file_count, 'file')}, {size(layout.size)}"
        serial, generation = signed.signature.serial, signed.generation.hex()[:16]
        print_line(f"signed generation {generation}: {what}, serial {serial}, in {printable(file)}")
    return Exit.OK


def _sign(config: Config, key: SigningKey, generation: bytes, file: bytes) -> Signed:
    """Signs a generation, and adds it to the file."""
    for _ in range(signature_file.TRIES):
        signed = key.sign(generation, _serial(config, file), int(time.time()))
        if signature_file.add(file, signed):
            return signed
    raise Failed(printable(file), "others sign all the time")


def _serial(config: Config, file: bytes) -> int:
    """The next one."""
    former = signature_file.highest_serial(signature_file.read(file))
    if config.serial is not None and config.serial <= former:
        raise UsageError(f"--serial {config.serial}: {printable(file)} has serial {former} (give a higher one)")
    return config.serial or signature_file.next_serial(former, time.time())
