"""XGet: a directory from one node of a cluster onto thousands, at the speed of one link.

ARCHITECTURE.md says which package does what; `xget_lib.cli` is where a run begins.
"""

__version__ = "2.0.0"
