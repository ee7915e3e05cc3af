"""How fast engines are, beside each other: speed.py STEP ... (TensorRT's interpreter).

    compare NAME@SIZE...            in turns: GPU time, end to end, ratios to the first
    layers NAME@SIZE [ROOFLINE]     time per layer and per part of the network, beside the floors
    sweep NAME@SIZE FIELD=VALUE...  builds with one build option changed at a time, then compares
    engines NAME@SIZE [COUNT]       one to COUNT engines at once, each on a thread of its own

Engines are found in the cache, or built; `proof.sh build` builds several at once beforehand. A time
is of the GPU's own clock around the network, replayed as a CUDA graph, unless it says end to end.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from common import artifact_of, options, percentiles, save, say, size_of
from running import opened, pairs_of

from litestereo.runtime.backends import open_backend

ROUNDS = int(os.environ.get("PROOF_ROUNDS", "60"))
SECONDS = 3.0  # for which several engines run at once
_TURN = 20  # pairs in a row; the first few are not counted
_SETTLE = 4
_MODULE = re.compile(r"/model/(?P<first>[^/\s+]+)(?:/(?P<second>[^/\s+]+))?/")


def compare(*engines: str) -> dict[str, Any]:
    """Time engines in turns, in an order shuffled each round."""
    return timed_in_turns({engine: opened(engine) for engine in engines})


def timed_in_turns(backends: dict[str, Any]) -> dict[str, Any]:
    """Return percentiles of each backend, whose keys end in its @SIZE, and ratios to the first."""
    pairs = {name: pairs_of(_engine_of(name), 8) for name in backends}
    gpu_ms: dict[str, list[float]] = defaultdict(list)
    whole_ms: dict[str, list[float]] = defaultdict(list)
    order = list(backends)
    shuffle = random.Random(0).shuffle
    for _ in range(ROUNDS):
        shuffle(order)
        for name in order:
            for index in range(_TURN):
                begin = time.perf_counter()
                backends[name].infer(*pairs[name][index % 8])
                took_ms = 1e3 * (time.perf_counter() - begin)
                times = backends[name].device_times()
                if index >= _SETTLE:
                    gpu_ms[name].append(times.compute_ms)
                    whole_ms[name].append(took_ms)
    found = {
        name: {
            "device": backends[name].device,
            "gpu": percentiles(gpu_ms[name]),
            "end_to_end": percentiles(whole_ms[name]),
        }
        for name in backends
    }
    first = next(iter(found.values()))["gpu"]["p50_ms"]
    for name, one in found.items():
        one["of_first"] = round(one["gpu"]["p50_ms"] / first, 4)
        one["over_gpu_ms"] = round(one["end_to_end"]["p50_ms"] - one["gpu"]["p50_ms"], 4)
        backends[name].close()
    return found


def _engine_of(name: str) -> str:
    """Return NAME@SIZE of a key that may carry more in front."""
    return name.split(" ")[-1]


def layers(engine: str, roofline: str = "") -> dict[str, Any]:
    """Profile an engine layer by layer; each is timed alone, so their sum is more than a replay."""
    import tensorrt

    class Profiler(tensorrt.IProfiler):
        def __init__(self) -> None:
            super().__init__()
            self.times_ms: dict[str, list[float]] = defaultdict(list)

        def report_layer_time(self, layer: str, time_ms: float) -> None:
            self.times_ms[layer].append(time_ms)

    backend = opened(engine, cuda_graph=False)
    pair = pairs_of(engine, 1)[0]
    for _ in range(50):
        backend.infer(*pair)
    profiler = Profiler()
    backend.profile(profiler)
    for _ in range(100):
        backend.infer(*pair)
    backend.close()
    mean_ms = {name: sum(all_ms) / len(all_ms) for name, all_ms in profiler.times_ms.items()}
    parts_ms: dict[str, float] = defaultdict(float)
    for name, one_ms in mean_ms.items():
        parts_ms[part_of(name)] += one_ms
    floors_ms = _floors_ms(Path(roofline), size_of(engine.split("@")[1])) if roofline else {}
    return {
        "sum_ms": round(sum(mean_ms.values()), 4),
        "layers": len(mean_ms),
        "parts": {
            part: {"ms": round(one_ms, 4), "floor_ms": round(floors_ms.get(part, 0.0), 4)}
            for part, one_ms in sorted(parts_ms.items(), key=lambda item: -item[1])
        },
        # As trtexec --exportProfile writes it: `stereo-bench report --profile` reads it.
        "profile": [
            {"count": 100},
            *(
                {"name": name, "averageMs": round(one_ms, 5)}
                for name, one_ms in sorted(mean_ms.items(), key=lambda item: -item[1])
            ),
        ],
    }


def part_of(layer: str) -> str:
    """Return the part of the network that a layer of an engine belongs to, by its first module."""
    found = _MODULE.search(layer)
    if found is None:
        return "between the parts"
    if found["first"].startswith("cost_agg") and found["second"]:
        return f"{found['first']}/{found['second']}"
    return found["first"]


def _floors_ms(path: Path, size: tuple[int, int]) -> dict[str, float]:
    """Return the floor of each part on an H200."""
    for sized in json.loads(path.read_text())["sizes"]:
        if tuple(sized["size"]) == size:
            floors = {one["device"]: one["blocks_ms"] for one in sized["floors"]}["h200"]
            between = sum(floors.pop(part, 0.0) for part in ("pictures", "volume", "disparity"))
            return {**floors, "between the parts": between}
    return {}


def sweep(engine: str, *changes: str) -> dict[str, Any]:
    """Build with each change alone, such as max_aux_streams=2, and time all beside the default."""
    name, size = engine.split("@")
    backends, seconds = {}, {}
    for change in ("", *changes):
        field, _, value = change.partition("=")
        changed: dict[str, Any] = {field: _value(value)} if change else {}
        begin = time.monotonic()
        made = options(name, size, **changed)
        label = f"{change} {engine}" if change else engine
        backends[label] = open_backend("tensorrt", artifact_of(name), options=made)
        backends[label].infer(*pairs_of(engine, 1)[0])
        seconds[label] = round(time.monotonic() - begin, 1)
        say(f"{label}: ready after {seconds[label]} s")
    found = timed_in_turns(backends)
    for label, took_s in seconds.items():
        found[label]["ready_after_s"] = took_s
    return found


def _value(text: str) -> Any:
    """Return a build option's value: a whole number, a truth, or names with commas."""
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.lstrip("-").isdigit() else tuple(text.split(","))


def engines(engine: str, most: str = "4") -> dict[str, Any]:
    """Run one to `most` engines at once."""
    found = {}
    for count in range(1, int(most) + 1):
        backends = [opened(engine) for _ in range(count)]
        pair = pairs_of(engine, 1)[0]
        for backend in backends:
            backend.infer(*pair)
        times_ms: list[list[float]] = [[] for _ in backends]
        until = time.monotonic() + SECONDS

        def work(index: int, backends=backends, times_ms=times_ms, until=until) -> None:
            while time.monotonic() < until:
                begin = time.perf_counter()
                backends[index].infer(*pair)  # noqa: B023 - the pair is the same in every round
                times_ms[index].append(1e3 * (time.perf_counter() - begin))

        started = [threading.Thread(target=work, args=(index,)) for index in range(count)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()
        for backend in backends:
            backend.close()
        every_ms = [one_ms for own in times_ms for one_ms in own]
        found[str(count)] = {
            "pairs_per_s": round(len(every_ms) / SECONDS, 1),
            "end_to_end": percentiles(every_ms),
        }
    return found


def main(step: str, *arguments: str) -> int:
    """Run one step and write what was found."""
    steps = {"compare": compare, "layers": layers, "sweep": sweep, "engines": engines}
    found = steps[step](*arguments)
    for name, one in found.items():
        if name != "profile":
            say(f"{name}: {json.dumps(one)[:400]}")
    label = re.sub(r"[^\w@.-]+", "_", "_".join(arguments[:1]))
    save(f"speed_{step}_{label}_{len(arguments)}", {"arguments": arguments, step: found})
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
