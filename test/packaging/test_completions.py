"""Completions in the shells themselves."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.packaging import completions
from scripts.packaging.help_text import read_help
from test.packaging.packages import ROOT
from test.support.installed import lacking
from test.support.processes import PATIENCE
from xget_lib.usage import Usage

TEXT = read_help(ROOT)


def files_in(place: Path) -> None:
    for name in ("file.key", "other file", "directory/inside"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).touch()


def asked(tmp_path: Path, shell: str, script: str, *arguments: str) -> list[str]:
    """What a script prints in a shell, in a directory with some files."""
    if shutil.which(shell) is None:
        lacking(f"{shell} is not installed (apt install {shell})")
    files_in(tmp_path)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "TERM": "dumb"}
    command = [*{"bash": ["bash", "--norc", "-c"], "fish": ["fish", "-N", "-c"]}[shell]]
    done = subprocess.run(
        [*command, script, *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


BASH = """\
source xget.bash
complete -p xget >/dev/null
COMP_WORDS=("$0" "$@")
COMP_CWORD=$#
compopt() { :; }
_xget
printf '%s\\n' "${COMPREPLY[@]}"
"""


def bash(tmp_path: Path, *words: str) -> set[str]:
    """What bash offers for the last word. It divides --name=value at the `=`."""
    (tmp_path / "xget.bash").write_text(completions.bash(TEXT))
    return set(asked(tmp_path, "bash", BASH, "xget", *words)) - {"xget.bash"}


def fish(tmp_path: Path, line: str) -> set[str]:
    (tmp_path / "xget.fish").write_text(completions.fish(TEXT))
    offered = asked(tmp_path, "fish", f"source xget.fish; complete -C '{line}'")
    return {each.partition("\t")[0] for each in offered} - {"xget.fish"}


ZSH = """\
bindkey -e; PS1=; LISTMAX=100000; unsetopt list_ambiguous auto_menu
fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D
zle-line-init() { print; print ST''ART; }; zle -N zle-line-init
"""
"""The last line makes it print a word when it edits the next line: what is typed before, the terminal would edit."""


def zsh(tmp_path: Path, line: str) -> set[str]:
    """The words that zsh shows for a line and then Tab, on a terminal that is large enough for all of them."""
    if shutil.which("zsh") is None:
        lacking("zsh is not installed (apt install zsh)")
    files_in(tmp_path)
    (tmp_path / "_xget").write_text(completions.zsh(TEXT))
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 400, 400, 0, 0))
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "TERM": "dumb"}
    shell = subprocess.Popen(
        ["setsid", "--ctty", "--wait", "zsh", "-f", "-i"],
        cwd=tmp_path,
        env=environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    try:
        os.write(master, ZSH.encode())
        read_until(master, "\nSTART")
        os.write(master, f"{line}\t\x15print EN''D\n".encode())
        offered = read_until(master, "\nEND")
    finally:
        os.close(master)  # the terminal is gone, so the shell ends
        shell.wait(PATIENCE)
    return set(re.findall(r"(?:(?<=\s)|^)([\w.-]+/?)(?=\s|$)", offered))


def read_until(terminal: int, mark: str) -> str:
    """What is shown until a line that begins so."""
    text = ""
    poller = select.poll()
    poller.register(terminal, select.POLLIN)
    while mark not in text:
        assert poller.poll(PATIENCE * 1000), text
        text += os.read(terminal, 1 << 16).decode(errors="replace").replace("\r", "")
    return text


OPTIONS = {f"--{name}{'=' if option.argument else ''}" for name, option in Usage(TEXT).options.items()}


def test_bash_offers_options_commands_files_and_values(tmp_path: Path) -> None:
    assert bash(tmp_path, "--") == OPTIONS
    assert bash(tmp_path, "--tls-c") == {"--tls-cert=", "--tls-ca="}
    assert {"status", "other file", "directory"} <= bash(tmp_path, "")
    assert "status" not in bash(tmp_path, "--quiet", "")
    assert bash(tmp_path, "--tls-key", "=", "fil") == {"file.key"}
    assert bash(tmp_path, "--tls-key", "=") == {"file.key", "other file", "directory"}
    assert bash(tmp_path, "--cache", "dir") == {"directory"}
    assert bash(tmp_path, "--auth", "=", "s") == {"secret"}
    assert bash(tmp_path, "-p", "") == {""}
    assert bash(tmp_path, "--quiet", "oth") == {"other file"}


def test_fish_offers_options_commands_files_and_values(tmp_path: Path) -> None:
    assert {name.rstrip("=") for name in OPTIONS} <= {each.rstrip("=") for each in fish(tmp_path, "xget --")}
    assert {"status", "directory/"} <= fish(tmp_path, "xget ")
    assert fish(tmp_path, "xget --auth ") == {"secret", "munge"}
    assert "file.key" in fish(tmp_path, "xget --tls-key ")
    assert "root" in fish(tmp_path, "xget --user ")


def test_zsh_offers_options_commands_files_and_values(tmp_path: Path) -> None:
    assert {name.rstrip("=") for name in OPTIONS} <= {each.rstrip("=") for each in zsh(tmp_path, "xget --")}
    assert {"status", "file.key"} <= zsh(tmp_path, "xget ")
    assert {"secret", "munge"} <= zsh(tmp_path, "xget --auth ")
    assert "file.key" in zsh(tmp_path, "xget --tls-key ")


@pytest.mark.parametrize("make", [completions.bash, completions.zsh, completions.fish])
def test_every_option_is_in_every_completion(make: Callable[[str], str]) -> None:
    text = make(TEXT)
    assert [name for name in Usage(TEXT).options if name not in text] == []
