"""Decisions, pure: who is handed to whom, which chunk the master gives out next, which chunk a client asks for.

No socket, clock or random source of their own: time and randomness are arguments, so that the same classes run in
production, under test, and in a simulator that plays thousands of nodes.
"""
