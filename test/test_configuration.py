"""The files in conf and scripts name options and programs that exist."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from xget_lib import config

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "conf" / "xget.toml"


def test_the_example_sets_nothing() -> None:
    assert tomllib.loads(EXAMPLE.read_text()) == {}


def test_the_example_has_every_option_with_a_valid_value() -> None:
    uncommented = tomllib.loads(re.sub(r"^#: ", "", EXAMPLE.read_text(), flags=re.MULTILINE))
    assert set(uncommented) == {field.name.replace("_", "-") for field in dataclasses.fields(config.Config)}
    built = config.build({}, uncommented, {})
    assert (built.port, built.max_direct, built.linger, built.host) == (20004, 6, 300, "head")


@pytest.mark.parametrize(
    "path",
    [
        "conf/systemd/xget-master@.service",
        "conf/systemd/xget-client.service",
        "conf/systemd/xget-follow.service",
        "conf/cron",
    ],
)
def test_units_and_cron_refer_to_files_that_exist(path: str) -> None:
    programs = re.findall(r"/opt/xget/(\S+)", (ROOT / path).read_text())
    assert programs
    assert [name for name in programs if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("name", ["xget", "test", "environment.sh", "init.d/xget"])
def test_scripts_are_valid_shell(name: str) -> None:
    script = ROOT / "scripts" / name
    shell = "sh" if script.read_text().startswith("#!/bin/sh") else "bash"
    subprocess.run([shell, "-n", str(script)], check=True, timeout=60)
