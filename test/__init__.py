"""The tests, in the tree of xget_lib with test_ in front. A package, because Python has one named `test` of its own."""

import os

os.environ["XGET_CONFIG"] = ""
"""What is tested, and everything that it starts, does not read the configuration file of this machine."""
