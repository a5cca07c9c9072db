"""Commands that ask a running server: `xget.py status`."""
