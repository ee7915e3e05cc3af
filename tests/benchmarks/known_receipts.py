"""Receipts made of known samples, without timing anything."""

from __future__ import annotations

import dataclasses

import numpy as np

from litestereo.benchmarks.latency.environment import Cpu, Environment
from litestereo.benchmarks.latency.receipt import (
    Receipt,
    Settings,
    SubjectResult,
    loop_from_samples,
)
from litestereo.benchmarks.latency.sensors import Reading
from litestereo.benchmarks.latency.warmup import Warmup

BLOCK = 10


def samples(median_ms, *, count=600, spread=0.02, seed=0):
    """Return latencies around a median, as a quiet machine gives them."""
    noise = np.random.default_rng(seed).normal(0, spread, count)
    return tuple(float(value) for value in median_ms * np.exp(noise))


def subject(label="las1@torch", median_ms=20.0, *, opened=False, **changes):
    total = changes.pop("samples_ms", None) or samples(median_ms)
    stages = {
        "preprocess": tuple(0.05 * value for value in total),
        "inference": tuple(0.9 * value for value in total),
        "total": total,
    }
    whole, rest = divmod(len(total), BLOCK)
    turns = (BLOCK,) * whole + (rest,) * bool(rest)
    reading = Reading(power_w=30.0, gpu_c=50.0, gpu_clock_mhz=1500.0)
    result = SubjectResult(
        label=label,
        size=(480, 640),
        inference_size=(480, 640),
        model=label.split("@")[0],
        backend=label.partition("@")[2].partition(":")[0] or "opencv",
        device="cpu",
        precision="fp32",
        artifact_sha256="ab" * 32,
        details={},
        answer_px=12.5,
        warmup=Warmup(30, 1.0, 40.0, True, 0.01, 0.05),
        closed=loop_from_samples("closed", stages, turns=turns, readings=(reading,)),
        open=loop_from_samples("open", {**stages, "response": total}, turns=turns, dropped=3)
        if opened
        else None,
        memory=None,
    )
    return dataclasses.replace(result, **changes)


def receipt(*subjects, **changes):
    made = Receipt(
        date="2026-11-23T08:00:00+00:00",
        command="stereo-bench las1@torch",
        settings=Settings(600, BLOCK, 2, 30.0, 600, None, 1, "known samples"),
        environment=Environment(
            "Linux", "3.11.0", {"numpy": "2.0.0"}, None, Cpu("a CPU", 2, None, 0.1), None, None
        ),
        subjects=subjects,
    )
    return dataclasses.replace(made, **changes)
