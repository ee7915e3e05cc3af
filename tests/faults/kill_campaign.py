"""Kill jobs at random moments, and look whether what they left is sound.

    export PYTHONPATH=tests; cd REPOSITORY
    python tests/faults/kill_campaign.py --signal KILL -o benchmarks/results/hardening/kill.json
    python tests/faults/kill_campaign.py --signal INT -o benchmarks/results/hardening/interrupt.json

Nothing is cleaned between the trials of a job: each begins on what the killed ones left. Half of
the moments are uniform over the job's duration; the other half come just after a file begins to be
written, where a fault is likeliest. After the last one, the job must run to its end.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from calibration.pairs import write_folders
from fault_jobs import Job, command_jobs, environment
from records import Row, write_record

__all__ = ["attack"]

TEST = "tests/faults/test_faults_kill.py"
TRIALS = {
    "export": 30,
    "calibration": 50,
    "training checkpoint": 20,
    "engine build": 50,
    "cache write": 50,
}
# One target has one temporary name, which the next process takes up.
TEMPORARY = (".*tmp", "*.part")


def temporary_files(folder: Path) -> set[Path]:
    return {path for pattern in TEMPORARY for path in folder.rglob(pattern)}


def attack(
    job: Job, folder: Path, *, trials: int, number: signal.Signals, seed: int = 1
) -> list[str]:
    """Return what went wrong, in words; the first run and the last one are left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    moments, problems = random.Random(seed), []
    start_s = time.monotonic()
    problems += _finished(job, folder)
    duration_s = time.monotonic() - start_s
    for trial in range(trials):
        job.before(folder)
        delay_s = moments.uniform(0, duration_s) if trial % 2 == 0 else moments.uniform(0, 0.005)
        status, words = _killed(job, folder, number=number, delay_s=delay_s, at_write=trial % 2)
        problems += [f"trial {trial}: {problem}" for problem in _unsound(job, folder)]
        if number != signal.SIGKILL:
            problems += [f"trial {trial}: {p}" for p in _untidy(job, folder, status, words)]
    left = len(temporary_files(folder))
    if left > 8:
        problems.append(f"{left} temporary files are left: their number is not bounded")
    job.before(folder)
    problems += _finished(job, folder)
    if leftovers := temporary_files(folder):
        problems.append(f"left behind after a whole run: {sorted(map(str, leftovers))}")
    return problems


def _killed(
    job: Job, folder: Path, *, number: signal.Signals, delay_s: float, at_write: int
) -> tuple[int, str]:
    before = {path: path.stat().st_mtime_ns for path in temporary_files(folder)}
    process = subprocess.Popen(
        job.words(folder),
        env=environment(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while at_write and process.poll() is None:
        now = temporary_files(folder)
        if any(path not in before or _changed(path, before[path]) for path in now):
            break
        time.sleep(0.0005)
    time.sleep(delay_s)
    process.send_signal(number)
    _, words = process.communicate(timeout=120)
    return process.returncode, words


def _changed(path: Path, before_ns: int) -> bool:
    try:
        return path.stat().st_mtime_ns != before_ns
    except FileNotFoundError:
        return False


def _finished(job: Job, folder: Path) -> list[str]:
    ran = subprocess.run(
        job.words(folder), env=environment(folder), capture_output=True, text=True, timeout=300
    )
    if ran.returncode:
        return [f"the next run failed with {ran.returncode}: {ran.stderr.strip()[-300:]}"]
    return [] if job.check(folder) else ["the next run gave nothing"]


def _unsound(job: Job, folder: Path) -> list[str]:
    try:
        job.check(folder)
    except Exception as error:
        return [f"what is there is damaged: {error!r}"]
    return []


def _untidy(job: Job, folder: Path, status: int, words: str) -> list[str]:
    """Say what an interrupted command should not have left or said."""
    ours = job.command[0].rpartition("/")[2].startswith("stereo-")
    problems = []
    if leftovers := temporary_files(folder):
        problems.append(f"left behind: {sorted(map(str, leftovers))}")
    if status == 0 or not ours:
        return problems
    # Before its main function has begun, an interpreter can only end as interpreters do.
    if "stopped by" not in words and "_stoppable" not in words and _is_starting(words):
        return problems
    if status != 130:
        problems.append(f"status {status}: {words[-300:]}")
    if "Traceback" in words or "stopped by SIGINT" not in words:
        problems.append(f"not one line: {words[-400:]}")
    return problems


def _is_starting(words: str) -> bool:
    return "run_command" not in words


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--signal", choices=("KILL", "INT"), default="KILL")
    parser.add_argument("--part", type=float, default=1.0, help="of the 200 trials")
    parser.add_argument("--only", help="a job")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    number = signal.Signals[f"SIG{options.signal}"]
    rows, failed = [], 0
    with tempfile.TemporaryDirectory() as name:
        scenes = write_folders(Path(name) / "scenes", 16)
        for job in command_jobs(scenes).values():
            if options.only not in (None, job.name):
                continue
            start_s, trials = time.monotonic(), max(1, round(options.part * TRIALS[job.name]))
            folder = Path(name) / job.name.replace(" ", "_")
            problems = attack(job, folder, trials=trials, number=number)
            failed += len(problems)
            seconds = round(time.monotonic() - start_s, 1)
            what = f"SIG{options.signal} during {job.name}"
            rows.append(Row(what, trials, len(problems), len(problems), seconds, TEST))
            print(rows[-1], *problems, sep="\n  ", flush=True)
    if options.output:
        write_record(options.output, f"SIG{options.signal} at random moments", rows)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
