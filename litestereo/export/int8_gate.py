"""The gate of INT8: a quantised graph is judged on real pairs that gave it no range.

Q/DQ is computed literally, with all fusion off: this is what the graph says, and what TensorRT
computes up to the order of sums. ONNX Runtime's own fused 8-bit kernels would judge themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from litestereo.calibration.frames import NetworkPair
from litestereo.errors import ExportError
from litestereo.export.disagreement import (
    GATE_LIMITS,
    Disagreement,
    disagreement,
    is_known,
    mean_disagreement,
)
from litestereo.export.half_run import half_outputs
from litestereo.export.held_out import HeldOut, Judges
from litestereo.export.options import ExportOptions
from litestereo.export.pairs import Pair
from litestereo.runtime.preprocess import disparity_from_padded

__all__ = [
    "GateReport",
    "judge",
    "judge_int8",
    "literal_session",
    "plain_session",
]

_Map = npt.NDArray[np.float32]
Run = Callable[[NetworkPair], _Map]


@dataclass(frozen=True, slots=True)
class GateReport:
    """How far a quantised graph is from FP32.

    Attributes:
        judge: what computed it.
        mean: over all pairs.
        pairs: name and figures of each pair.
        with_truth: how many of them have ground truth that says something.
        left_out: how many scenes were not asked, since they gave ranges.
    """

    judge: str
    mean: Disagreement
    pairs: tuple[tuple[str, Disagreement], ...]
    with_truth: int
    left_out: int = 0

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
        worst, figures = max(self.pairs, key=lambda pair: pair[1].mean_px)
        raise ExportError(
            f"the INT8 graph is too far from FP32 on {len(self.pairs)} held-out pairs, so no "
            f"artefact was written: {'; '.join(self.mean.exceeded())} ({self.mean}; worst: "
            f"{worst}, mean {figures.mean_px:.3f} px). Calibrate with more pairs like these, lower "
            "--budget, or stay with --fp16"
        )

    def __str__(self) -> str:
        """Say the figures in one line."""
        left_out = f", {self.left_out} left out that gave ranges" if self.left_out else ""
        return f"{len(self.pairs)} held-out pairs{left_out}: {self.mean} (judged by {self.judge})"

    def as_json(self) -> dict[str, object]:
        """Return the report as JSON-ready values."""
        return {
            "judge": self.judge,
            "limits": GATE_LIMITS,
            "mean": self.mean.to_json(),
            "pairs": [{"pair": name, **found.to_json()} for name, found in self.pairs],
            "with_truth": self.with_truth,
            "left_out": self.left_out,
            "passed": self.passed,
        }


def judge(pairs: Iterable[HeldOut], *, quantised: Run, reference: Run, words: str) -> GateReport:
    """Return how far `quantised` is from `reference` on pairs that gave no range.

    Args:
        pairs: those pairs.
        quantised: gives the padded disparity of the quantised graph.
        reference: the same of FP32.
        words: what computes the quantised graph.
    """
    found: list[tuple[str, Disagreement]] = []  # names may be alike
    with_truth = 0
    for held in pairs:
        maps = quantised(held.pair), reference(held.pair)
        truth = None
        if held.truth_px is not None and is_known(held.truth_px):
            with_truth += 1
            restored = [disparity_from_padded(one, held.pair.frame) for one in maps]
            truth = restored[0], restored[1], held.truth_px
        cropped = [held.pair.frame.cropped(one) for one in maps]
        found.append((held.pair.name, disagreement(cropped[0], cropped[1], truth=truth)))
    mean = mean_disagreement([figures for _, figures in found])
    return GateReport(words, mean, tuple(found), with_truth)


def judge_int8(
    model: ModelProto, master: ModelProto, *, judges: Judges, options: ExportOptions
) -> GateReport:
    """Return what all `judges` say of an INT8 graph of `options`, against its FP32 form.

    A typed half graph is computed by ONNX's reference evaluator, which takes its time: some 25 s
    of a core for a pair of 384x1248.

    Args:
        model: the INT8 graph.
        master: the simplified FP32 graph.
        judges: the held-out pairs.
        options: what was asked for.

    Raises:
        CalibrationError: a held-out picture is damaged.
        InputError: one of a scene cannot be read.
    """
    wanted = options.int8
    assert wanted is not None
    if wanted.half:
        words = "ONNX's reference evaluator in float16, sums in FP32"
        quantised = _half_session(model)
    else:
        words, quantised = "ONNX Runtime on the CPU, Q/DQ unfused", literal_session(model)
    pairs = judges.pairs(size=options.size)
    report = judge(pairs, quantised=quantised, reference=plain_session(master), words=words)
    assert len(report.pairs) == len(judges)
    return replace(report, left_out=judges.left_out)


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


def _half_session(model: ModelProto) -> Run:
    return lambda pair: half_outputs(model, Pair(pair.name, pair.left, pair.right))[0]


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
