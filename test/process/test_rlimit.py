"""How many descriptors a process has, and each purpose in it. Each test sets the limits of a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def limits_after(code: str) -> str:
    program = f"""
import resource
from xget_lib.process import rlimit
{code}
print(*resource.getrlimit(resource.RLIMIT_NOFILE), rlimit.part())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return ended.stdout.strip()


@pytest.mark.parametrize(("soft", "hard"), [(100, 4000), (4000, 4000), (64, 64)])
def test_the_limit_becomes_as_high_as_it_may_be(soft: int, hard: int) -> None:
    code = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\nrlimit.raise_limit(10)"
    assert limits_after(code) == f"{hard} {hard} {hard // 4}"


def test_each_purpose_has_a_part() -> None:
    assert limits_after("resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 2048))") == "1024 2048 256"


def test_it_does_not_become_higher_than_anybody_needs() -> None:
    code = """
rlimit.resource = type("Unlimited", (), dict(vars(resource)))
rlimit.resource.getrlimit = lambda which: (1024, resource.RLIM_INFINITY)
asked = []
rlimit.resource.setrlimit = lambda which, limits: asked.append(limits)
rlimit.raise_limit(10)
assert asked == [(1 << 20, resource.RLIM_INFINITY)], asked
rlimit.resource = resource
resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
"""
    assert limits_after(code) == "400 400 100"


@pytest.mark.parametrize("hard", [8, 20, 64])
def test_too_few_are_an_error_that_says_how_many_are_needed(hard: int) -> None:
    code = f"""
from xget_lib.errors import Failed
resource.setrlimit(resource.RLIMIT_NOFILE, ({hard}, {hard}))
try:
    rlimit.raise_limit(100)
except Failed as error:
    assert str(error) == (
        "limit of open files: {hard} is too low, 100 are needed (ulimit -n, or LimitNOFILE)"
    ), error
else:
    raise AssertionError("no error")
"""
    assert limits_after(code) == f"{hard} {hard} {hard // 4}"
