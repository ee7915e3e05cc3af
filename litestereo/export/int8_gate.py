"""The gate of INT8: a quantised graph is judged on real pairs that gave it no range.

Q/DQ is computed literally, with all fusion off: this is what the graph says, and what TensorRT
computes up to the order of sums. ONNX Runtime's own fused 8-bit kernels would judge themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from litestereo.benchmarks.datasets import find_scenes
from litestereo.calibration.frames import NetworkPair, network_pair, network_pairs
from litestereo.calibration.store import CalibrationSet
from litestereo.errors import ExportError
from litestereo.export.disagreement import (
    GATE_LIMITS,
    Disagreement,
    disagreement,
    mean_disagreement,
)
from litestereo.export.half_run import half_outputs
from litestereo.export.options import ExportOptions
from litestereo.export.pairs import Pair
from litestereo.runtime.images import StereoPair
from litestereo.runtime.preprocess import disparity_from_padded

__all__ = [
    "GateReport",
    "HeldOut",
    "held_out_pairs",
    "judge",
    "judge_int8",
    "literal_session",
    "plain_session",
]

_HALF_PAIRS = 3
_Map = npt.NDArray[np.float32]
Run = Callable[[NetworkPair], _Map]


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """A pair that judges.

    Attributes:
        pair: as the network sees it.
        truth_px: (H, W) float32 ground truth in pixels of the picture; None if unknown.
    """

    pair: NetworkPair
    truth_px: _Map | None


@dataclass(frozen=True, slots=True)
class GateReport:
    """How far a quantised graph is from FP32.

    Attributes:
        judge: what computed it.
        mean: over all pairs.
        pairs: of each pair, by name.
        with_truth: how many of them have ground truth.
    """

    judge: str
    mean: Disagreement
    pairs: dict[str, Disagreement]
    with_truth: int

    @property
    def passed(self) -> bool:
        """Whether every limit is held; a figure that is no number is none."""
        return not self.mean.exceeded()

    def require(self) -> None:
        """Raise unless it passed.

        Raises:
            ExportError: with what is exceeded, the worst pair, and what to do.
        """
        if self.passed:
            return
        worst = max(self.pairs, key=lambda name: self.pairs[name].mean_px)
        raise ExportError(
            f"the INT8 graph is too far from FP32 on {len(self.pairs)} held-out pairs, so nothing "
            f"was written: {'; '.join(self.mean.exceeded())} ({self.mean}; worst: {worst}, mean "
            f"{self.pairs[worst].mean_px:.3f} px). Calibrate with more pairs like these, lower "
            "--budget, or stay with --fp16"
        )

    def __str__(self) -> str:
        """Say the figures in one line."""
        return f"{len(self.pairs)} held-out pairs: {self.mean} (judged by {self.judge})"

    def as_json(self) -> dict[str, object]:
        """Return the report as JSON-ready values."""
        return {
            "judge": self.judge,
            "limits": GATE_LIMITS,
            "mean": self.mean.to_json(),
            "pairs": {name: found.to_json() for name, found in self.pairs.items()},
            "with_truth": self.with_truth,
            "passed": self.passed,
        }


def held_out_pairs(
    calibration: CalibrationSet, folders: tuple[Path, ...], *, size: tuple[int, int] | None
) -> Iterator[HeldOut]:
    """Yield the pairs that judge: those of the folders, else those that the set holds out.

    Args:
        calibration: the set.
        folders: data sets as `stereo-eval` takes them; empty takes the set's own.
        size: (height, width) of a fixed-size graph; None takes each picture's own.

    Raises:
        ExportError: a folder has a scene that cannot be used, or none.
        InputError: a picture cannot be read.
    """
    if not folders:
        held_out = calibration.part(held_out=True)
        for pair in network_pairs(calibration, held_out, size=size):
            yield HeldOut(pair, None)
        return
    found = find_scenes(*folders)
    if found.broken or not found.scenes:
        problem = found.broken[0].problem if found.broken else "no scenes are there"
        raise ExportError(f"{folders[0]} cannot judge INT8: {problem}; see stereo-eval for layouts")
    for scene in found.scenes:
        left, right = scene.load_pair()
        truth = scene.load_truth()
        pair = network_pair(StereoPair(left, right), name=scene.key, size=size)
        yield HeldOut(pair, None if truth is None else truth.disparity_px)


def judge(pairs: Iterable[HeldOut], *, quantised: Run, reference: Run, words: str) -> GateReport:
    """Return how far `quantised` is from `reference` on pairs that gave no range.

    Args:
        pairs: those pairs.
        quantised: gives the padded disparity of the quantised graph.
        reference: the same of FP32.
        words: what computes the quantised graph.
    """
    found: dict[str, Disagreement] = {}
    with_truth = 0
    for held in pairs:
        maps = quantised(held.pair), reference(held.pair)
        truth = None
        if held.truth_px is not None:
            with_truth += 1
            restored = [disparity_from_padded(one, held.pair.frame) for one in maps]
            truth = restored[0], restored[1], held.truth_px
        cropped = [held.pair.cropped(one) for one in maps]
        found[held.pair.name] = disagreement(cropped[0], cropped[1], truth=truth)
    return GateReport(words, mean_disagreement(list(found.values())), found, with_truth)


def judge_int8(
    model: ModelProto, master: ModelProto, *, calibration: CalibrationSet, options: ExportOptions
) -> GateReport:
    """Return what the held-out pairs say of an INT8 graph of `options`, against its FP32 form.

    A typed half graph is computed by ONNX's reference evaluator, which takes its time, on the
    first few pairs.

    Args:
        model: the INT8 graph.
        master: the simplified FP32 graph.
        calibration: whose held-out pairs judge.
        options: what was asked for.

    Raises:
        ExportError: the held-out scenes cannot be used.
        CalibrationError: a held-out picture is damaged.
    """
    wanted = options.int8
    assert wanted is not None
    pairs = held_out_pairs(calibration, wanted.held_out, size=options.size)
    reference = plain_session(master)
    if not wanted.half:
        words = "ONNX Runtime on the CPU, Q/DQ unfused"
        return judge(pairs, quantised=literal_session(model), reference=reference, words=words)
    return judge(
        islice(pairs, _HALF_PAIRS),
        quantised=lambda pair: half_outputs(model, Pair(pair.name, pair.left, pair.right))[0],
        reference=reference,
        words="ONNX's reference evaluator in float16, sums in FP32",
    )


def literal_session(model: ModelProto) -> Run:
    """Return a function that computes a graph's disparity node by node as it is written.

    Args:
        model: the graph, which stays as it is.
    """
    return _session(model, literal=True)


def plain_session(model: ModelProto) -> Run:
    """Return a function that computes a graph's disparity as ONNX Runtime likes.

    Args:
        model: the graph, which stays as it is.
    """
    return _session(model, literal=False)


def _session(model: ModelProto, *, literal: bool) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if literal:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session: Any = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def run(pair: NetworkPair) -> _Map:
        disparity: _Map = session.run(["disparity"], pair.feed)[0]
        return disparity

    return run
