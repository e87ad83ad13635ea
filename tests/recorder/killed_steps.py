"""A command killed at each durable step: `python -m tests.recorder.killed_steps FOLDER -- COMMAND`.

FOLDER has a data directory, `data`. For each number from 0 on a copy of FOLDER, beside it and named
by the number, is made; there the command is run, told the copy's `data`, by a process that kills
itself (SIGKILL) before so many syncs, renamings and removals were done; until it ends by itself.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server.cli import main
from server.recorder.keys.key_database import KeyDatabase

STEPS = ("fsync", "fdatasync", "replace", "rename", "unlink")


def killed_before(step: int, arguments: list[str]) -> bool:
    """Run the command in a process of its own; whether it was killed."""
    pid = os.fork()
    if pid == 0:
        _count(step)
        os._exit(main(arguments))
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit(f"step {step}: {arguments} ended with {os.WEXITSTATUS(status)}")
    return os.WIFSIGNALED(status)


def _count(left: int) -> None:
    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **more: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return call(*arguments, **more)

        return step

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    # SQLite syncs by itself.
    KeyDatabase.rewrap = counted(KeyDatabase.rewrap)  # type: ignore[method-assign]


def run(folder: Path, command: list[str]) -> int:
    """How often it was killed."""
    step = 0
    while True:
        copy = folder.with_name(str(step))
        shutil.copytree(folder, copy)
        arguments = [part.replace(str(folder), str(copy)) for part in command]
        if not killed_before(step, [*arguments, "--data-dir", str(copy / "data")]):
            return step
        step += 1


if __name__ == "__main__":
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a progress that is cut off
    print(run(Path(sys.argv[1]), sys.argv[3:]))
