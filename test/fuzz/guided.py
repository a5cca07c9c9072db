"""The coverage-guided fuzzer: atheris chooses the bytes that decide (`choices.Drawn`), by which code they reach.

Its processes share a directory in which inputs are kept that reached something new, so that a later run begins where
this one ended. The first byte of an input chooses the target.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from contextlib import ExitStack
from pathlib import Path

from test.fuzz.choices import Drawn
from test.fuzz.crew import bound_memory
from test.fuzz.targets import LONGEST, Target, play, prepared

INPUT_LIMIT = 4096
"""Bytes of an input: some hundred messages."""
RUNS_SAID = "messages said: "


def explore(directory: Path, messages: int, processes: int, targets: list[str], seed: str | None) -> int:
    """Run atheris in so many processes until so many messages were said; the exit status."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "test.fuzz.guided", str(messages // processes), ",".join(targets)]
    flags = [str(directory), f"-max_len={INPUT_LIMIT}", "-len_control=10", f"-timeout={LONGEST}"]
    flags.append(f"-artifact_prefix={directory}/found-")
    running = [
        subprocess.Popen([*command, *flags, f"-seed={number + 1 if seed is None else int(seed) + number}"])
        for number in range(processes)
    ]
    return max([abs(process.wait()) for process in running])


def replay_file(path: Path, targets: list[str]) -> list[str]:
    """What is said in an input, and what it ends with."""
    log: list[str] = []
    with prepared(targets) as made:
        try:
            decide(path.read_bytes(), list(made.values()), log)
        except BaseException:
            log.append(traceback.format_exc())
    return log


def decide(data: bytes, targets: list[Target], log: list[str] | None = None) -> int:
    """The case that an input is; how many messages it had. Raises what is wrong."""
    return play(targets[data[0] % len(targets)] if data else targets[0], Drawn(data[1:]), log)


def main(messages: int, names: list[str], flags: list[str]) -> None:
    """A process of its own: never returns."""
    import atheris

    said = 0
    with ExitStack() as stack:
        with atheris.instrument_imports(include=["xget_lib"]):
            targets = list(stack.enter_context(prepared(names)).values())
        bound_memory()

        def test_one_input(data: bytes) -> None:
            nonlocal said
            said += decide(data, targets)
            if said >= messages:
                print(f"{RUNS_SAID}{said}", flush=True)
                os._exit(0)

        atheris.Setup([sys.argv[0], *flags], test_one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2].split(","), sys.argv[3:])
