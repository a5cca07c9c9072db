"""Packaging, and the one list of what XGet needs.

scripts/environment.sh reads RUNTIME, TESTS and BENCH from here to make the environment of a checkout, and keeps a
copy of this file in it to notice when the lists change. That is why importing this file does nothing.
"""

import re
from pathlib import Path

RUNTIME = [
    "gevent>=24.2",
    "msgpack>=1.0.7",
    "docopt-ng>=0.9.0",
    "blake3>=1.0.0",
    "tqdm>=4.66",
    "inotify_simple>=2.0.1",
]

TESTS = [
    "pytest>=9.0",
    "hypothesis>=6.100",
    "ruff>=0.9",
    "mypy>=1.14",
    "types-gevent",
    "types-tqdm",
    "python-9p>=0.1",  # other people's 9P clients, to read what we serve
    "pyroute2>=0.9",
]

# What drawing the benchmark's picture needs; measuring needs nothing.
BENCH = ["matplotlib>=3.8"]

# What fuzzing by coverage needs (`python -m test.fuzz --guided`); the fuzzer of the test suite needs nothing.
FUZZ = ["atheris>=2.3"]


def version() -> str:
    """The version that the package itself states, read without importing it."""
    text = (Path(__file__).parent / "xget_lib" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    assert found, "xget_lib/__init__.py states no __version__"
    return found.group(1)


if __name__ == "__main__":
    from setuptools import find_packages, setup

    setup(
        name="xget",
        version=version(),
        description="A directory from one node of a cluster onto thousands, at the speed of one link",
        author="The XGet authors",
        license="BSD-3-Clause",
        python_requires=">=3.11",
        packages=find_packages(include=["xget_lib", "xget_lib.*"]),
        install_requires=RUNTIME,
        extras_require={"test": TESTS},
        entry_points={"console_scripts": ["xget = xget_lib.cli:main"]},
    )
