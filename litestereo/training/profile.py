"""Where the time of a training step goes: scenes, cameras, network; on the device that trains."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

from litestereo.errors import TrainingError
from litestereo.training.options import TrainOptions
from litestereo.training.scenes.stream import SceneStream
from litestereo.training.stages import make_run

__all__ = ["profile_training"]

_KERNELS_MOST = 40
_NAME_MOST = 120


def profile_training(options: TrainOptions, *, repeats: int = 10) -> dict[str, object]:
    """Time the parts of a step of `options`, each alone, after warming up.

    Args:
        options: of the run to look at; its output folder is neither read nor written.
        repeats: timed calls of each part; the median counts.

    Returns:
        Milliseconds of each part for one batch on one device (the optimisers', which are in the
        network's, alone, too), the pairs a second that the scenes reach, and the whole step would
        one after the other, the device's name and peak memory, and on a GPU the longest kernels of
        each part: name, milliseconds and launches of one batch.

    Raises:
        TrainingError: of another stage than the supervised one.
    """
    if options.stage != "supervised":
        raise TrainingError("the profile is of stage supervised; leave --stage out")
    with TemporaryDirectory() as empty:  # without a state to go on from
        options = replace(options, output=Path(empty))
        run = make_run(replace(options, minutes=None, fit_schedule=False, validate=()))
    stream = run.source
    assert isinstance(stream, SceneStream)
    batch = stream.next()
    scene = stream.sample()
    seen = stream.see(scene)
    parts: dict[str, Callable[[], object]] = {
        "layout_ms": stream.sample,
        "render_ms": lambda: stream.see(scene),
        "cameras_ms": lambda: stream.expose(seen),
        "scenes_ms": stream.next,
        "network_ms": lambda: run.advance(batch),
        "optimizers_ms": lambda: [optimizer.step() for optimizer in run.optimizers],
    }
    result: dict[str, object] = {
        name: round(_median_ms(part, repeats, run.group.device), 2) for name, part in parts.items()
    }
    scenes, network = float(str(result["scenes_ms"])), float(str(result["network_ms"]))
    result["scene_pairs_per_s"] = round(1000 * options.batch / scenes, 1)
    result["training_pairs_per_s"] = round(1000 * options.batch / (scenes + network), 1)
    if run.group.device.type == "cuda":
        result["device"] = torch.cuda.get_device_name(run.group.device)
        result["peak_gib"] = round(torch.cuda.max_memory_allocated(run.group.device) / 2**30, 2)
        result["kernels"] = {
            name.removesuffix("_ms"): _kernels(part)
            for name, part in parts.items()
            if name != "scenes_ms"
        }
    else:
        result["device"] = "cpu"
    return result


def _kernels(part: Callable[[], object]) -> list[tuple[str, float, int]]:
    """Return the longest kernels of one call, and last the sum of all."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        part()
        torch.cuda.synchronize()
    found = [  # memory that is copied or filled counts, too
        (event.key[:_NAME_MOST], round(event.self_device_time_total / 1000, 3), event.count)
        for event in profile.key_averages()
        if event.self_device_time_total > 0
    ]
    found.sort(key=lambda row: -row[1])
    total = ("all", round(sum(row[1] for row in found), 3), sum(row[2] for row in found))
    return [*found[:_KERNELS_MOST], total]


def _median_ms(part: Callable[[], object], repeats: int, device: torch.device) -> float:
    def once() -> float:
        begun = time.perf_counter()
        part()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return 1000 * (time.perf_counter() - begun)

    for _ in range(3):
        once()
    return median(once() for _ in range(repeats))
