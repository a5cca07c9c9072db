"""The files in conf and scripts name options and programs that exist."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from test.support.roles import USAGE
from xget_lib import config, config_file

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "conf" / "xget.toml"


def test_the_example_sets_nothing() -> None:
    assert tomllib.loads(EXAMPLE.read_text()) == {"master": {}, "client": {}}
    assert config_file.read(str(EXAMPLE), USAGE).settings == {}


def test_the_example_has_every_key_once_with_a_valid_value(tmp_path: Path) -> None:
    file = tmp_path / "xget.toml"
    file.write_text(re.sub(r"^#: ", "", EXAMPLE.read_text(), flags=re.MULTILINE))
    read = config_file.read(str(file), USAGE)
    keys = [key for _, key in read.settings]
    assert len(keys) == len(set(keys))
    assert set(keys) == {*config.OPTIONS, *config_file.ARGUMENTS}
    assert tuple(field.name.replace("_", "-") for field in dataclasses.fields(config.Config)) == config.OPTIONS


def test_the_example_shows_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "xget.toml"
    file.write_text(re.sub(r"^#: ", "", EXAMPLE.read_text(), flags=re.MULTILINE))
    read = config_file.read(str(file), USAGE)
    in_example = {key: str(setting.value) for (_, key), setting in read.settings.items()}
    assert {key: in_example[key] for key in USAGE.defaults} == USAGE.defaults


def test_cron_refers_to_files_that_exist() -> None:
    programs = re.findall(r"/opt/xget/(\S+)", (ROOT / "conf/cron").read_text())
    assert programs
    assert [name for name in programs if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("name", ["xget", "xget-cron", "test", "environment.sh", "init.d/xget"])
def test_scripts_are_valid_shell(name: str) -> None:
    script = ROOT / "scripts" / name
    shell = "sh" if script.read_text().startswith("#!/bin/sh") else "bash"
    subprocess.run([shell, "-n", str(script)], check=True, timeout=60)
