"""The manifest that a node had before: in memory, or in the cache directory from an earlier run."""

from __future__ import annotations

from xget_lib.download.last_manifest import load_manifest, save_manifest
from xget_lib.errors import MalformedManifest
from xget_lib.fs.rooted import Root
from xget_lib.manifest.assembly import SMALL, KnownParts
from xget_lib.net.threads import in_thread
from xget_lib.serve.served import EncodedManifest


class FormerManifest:
    """Of one destination. Owned by the node. Small manifests need none: reading them takes no longer."""

    def __init__(self, dest: bytes) -> None:
        self._dest = dest
        self._saved: bytes | None = None
        """The generation of what is in the cache directory, if that is known."""

    def parts(self, size: int, generation: bytes, had: EncodedManifest | None) -> KnownParts | None:
        """What may be known of a manifest with so many bytes. `had`: the one that this node has in memory."""
        return in_thread(self._parts, generation, had) if size > SMALL else None

    def save(self, root: Root, manifest: EncodedManifest, generation: bytes) -> None:
        """For the next run. `root`: the destination."""
        if manifest.size > SMALL and self._saved != generation:
            in_thread(save_manifest, root, manifest.content)
            self._saved = generation

    def _parts(self, generation: bytes, had: EncodedManifest | None) -> KnownParts | None:
        old = had.content if had is not None else load_manifest(self._dest)
        try:
            known = KnownParts(old) if old is not None else None
        except MalformedManifest:
            return None
        if known is not None and had is None and known.whole(generation) is not None:
            self._saved = generation
        return known
