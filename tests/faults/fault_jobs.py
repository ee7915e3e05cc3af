"""Jobs that write files, to be killed at any moment, and how to tell that what they left is sound.

Run as a program, this file is the two jobs that no command of ours does without a GPU:

    python tests/faults/fault_jobs.py engine FOLDER     build with the stand-in TensorRT
    python tests/faults/fault_jobs.py cache FOLDER      store engines of 8 MB, one after another
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
CACHE_ENGINES = 12


@dataclass(frozen=True)
class Job:
    """A command and the check of its results.

    Attributes:
        name: of the job.
        command: its words; the folder of results is filled in for {folder}.
        check: raises where a file under its final name is not whole; tells whether it is there.
        before: done before each run.
    """

    name: str
    command: tuple[str, ...]
    check: Callable[[Path], bool]
    before: Callable[[Path], None] = lambda folder: None

    def words(self, folder: Path) -> list[str]:
        return [word.replace("{folder}", str(folder)) for word in self.command]


def environment(folder: Path) -> dict[str, str]:
    home = folder / "home"
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    one = {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    return {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), **one}


def check_artifact(folder: Path) -> bool:
    import numpy as np

    from litestereo import StereoEngine

    path = folder / "a.onnx"
    if not path.exists():
        return False
    picture = np.zeros((64, 96, 3), np.uint8)
    with StereoEngine.load(path, threads=1) as engine:
        engine(picture, picture)
    return True


def check_set(folder: Path) -> bool:
    from litestereo.calibration.store import load_set

    if not (folder / "set").exists():
        return False
    calibration = load_set(folder / "set")
    for pair in calibration.pairs:
        calibration.read(pair)
    return True


def forget_set(folder: Path) -> None:
    shutil.rmtree(folder / "set", ignore_errors=True)


def check_run(folder: Path) -> bool:
    import torch
    from safetensors.torch import load_file

    states = sorted(folder.glob("run/*.pt"))
    for state in states:
        torch.load(state, weights_only=True)
    for weights in folder.glob("run/*.safetensors"):
        assert load_file(weights)
    for log in folder.glob("run/*.jsonl"):
        for line in log.read_text().splitlines():
            json.loads(line)
    return bool(states)


def forget_state(folder: Path) -> None:
    """Let the run begin again; what it has written besides stays."""
    for state in folder.glob("run/*.pt"):
        state.unlink()


def check_engines(folder: Path) -> bool:
    """Every sidecar's plan is the one that it says, unless an older plan's was replaced."""
    from litestereo.runtime.tensorrt.cache import CacheKey, EngineCache

    def never() -> None:
        raise LookupError

    found = False
    for path in folder.glob("engines/*.json"):
        sidecar = json.loads(path.read_text())
        key = CacheKey(**sidecar["key"])
        name = path.stem.removesuffix(f"_{key.digest}")
        try:
            cached = EngineCache(path.parent, lambda _: None).engine(key, name=name, build=never)
        except LookupError:
            continue  # refused, so it would be built again
        assert hashlib.sha256(cached.plan).hexdigest() == sidecar["plan_sha256"]
        assert cached.plan.startswith((b"plan of", b"engine"))
        found = True
    return found


def forget_engines(folder: Path) -> None:
    """Let half of the engines be stored anew, over what is there."""
    for path in sorted(folder.glob("engines/*.json"))[::2]:
        path.unlink(missing_ok=True)


def store_engines(folder: Path) -> None:
    from litestereo.runtime.tensorrt.cache import CacheKey, EngineCache

    cache = EngineCache(folder / "engines", lambda _: None)
    for number in range(CACHE_ENGINES):
        gpu = ("Fake", "sm_87", "16", "64")
        key = CacheKey("a" * 64, f"64x{32 * number + 32}", "b" * 64, "10.3", *gpu, "{}", "v1")
        plan = b"engine" + bytes([number]) * 8_000_000
        assert cache.engine(key, name="las1", build=lambda plan=plan: (plan, {})).plan == plan


def build_engine(folder: Path) -> None:
    import numpy as np
    from fake_cuda import FakeDevice
    from fake_tensorrt import fake_tensorrt
    from stand_in import write_stand_in

    from litestereo.runtime.tensorrt.artifact import read_artifact
    from litestereo.runtime.tensorrt.backend import TensorRt
    from litestereo.runtime.tensorrt.options import GpuOptions

    artifact = folder / "stand_in.onnx"
    if not artifact.exists():
        write_stand_in(artifact)
    device = FakeDevice()
    options = GpuOptions(cache_dir=folder / "engines")
    trt = fake_tensorrt("10.3.0", device=device)
    backend = TensorRt(trt, read_artifact(artifact), device=device, options=options)
    for width in range(64, 64 + 32 * 6, 32):  # each size is an engine of its own
        picture = np.zeros((64, width, 3), np.uint8)
        backend.infer(picture, picture)
    backend.close()


def command_jobs(scenes: Path) -> dict[str, Job]:
    """Return all jobs by name; `scenes` are pairs to calibrate with."""
    export = ("--model", "las1", "--height", "64", "--width", "96", "--skip-gate")
    tiny = ("--batch", "1", "--height", "64", "--width", "64", "--max-disparity", "32")
    train = (f"{BIN}/stereo-train", *tiny, "--no-compile-renderer", "--steps", "2")
    own = (sys.executable, str(Path(__file__).resolve()))
    jobs = (
        Job("export", (f"{BIN}/stereo-export", *export, "-o", "{folder}/a.onnx"), check_artifact),
        Job(
            "calibration",
            (f"{BIN}/stereo-calibrate", str(scenes), "-o", "{folder}/set"),
            check_set,
            forget_set,
        ),
        Job("training checkpoint", (*train, "-o", "{folder}/run"), check_run, forget_state),
        Job("engine build", (*own, "engine", "{folder}"), check_engines, forget_engines),
        Job("cache write", (*own, "cache", "{folder}"), check_engines, forget_engines),
    )
    return {job.name: job for job in jobs}


if __name__ == "__main__":
    kind, folder = sys.argv[1], Path(sys.argv[2])
    {"engine": build_engine, "cache": store_engines}[kind](folder)
