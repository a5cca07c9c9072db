"""Disk to manifest.

    scan            one stat per name: entries, metadata, holes, stamps   scan.scan          -> Scan
    look up         digests of files that have not changed                DigestCache.look_up -> digests, pieces to hash
    hash            the other pieces, in any number of parts              hash.hash_pieces   -> HashedPieces
    assemble        without the files that could not be read              assemble.assemble  -> Manifest
    keep            digests for the next snapshot                         DigestCache.build

Several worker processes share the work: one scans, all hash, one assembles. A Scan has a stamp of every regular file;
hashing compares it before and after it reads the file, so a manifest never mixes two states of a file. If a file has
changed, the caller scans again. `watch` reports changes between two snapshots.
"""
