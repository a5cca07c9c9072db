"""Signed generations: the keys, and the file with what they have signed."""
