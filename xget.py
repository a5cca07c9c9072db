#!/usr/bin/env python3
"""The command: `./xget.py --help`. All code is in xget_lib; ARCHITECTURE.md describes it.

The packages in setup.py must be installed. scripts/xget runs the same command in an environment that has them.
"""

import gc
import sys

gc.disable()  # until all is imported, which makes no garbage

if sys.version_info < (3, 11):  # noqa: UP036 - an older Python must be able to print this message
    sys.exit("xget: Python {}.{} is too old; 3.11 or newer is required".format(*sys.version_info))

try:
    from xget_lib.cli import command
except ModuleNotFoundError as missing:
    if (missing.name or "xget_lib").split(".")[0] == "xget_lib":
        raise
    sys.exit(f"xget: the Python package {missing.name} is missing (run scripts/xget, which installs it)")

if __name__ == "__main__":
    command()
