"""Try a version-compatible plan: plans.py build NAME@SIZE, then plans.py load NAME@SIZE [MODULE].

`build` runs with TensorRT 8.6 and leaves the lean runtime out of the plan, because its wheel has
none. `load` runs with any runtime: MODULE is tensorrt_lean_bindings or tensorrt. A newer major
version should take the plan; the one after that should refuse it, in our words.
"""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module

import numpy as np
from common import artifact_of, gpu_options, percentiles, save, say, size_of, work

from litestereo.errors import EngineError
from litestereo.runtime.cuda import open_device
from litestereo.runtime.tensorrt.artifact import read_artifact
from litestereo.runtime.tensorrt.builder import BuildRequest, build_plan
from litestereo.runtime.tensorrt.engines import load_plan, pinned_nodes
from litestereo.runtime.tensorrt.library import import_tensorrt, own_words
from litestereo.runtime.tensorrt.options import SizeRange
from litestereo.runtime.tensorrt.progress import Heartbeat
from litestereo.runtime.tensorrt.session import Session, SessionOptions


def build(engine: str) -> dict[str, object]:
    """Build the plan into the work folder."""
    name, size = engine.split("@")
    trt, artifact = import_tensorrt(), read_artifact(artifact_of(name))
    options = gpu_options(name, size, version_compatible=True, exclude_lean_runtime=True)
    timings = next(options.cache_dir.glob("timing_*.cache"), None) if options.cache_dir else None
    request = BuildRequest(
        name,
        artifact.content,
        artifact.manifest.precision,
        SizeRange.fixed(size_of(size)),
        options.build,
        pinned_nodes(artifact),
        timings.read_bytes() if timings else b"",
    )
    device = open_device(0)
    with device.active(), Heartbeat(say, f"building {engine}") as heartbeat:
        built = build_plan(trt, request, heartbeat=heartbeat)
    device.close()
    _plan_file(engine).write_bytes(built.plan)
    return {"build_s": round(built.seconds, 1), "plan_mb": round(len(built.plan) / 1e6, 2)}


def load(engine: str, module: str = "tensorrt_lean_bindings") -> dict[str, object]:
    """Load the plan with another runtime; run it where it loads."""
    size = engine.split("@")[1]
    device = open_device(0, binding="cuda-bindings")
    trt = import_module(module)
    found: dict[str, object] = {"runtime": f"{module} {trt.__version__}"}
    with device.active():
        try:
            plan = _plan_file(engine).read_bytes()
            runtime, loaded = load_plan(trt, plan, name=engine, foreign=True)
        except EngineError as error:
            return {**found, "loads": False, "words": str(error)}
        session = Session(
            trt,
            loaded,
            device=device,
            words=own_words(trt)[1],
            options=SessionOptions(size_of(size), cuda_graph=True, zero_copy=False),
        )
        with np.load(work() / f"smoke_{size}.npz") as file:
            left, right, expected = file["left"], file["right"], file["disparity"]
        disparity, _ = session.infer(left, right)
        difference = float(np.abs(disparity - expected).mean())
        times_ms = []
        for _ in range(200):
            begin = time.perf_counter()
            session.infer(left, right)
            times_ms.append(1e3 * (time.perf_counter() - begin))
        session.close()
        del loaded, runtime
        session.free()
    return {
        **found,
        "loads": True,
        "mean_difference_px": round(difference, 5),
        "end_to_end": percentiles(times_ms),
    }


def _plan_file(engine: str):
    return work() / f"version_compatible_{engine}.plan"


def main(step: str, *arguments: str) -> None:
    """Run one step."""
    found = {"build": build, "load": load}[step](*arguments)
    label = str(found.get("runtime", "8.6")).replace(" ", "_")
    say(str(found))
    save(f"plans_{step}_{label}", {step: found})
    sys.stdout.flush()
    os._exit(0)  # some runtimes crash while the interpreter ends


if __name__ == "__main__":
    main(*sys.argv[1:])
