"""A directory as data: entries, layout, pieces and their digests. No I/O, no clock."""
