"""Measures what a node that has the manifest before reads of the next one: `python -m scripts.bench.manifests`.

Nothing is sent: the manifests are made, and what is asked for is counted. The result does not depend on the machine.

    one        one file in the midst is replaced
    package    a package of 200 files that follow each other is replaced
    added      a file is added to a directory in the midst
    removed    a file there is removed
    scattered  200 files anywhere are replaced
"""

from __future__ import annotations

import argparse
from random import Random

from xget_lib.manifest.assembly import KnownParts, assembly
from xget_lib.manifest.entry import DIRECTORY, FILE, EntryMetadata
from xget_lib.manifest.index import Index
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.table_builder import TableBuilder

_IN_DIRECTORY = 1000
_PACKAGE = 200
_OF_DIRECTORIES, _OF_FILES = EntryMetadata(0o755, 0, 0), EntryMetadata(0o644, 0, 0)

Files = dict[bytes, tuple[int, bytes]]
"""By path, `directory/name`: modification time, and the digest of the only piece."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.manifests", description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=500_000, metavar="N", help="number of files (500000)")
    files = parser.parse_args().files
    random = Random(1)
    before = {b"%06d/file-%07d" % (n // _IN_DIRECTORY, n): _some(random) for n in range(files)}
    paths = sorted(before)
    middle = len(paths) // 2
    changes: dict[str, Files] = {
        "one": {**before, paths[middle]: _some(random)},
        "package": {**before, **{path: _some(random) for path in paths[middle:][:_PACKAGE]}},
        "added": {**before, paths[middle] + b"-new": _some(random)},
        "removed": {path: facts for path, facts in before.items() if path != paths[middle]},
        "scattered": {**before, **{path: _some(random) for path in random.sample(paths, _PACKAGE)}},
    }
    old = _encoded(before)
    print(f"{'change':9} {'bytes':>11} {'round trips':>11}")
    print(f"{'(whole)':9} {len(old):>11,} {2:>11}")
    for name, after in changes.items():
        print(f"{name:9} {_read(old, _encoded(after))}", flush=True)


def _some(random: Random) -> tuple[int, bytes]:
    return random.getrandbits(60), random.randbytes(32)


def _encoded(files: Files) -> bytes:
    below: dict[bytes, list[bytes]] = {}
    for path in sorted(files):
        below.setdefault(path.partition(b"/")[0], []).append(path)
    builder = TableBuilder()
    builder.add(DIRECTORY, b"", _OF_DIRECTORIES, 0)
    for directory in below:
        builder.add(DIRECTORY, directory, _OF_DIRECTORIES, 0)
    builder.end_directory(len(below))
    for paths in below.values():
        for path in paths:
            builder.add(FILE, path.rpartition(b"/")[2], _OF_FILES, files[path][0])
            builder.add_size(1 + files[path][0] % 65536, None)
        builder.end_directory(len(paths))
    digests = b"".join(files[path][1] for paths in below.values() for path in paths)
    return Manifest(builder.table(), digests, {}, {}).encode()


def _read(old: bytes, new: bytes) -> str:
    """What is read of the new manifest, in bytes, and how often it is waited for."""
    count = trips = 0
    steps = assembly(len(new), Index.of(new).generation, KnownParts(old))
    ranges = next(steps)
    try:
        while True:
            contents = [new[each.start : each.stop] for each in ranges]
            count += sum(map(len, contents))
            trips += 1
            ranges = steps.send(contents)
    except StopIteration as end:
        if end.value != new:
            raise SystemExit("the result is not the manifest") from None
    return f"{count:>11,} {trips:>11}"


if __name__ == "__main__":
    main()
