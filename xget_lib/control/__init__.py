"""Commands that query a running server: `xget.py status`."""
