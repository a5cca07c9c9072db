"""XGet: copies a directory from one node of a cluster to thousands, at the speed of one link.

ARCHITECTURE.md describes the packages. A run begins in `xget_lib.cli`.
"""

__version__ = "2.0.0"
