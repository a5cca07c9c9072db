"""Combinations of odd sources, destinations, options and interruptions, compared with rsync. See `__main__`."""
