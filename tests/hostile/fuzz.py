"""A coverage-guided campaign (atheris) over the readers of outside data.

    python tests/hostile/fuzz.py                          every reader, its share of 10^6 executions
    python tests/hostile/fuzz.py calibrations --runs 5000 one reader
    python tests/hostile/fuzz.py --record                 also write the record that is committed

A fault is what is not one of litestereo.errors: another exception, more than a second of the
process's time, or memory beyond the limit. Every reader has a process of its own; one at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "faults"), str(TESTS / "hostile")]

ATTACK = "coverage-guided fuzzing: "
RUNS = 1_000_000
MOST_SECONDS = 1.0
MOST_MEMORY_MIB = 1024


class _HangError(BaseException):
    """A reader took too long; no `except Exception` of the reader's may take it."""


def main() -> None:
    """Parse, run each reader in its own process, print and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("readers", nargs="*")
    parser.add_argument("--runs", type=int, default=RUNS, help="of all readers together")
    parser.add_argument("--seconds", type=float, default=600, help="the most for one reader")
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        attack(options.readers[0], options.runs, options.seconds, options.seed, options.child)
        return
    from readers import READERS

    chosen = options.readers or list(READERS)
    shares = sum(READERS[name].share for name in chosen)
    for name in chosen:
        runs = max(1, round(options.runs * READERS[name].share / shares))
        found = in_process(name, runs, options.seconds, options.seed)
        print(json.dumps({"reader": name, **found}), flush=True)
        if options.record:
            record(name, found)


def in_process(name: str, runs: int, seconds: float, seed: int) -> dict:
    """Return what an attack in a process of its own found."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        words = [name, "--child", str(answer)]
        options = {"--runs": runs, "--seconds": seconds, "--seed": seed}
        words += [f"{key}={value}" for key, value in options.items()]
        ran = subprocess.run(
            ["nice", "-n", "10", sys.executable, __file__, *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            errors="replace",
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"},
        )
        if not answer.is_file():
            tail = ran.stderr[-2000:]
            return {"runs": 0, "seconds": 0, "faults": {f"died with {ran.returncode}": tail}}
        found = json.loads(answer.read_text())
    covered = re.findall(r"cov: (\d+)", ran.stderr)
    return {**found, "coverage": [int(n) for n in (covered[:1] + covered[-1:])]}


def attack(name: str, runs: int, seconds: float, seed: int, answer: str) -> None:
    """Fuzz one reader in this process, write what was found to the file `answer`, and leave."""
    import atheris

    with atheris.instrument_imports(include=["litestereo"]):
        from mutate import mutated_json
        from readers import READERS

        from litestereo.errors import LiteStereoError

        reader = READERS[name]
        seeds = reader.seeds()
        for content in seeds:  # what is imported late is no part of a run's memory and time
            _fault(reader.read, content, LiteStereoError)
    before_mib = _peak_mib()
    _limit_memory()
    signal.signal(signal.SIGPROF, _hang)
    done, slowest, faults, began = 0, 0.0, {}, time.monotonic()

    def one(content: bytes) -> None:
        nonlocal done, slowest
        started = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        try:
            fault = _fault(reader.read, content, LiteStereoError)
        except _HangError:
            fault = "hang", f"over {MOST_SECONDS} s"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        if fault is not None:
            faults.setdefault(fault[0], f"{fault[1]} | {content[:300]!r}")
        slowest = max(slowest, time.process_time() - started)
        done += 1
        if done >= runs or time.monotonic() - began > seconds:
            grown = _peak_mib() - before_mib
            result = {"runs": done, "seconds": round(time.monotonic() - began, 1)}
            result |= {"slowest_s": round(slowest, 3), "memory_mib": round(grown)}
            Path(answer).write_text(json.dumps({**result, "faults": faults}))
            os._exit(0)

    def mutated(content: bytes, most: int, number: int) -> bytes:
        """Return another content: of JSON every second time another value in its tree."""
        other = mutated_json(content, number) if number % 2 else None
        return atheris.Mutate(content, most) if other is None or len(other) > most else other

    corpus = Path(tempfile.mkdtemp())
    for index, content in enumerate(seeds):
        (corpus / f"{index:03d}").write_bytes(content)
    flags = [f"-seed={seed}", "-rss_limit_mb=4096", "-timeout=60", "-max_len=8192", "-verbosity=1"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], one, custom_mutator=mutated)
    atheris.Fuzz()


def _fault(read, content: bytes, ours: type[Exception]) -> tuple[str, str] | None:
    try:
        read(content)
    except ours:
        return None
    except _HangError:
        raise
    except BaseException as error:
        frames = [
            f for f in traceback.extract_tb(error.__traceback__) if "litestereo" in f.filename
        ]
        place = frames[-1] if frames else None
        where = f"{Path(place.filename).name}:{place.lineno}" if place else "?"
        return f"{type(error).__name__} at {where}", str(error)[:200]
    return None


def _hang(*_: object) -> None:
    raise _HangError


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + MOST_MEMORY_MIB * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def record(name: str, found: dict) -> None:
    """Add a reader's result to the committed record: trials and faults of all its campaigns."""
    from records import RESULTS, Row, write_record

    path = RESULTS / "hostile-input.json"
    rows = json.loads(path.read_text())["rows"] if path.is_file() else []
    kept = {row["attack"]: Row(**row) for row in rows}
    attack = ATTACK + name
    before = kept.get(attack, Row(attack, 0, 0, 0, 0.0, ""))
    kept[attack] = Row(
        attack,
        trials=before.trials + found["runs"],
        failures_found=before.failures_found + len(found["faults"]),
        failures_left=len(found["faults"]),
        seconds=round(before.seconds + found["seconds"], 1),
        test="tests/hostile/test_hostile_readers.py, tests/hostile/fuzz.py",
        notes=_notes(found),
    )
    write_record(path, "hostile input", [*kept.values()])


def _notes(found: dict) -> str:
    first, last = [*found.get("coverage", []), 0, 0][:2]
    words = (
        f"last campaign: coverage {first} to {last}, slowest {found.get('slowest_s')} s, "
        f"memory {found.get('memory_mib')} MiB above the seeds'"
    )
    return f"{words}; left: {sorted(found['faults'])}" if found["faults"] else words


if __name__ == "__main__":
    main()
