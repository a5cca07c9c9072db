"""Decisions without I/O: which peers a node gets, and which chunk it gets next from the master and from each peer.

Nothing here has a socket, a clock or a random source: time and randomness are arguments. So the same classes run in
production, in tests, and in a simulator of thousands of nodes.
"""
