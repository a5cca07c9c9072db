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


DATA = {
    "conf": "share/xget/conf",
    "scripts/init.d": "share/xget/init.d",
    "docs": "share/doc/xget",
    "share": "share",  # manual pages and completions, which `scripts/package` makes for the packages
}
"""Directories of files that are no Python, and where pip puts them, below the prefix of its environment."""


def data_files() -> list[tuple[str, list[str]]]:
    """Pairs of a directory of the environment, and files of the sources, as setuptools wants them."""
    root = Path(__file__).parent
    found: dict[str, list[str]] = {"share/doc/xget": ["README.md", "CHANGELOG.md", "LICENSE"]}
    for source, target in DATA.items():
        for path in sorted((root / source).rglob("*")):
            if path.is_file():
                place = (Path(target) / path.relative_to(root / source)).parent
                found.setdefault(str(place), []).append(str(path.relative_to(root)))
    return sorted(found.items())


if __name__ == "__main__":
    from setuptools import find_packages, setup

    setup(
        name="xget",
        version=version(),
        description="Copies a directory from one node of a cluster to thousands, at the speed of one link",
        long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
        long_description_content_type="text/markdown",
        author="The XGet authors",
        license="BSD-3-Clause",
        python_requires=">=3.11",
        packages=find_packages(include=["xget_lib", "xget_lib.*"]),
        package_data={"xget_lib": ["COMMIT"], "xget_lib.page": ["parts/*"]},
        data_files=data_files(),
        scripts=[str(path) for path in sorted(Path("scripts").glob("xget-*"))],
        install_requires=RUNTIME,
        extras_require={"sign": SIGN, "nodes": NODES, "metrics": METRICS, "test": TESTS},
        entry_points={"console_scripts": ["xget = xget_lib.cli:command"]},
    )
