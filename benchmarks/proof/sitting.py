"""Run a plan of commands unattended, for a GPU that is paid by the minute: sitting.py PLAN FOLDER.

PLAN is text, and `#` begins a comment. Each line is commands with ` & ` between them, which run
beside each other; lines run one after the other. `120s ` before a command is its limit (600 s).
`... & ` at the end of a line leaves its commands running beside the following ones.

FOLDER gets NN.log of each command, and sitting.json: after each end it is written anew, so that
whoever looks sees how far it is. What fails does not stop the rest.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Task", "read_plan", "run_plan"]

_LIMIT_S = 600.0
_POLL_S = 0.2


@dataclass(eq=False)
class Task:
    """One command.

    Attributes:
        command: for bash.
        limit_s: after which it is killed with all that it began.
        status: its exit status, negative for a signal; None while it waits or runs.
        begun_s: seconds after the sitting's start; None while it waits.
        took_s: seconds; None before its end.
        timed_out: whether the limit ended it.
    """

    command: str
    limit_s: float = _LIMIT_S
    status: int | None = None
    begun_s: float | None = None
    took_s: float | None = None
    timed_out: bool = False


def read_plan(text: str) -> list[tuple[list[Task], bool]]:
    """Return the lines of a plan: tasks that run beside each other, and whether to wait for them.

    Raises:
        ValueError: a line has no command.
    """
    lines = []
    for raw in text.splitlines():
        line = re.sub(r"(^|\s)#.*", "", raw).strip()
        if not line:
            continue
        waits = not line.endswith("&")
        parts = [part.strip() for part in re.split(r"\s&(?:\s|$)", line.removesuffix("&") + " ")]
        commands = [part for part in parts if part]
        if not commands:
            raise ValueError(f"the line {raw!r} has no command")
        lines.append(([_task(command) for command in commands], waits))
    return lines


def run_plan(lines: list[tuple[list[Task], bool]], folder: Path) -> int:
    """Run a plan's lines; return how many commands failed."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [task for group, _ in lines for task in group]
    running: dict[Task, tuple[subprocess.Popen[bytes], float]] = {}
    start_s = time.monotonic()

    def tell() -> None:
        temporary = folder / "sitting.json.part"
        temporary.write_text(json.dumps([asdict(task) for task in tasks], indent=1))
        temporary.replace(folder / "sitting.json")

    def look() -> bool:
        """Note which tasks have ended; say whether any runs."""
        for task, (process, begun_s) in list(running.items()):
            took_s = time.monotonic() - begun_s
            task.status = process.poll()
            if task.status is None and took_s > task.limit_s:
                os.killpg(process.pid, signal.SIGKILL)
                task.status, task.timed_out = process.wait(), True
            if task.status is not None:
                del running[task]
                task.took_s = round(took_s, 1)
                print(f"{task.took_s:7.1f} s  {task.status:4d}  {task.command}", flush=True)
                tell()
        return bool(running)

    def begin(task: Task) -> None:
        now_s = time.monotonic()
        task.begun_s = round(now_s - start_s, 1)
        log = folder / f"{tasks.index(task):02d}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", task.command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running[task] = process, now_s

    for group, waits in lines:
        for task in group:
            begin(task)
        tell()
        while look() and waits and any(task.status is None for task in group):
            time.sleep(_POLL_S)
    while look():
        time.sleep(_POLL_S)
    return sum(task.status != 0 for task in tasks)


def _task(text: str) -> Task:
    limit = re.match(r"(\d+)s\s+", text)
    if limit is None:
        return Task(text)
    return Task(text[limit.end() :], float(limit[1]))


if __name__ == "__main__":
    sys.exit(min(run_plan(read_plan(Path(sys.argv[1]).read_text()), Path(sys.argv[2])), 125))
