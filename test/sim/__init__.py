"""The swarm in virtual time: the decisions that run in production, played for up to ten thousand nodes.

    python -m test.sim --help

What is real: all decisions of `xget_lib.swarm` but the redirects of C clients, the lines of news and registrations (for
their sizes), the sizes of chunks and of the manifest. What is modelled: links (`links`), and what the roles do around
the decisions (`master` for `master/tracker_io.py`, `node` for `node/transfer.py` and what it uses).
"""
