"""Linux file system calls and nothing of XGet's: rooted paths, sparse files, extended attributes, stamps, mounts."""
