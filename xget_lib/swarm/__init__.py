"""Decisions, pure: which peers a node gets, which chunk the master offers next, which chunk a node fetches from a peer.

No socket, clock or random source of their own: time and randomness are arguments, so that the same classes run in
production, under test, and in a simulator that plays thousands of nodes.
"""
