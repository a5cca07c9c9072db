#!/usr/bin/env python3
"""The command: `./xget.py --help`. Everything is in xget_lib; ARCHITECTURE.md says where.

It needs the packages that setup.py lists; scripts/xget is the same command with an environment that has them.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - an older Python must get as far as this sentence
    sys.exit("xget: Python {}.{} is too old: 3.11 or newer is needed".format(*sys.version_info))

try:
    from xget_lib.cli import main
except ModuleNotFoundError as missing:
    if (missing.name or "xget_lib").split(".")[0] == "xget_lib":
        raise
    sys.exit(f"xget: the Python package {missing.name} is missing (run scripts/xget, which makes its own environment)")

if __name__ == "__main__":
    sys.exit(main())
