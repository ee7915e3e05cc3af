"""What the steps of the engine proof share: where things lie, how engines are built, how JSON goes.

The steps run in two interpreters, that of TensorRT and that of torch, which may be of different
versions of Python. They exchange pictures and disparities as NumPy files in a work folder.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from litestereo.assets import bundled_artifact, bundled_models
from litestereo.runtime.backends import BackendOptions
from litestereo.runtime.tensorrt.options import BuildOptions, GpuOptions

__all__ = [
    "SIZES",
    "artifact_of",
    "gpu_options",
    "options",
    "out",
    "percentiles",
    "save",
    "say",
    "size_of",
    "work",
]

SIZES = ("384x1248", "480x640")
# What needs no cuBLAS and no cuDNN: both are large, and TensorRT 8.6 is as fast without.
_TACTICS = ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")
_WITH_PLUGIN = ".plugin"
_start = time.monotonic()


def work() -> Path:
    """Return the folder in which the steps find each other's files."""
    return Path(os.environ.get("PROOF_WORK", "/tmp/proof"))


def out() -> Path:
    """Return the folder of findings: PROOF_OUT."""
    folder = Path(os.environ.get("PROOF_OUT", work() / "out"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def artifact_of(name: str) -> Path:
    """Return an artefact's file: a bundled model's by its name, else one of PROOF_ARTIFACTS.

    A name that ends in ".plugin" is the same artefact, built with the plugin PROOF_PLUGIN.
    """
    name = name.removesuffix(_WITH_PLUGIN)
    if name in bundled_models():
        return bundled_artifact(name)
    return Path(os.environ["PROOF_ARTIFACTS"]) / f"{name}.onnx"


def size_of(text: str) -> tuple[int, int]:
    """Return (height, width) of e.g. "384x1248"."""
    height, width = map(int, text.split("x"))
    return height, width


def gpu_options(name: str, size: str, **changes: Any) -> GpuOptions:
    """Return how an engine is built and run; each has a cache folder of its own, or PROOF_CACHE.

    Builds that run together in one folder lose each other's timings, not their engines.

    Args:
        name: of the artefact.
        size: e.g. "384x1248".
        changes: fields of `GpuOptions` and `BuildOptions` that differ from the proof's.
    """
    build = {
        key: changes.pop(key) for key in tuple(changes) if key in BuildOptions.__dataclass_fields__
    }
    level = int(os.environ.get("PROOF_LEVEL", "3"))
    asked = {
        "optimization_level": level,
        "tactic_sources": _TACTICS,
        "constraints": os.environ.get("PROOF_CONSTRAINTS", "obey"),
        "plugin": Path(os.environ["PROOF_PLUGIN"]) if name.endswith(_WITH_PLUGIN) else None,
    }
    built = BuildOptions(**{**asked, **build})
    own = work() / "engines" / f"{name}_{size}"
    folder = Path(os.environ.get("PROOF_CACHE", own))
    return GpuOptions(**{"cache_dir": folder, "build": built, "progress": say, **changes})


def options(name: str, size: str, **changes: Any) -> BackendOptions:
    """Return a backend's options around `gpu_options`."""
    return BackendOptions(gpu=gpu_options(name, size, **changes))


def say(line: str) -> None:
    """Print a line with the time since the start."""
    print(f"[{time.monotonic() - _start:6.1f} s] {line}", flush=True)


def save(step: str, content: dict[str, Any]) -> Path:
    """Write a step's findings, with what they ran on, and say them."""
    path = out() / f"{step}.json"
    about = {"schema": "litestereo.proof", "step": step, "ran_on": _ran_on()}
    path.write_text(json.dumps({**about, **content}, indent=1) + "\n")
    say(f"written: {path}")
    return path


def percentiles(samples_ms: list[float]) -> dict[str, float]:
    """Return p50, p90, p99 and the largest, each a sample: the smallest not exceeded by p %."""
    ordered = np.sort(np.asarray(samples_ms))
    rank = {p: max(int(np.ceil(len(ordered) * p / 100)) - 1, 0) for p in (50, 90, 99)}
    found = {f"p{p}_ms": round(float(ordered[index]), 4) for p, index in rank.items()}
    return {**found, "max_ms": round(float(ordered[-1]), 4), "samples": len(ordered)}


def _ran_on() -> dict[str, str]:
    """Return versions and GPU, of what is loaded in this process."""
    found = {"python": platform.python_version()}
    for module in ("tensorrt", "torch", "pycuda"):
        if module in sys.modules:
            version = getattr(sys.modules[module], "__version__", None)
            found[module] = str(version or getattr(sys.modules[module], "VERSION_TEXT", "?"))
    try:
        from litestereo.runtime.cuda.driver import Driver

        info = Driver.open().device_info(0)
        found["gpu"] = f"{info.name} {info.sm}"
        found["cuda_driver"] = ".".join(map(str, info.driver_version))
    except Exception as error:
        found["gpu"] = f"unknown: {error}"
    return found
