"""Stream the bundled pair for long, and write down whether anything grows, drifts or changes.

    python benchmarks/soak.py --minutes 60 --rate 10 --threads 1 -o soak.json
    python benchmarks/soak.py --frames 100000 --backend tensorrt --size 480x640 -o soak.json

Without --rate it goes as fast as it can. The first tenth of the time counts as warming up. After
it, memory and inference time get a slope over time, with the 95 % interval of 2000 resamplings of
whole stretches (a twentieth of the run each), because neighbouring samples are not independent. A
slope cannot tell a step from a growth: what was seen of memory is kept where it changed.
Python's garbage collector only runs when it is told to, once in a hundred results; it may find
nothing, because the stream makes no reference cycles. Every answer is compared with the first one.

Status 1 if an answer differs, handles or threads grow, a pause of the collector is above 5 ms, or
memory surely grows: by more than 1 MiB an hour at the lower end of the interval, in the later half
of the run, too: when more results than ever are alive at once, the heap grows by their maps, once.
A slope needs 150 s, so that runs of under five minutes never say so.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from litestereo import StereoEngine
from litestereo.benchmarks.latency.environment import read_environment
from litestereo.benchmarks.latency.pictures import PICTURE, bench_pair
from litestereo.benchmarks.latency.sensors import open_nvml
from litestereo.runtime.files import write_atomic
from litestereo.runtime.stream import PauseMeter, RepeatedPair, steady_heap
from litestereo.runtime.tensorrt.options import BuildOptions, GpuOptions

STRETCHES, RESAMPLES = 20, 2000
MOST_PAUSE_MS, MOST_GROWTH_MIB_PER_HOUR = 5.0, 1.0
WARM_UP = 0.1  # of the run
SHORTEST_S = 150.0  # what caches take in the first minutes says nothing about hours
MOST_FRAMES = 2_000_000
MOST_CHANGES = 1000


class Samples:
    """Rows of numbers in memory that is taken before the run, so that keeping them grows nothing.

    Attributes:
        columns: what the numbers of a row are, after the time.
    """

    def __init__(self, columns: tuple[str, ...], *, most: int) -> None:
        """Take the memory of `most` rows."""
        self.columns = columns
        self._rows = np.full((most, len(columns) + 1), -1.0)
        self._count = 0

    def add(self, time_s: float, *values: float) -> None:
        """Keep a row; rows beyond the most are left out."""
        if self._count < len(self._rows):
            self._rows[self._count] = time_s, *values
            self._count += 1

    def column(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return times in seconds and values, after the warm-up."""
        rows = self._rows[: self._count]
        rows = rows[rows[:, 0] >= WARM_UP * rows[-1, 0]]
        return rows[:, 0], rows[:, 1 + self.columns.index(name)]


def slope_per_hour(times_s: np.ndarray, values: np.ndarray) -> dict[str, float] | None:
    """Return a straight line's slope and its 95 % interval; None for a run of minutes."""
    length = len(times_s) // STRETCHES
    if length < 2 or times_s[-1] - times_s[0] < SHORTEST_S:
        return None
    stretches = np.arange(length * STRETCHES).reshape(STRETCHES, length)
    draws = np.random.default_rng(1).integers(0, STRETCHES, (RESAMPLES, STRETCHES))
    hours = times_s / 3600
    slopes = [_slope(hours[rows], values[rows]) for rows in (stretches[d].ravel() for d in draws)]
    low, high = np.percentile(slopes, [2.5, 97.5])
    return {name: round(float(value), 4) for name, value in
            (("slope", _slope(hours, values)), ("low", low), ("high", high))}  # fmt: skip


def changes(times_s: np.ndarray, values: np.ndarray) -> list[list[float]]:
    """Return time and value of the first sample and of each that differs from the one before."""
    kept = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)[:MOST_CHANGES]
    return [[round(float(times_s[i]), 1), _rounded(values[i])] for i in kept]


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    centred = x - x.mean()
    return float(centred @ y / (centred @ centred))


def process_state() -> tuple[float, int, int]:
    """Return resident memory in MiB, open handles, and threads of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    handles, threads = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, handles - 1, threads  # one lists the folder


class Watch(threading.Thread):
    """Looks at the process a few times a minute."""

    def __init__(self, *, every_s: float, gpu: int | None) -> None:
        """Make a watch that has not begun, of a GPU's memory, too, where one is named."""
        super().__init__(daemon=True)
        self._nvml = None if gpu is None else open_nvml(gpu=gpu)
        self._every_s, self._stopped = every_s, threading.Event()
        self.samples = Samples(("rss_mib", "handles", "threads", "device_mib"), most=100_000)

    def run(self) -> None:
        """Look, until stopped, and once more."""
        start_s = time.monotonic()
        goes_on = True
        while goes_on:
            goes_on = not self._stopped.wait(self._every_s)
            device = self._nvml.used_mib() if self._nvml else math.nan
            self.samples.add(time.monotonic() - start_s, *process_state(), device)

    def stop(self) -> None:
        """Stop looking."""
        self._stopped.set()
        self.join()


def soak(engine: StereoEngine, options: argparse.Namespace, watch: Watch) -> dict[str, Any]:
    """Run the stream; return what came."""
    left, right = np.load(options.pair) if options.pair else bench_pair(options.size)
    source: RepeatedPair | Iterable[Any] = itertools.repeat((left, right), options.frames)
    if options.rate is not None:
        source = RepeatedPair(left, right, rate_hz=options.rate, frames=options.frames)
    latency = Samples(("inference_ms",), most=options.frames)
    first, differing, garbage, results = None, 0, 0, 0
    with steady_heap() as collect, PauseMeter() as meter, engine.stream(source) as stream:
        watch.start()
        start_s = time.monotonic()
        for result in stream:
            stereo, now_s = result.stereo, time.monotonic() - start_s
            answer = stereo.disparity_px.tobytes(), stereo.confidence.tobytes()
            first = first or answer
            differing += answer != first
            latency.add(now_s, stereo.timings.inference_ms)
            results += 1
            if results % 100 == 0:
                freed = collect()
                garbage += freed if results > 100 else 0  # opening leaves some
            if now_s > 60 * options.minutes:
                break
        watch.stop()
        health = stream.health
    times_s, inference_ms = latency.column("inference_ms")
    return {
        "frames": results,
        "seconds": round(now_s, 1),
        "answers_unlike_the_first": differing,
        "garbage_objects": garbage,
        "longest_gc_pause_ms": round(meter.longest_ms, 3),
        "dropped": health["dropped"],
        "inference_ms": {f"p{p}": _rounded(np.percentile(inference_ms, p)) for p in (50, 90, 99)},
        "inference_ms_per_hour": slope_per_hour(times_s, inference_ms),
    }


def state_summary(samples: Samples) -> dict[str, Any]:
    """Return what happened to memory, handles and threads."""
    found: dict[str, Any] = {}
    for name in samples.columns:
        times_s, values = samples.column(name)
        if np.isnan(values).all():
            found[name] = None
            continue
        found[name] = {"first": _rounded(values[0]), "last": _rounded(values[-1]),
                       "most": _rounded(values.max())}  # fmt: skip
        if name.endswith("_mib"):
            later = times_s >= times_s[-1] / 2
            found[name]["per_hour"] = slope_per_hour(times_s, values)
            found[name]["later_half_per_hour"] = slope_per_hour(times_s[later], values[later])
            found[name]["changes_s_mib"] = changes(times_s, values)
    return found


def faults_of(came: dict[str, Any], state: dict[str, Any]) -> list[str]:
    """Return in words what should not be."""
    found = []
    if came["answers_unlike_the_first"]:
        found.append(f"{came['answers_unlike_the_first']} answers differ from the first")
    if came["garbage_objects"]:
        found.append(f"{came['garbage_objects']} objects were garbage")
    if came["longest_gc_pause_ms"] >= MOST_PAUSE_MS:
        found.append(f"the collector paused for {came['longest_gc_pause_ms']} ms")
    for name in ("handles", "threads"):
        if state[name]["last"] > state[name]["first"]:
            found.append(f"{name} grew from {state[name]['first']} to {state[name]['last']}")
    for name in ("rss_mib", "device_mib"):
        slopes = [(state[name] or {}).get(part) for part in ("per_hour", "later_half_per_hour")]
        least = min(slope["low"] if slope else -math.inf for slope in slopes)
        if least > MOST_GROWTH_MIB_PER_HOUR:
            found.append(f"{name} grows by at least {least} MiB an hour")
    return found


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--frames", type=int, default=MOST_FRAMES)
    parser.add_argument("--rate", type=float, help="pairs a second; default: as fast as it goes")
    parser.add_argument("--size", type=_size, default=(96, 128), help="HEIGHTxWIDTH")
    parser.add_argument("--pair", type=Path, help="NumPy file (2, H, W, 3) uint8, without OpenCV")
    parser.add_argument("--model", default="las1", help="bundled, or an artefact's file")
    parser.add_argument("--backend", default="onnxruntime-cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gpu", type=int, default=0, help="index of the GPU")
    parser.add_argument("--engine-cache", type=Path)
    parser.add_argument("--tactic-sources", help="TensorRT's sources of kernels, with commas")
    parser.add_argument("--optimization-level", type=int, default=3, help="of TensorRT's builds")
    parser.add_argument("--plugin", type=Path, help="compiled plugin of the engine")
    parser.add_argument("-o", "--output", type=Path, help="where to write the JSON")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Soak; print what came as JSON."""
    options = parse(arguments)
    environment = read_environment()
    gpu = None if options.backend == "onnxruntime-cpu" else options.gpu
    seconds = min(60 * options.minutes, options.frames / (options.rate or 1000))
    sources = tuple(options.tactic_sources.split(",")) if options.tactic_sources else None
    build = BuildOptions(
        tactic_sources=sources,
        optimization_level=options.optimization_level,
        plugin=options.plugin,
    )
    watch = Watch(every_s=min(5.0, max(0.05, seconds / 200)), gpu=gpu)
    with StereoEngine.load(
        options.model,
        backend=options.backend,
        threads=options.threads,
        gpu=GpuOptions(device_index=options.gpu, cache_dir=options.engine_cache, build=build),
    ) as engine:
        came = soak(engine, options, watch)
        model = engine.manifest.model
    state = state_summary(watch.samples)
    faults = faults_of(came, state)
    report = {
        "campaign": "soak",
        "date": datetime.now(timezone.utc).date().isoformat(),
        "commit": environment.commit,
        "versions": {"python": environment.python, **environment.packages},
        "rows": [
            {
                "attack": f"soak of {model} on {options.backend}",
                "trials": came["frames"],
                "failures_found": len(faults),
                "failures_left": len(faults),
                "seconds": came["seconds"],
                "test": "tests/benchmarks/test_soak.py",
                "notes": "; ".join(faults),
            }
        ],
        "options": {
            "model": model,
            "backend": options.backend,
            "size": list(options.size),
            "rate_hz": options.rate,
            "threads": options.threads,
            "pictures": options.pair.name if options.pair else PICTURE,
            "nice": os.nice(0),
        },
        "cpu": asdict(environment.cpu),
        "gpu": asdict(environment.gpu) if environment.gpu else None,
        "came": came,
        "state": state,
    }
    text = json.dumps(report, indent=1) + "\n"
    if options.output:
        write_atomic(options.output, text.encode())
    print(text, end="")
    return int(bool(faults))


def _rounded(value: float) -> float:
    return round(float(value), 3)


def _size(text: str) -> tuple[int, int]:
    height, width = map(int, text.split("x"))
    return height, width


if __name__ == "__main__":
    sys.exit(main())
