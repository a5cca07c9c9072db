"""Disk to manifest: scan a directory, hash its files, keep digests for the next time, watch for changes."""
