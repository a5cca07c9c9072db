"""What is distributed: a directory at one moment, its pieces, and where they are on disk. No network, no gevent.

    bitmap     which chunks (or pieces)        beneath   a directory below which no link is followed
    layout     the content stream: pieces and chunks of it
    table      every entry with its metadata, in columns
    manifest   these with their digests, in bytes; its BLAKE3 names the generation
    scanning, snapshot   a directory on disk -> a manifest
    store      reading what is held            partial   writing, checking, resuming, putting in place
    selection  which entries of a manifest land where

Paths are bytes, relative, separated by b"/", without a leading b"./"; the served directory itself is b"".
"""
