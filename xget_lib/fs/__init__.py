"""The Linux file system, and nothing of XGet: rooted paths, open descriptors, sparse files, xattrs, stamps, mounts."""
