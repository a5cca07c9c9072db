"""Packaging, and the only list of the packages that XGet needs.

scripts/environment.sh imports this file to read the lists, and keeps a copy of it in the environment to notice changes.
So importing it must have no effect.
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

# Needed for signed generations (`xget sign`, --sign-key, --trust), and imported only there.
SIGN = ["cryptography>=38"]

# Needed for sets of nodes such as node[1-8] (`xget status --expect`), and imported only there.
NODES = ["ClusterShell>=1.9"]

# Needed for /metrics of the status page (--http), and imported only there.
METRICS = ["prometheus_client>=0.16"]

TESTS = [
    *SIGN,
    *NODES,
    *METRICS,
    "pytest>=9.0",
    "pytest-xdist>=3.6",  # end-to-end tests mostly wait, so several run at once
    "hypothesis>=6.100",
    "ruff>=0.9",
    "mypy>=1.14",
    "types-gevent",
    "types-tqdm",
    "python-9p>=0.1",  # 9P clients of other projects, which read what XGet serves
    "pyroute2>=0.9",
]

# Needed to draw the picture of a benchmark, not to measure.
BENCH = ["matplotlib>=3.8"]

# Needed for coverage-guided fuzzing (`python -m test.fuzz --guided`), not for the fuzzer in the test suite.
FUZZ = ["atheris>=2.3"]


def version() -> str:
    """The version of the package, read from its source without importing it."""
    text = (Path(__file__).parent / "xget_lib" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    assert found, "xget_lib/__init__.py has no __version__"
    return found.group(1)


if __name__ == "__main__":
    from setuptools import find_packages, setup

    setup(
        name="xget",
        version=version(),
        description="Copies a directory from one node of a cluster to thousands, at the speed of one link",
        author="The XGet authors",
        license="BSD-3-Clause",
        python_requires=">=3.11",
        packages=find_packages(include=["xget_lib", "xget_lib.*"]),
        package_data={"xget_lib.page": ["parts/*"]},
        install_requires=RUNTIME,
        extras_require={"sign": SIGN, "nodes": NODES, "metrics": METRICS, "test": TESTS},
        entry_points={"console_scripts": ["xget = xget_lib.cli:main"]},
    )
