"""The gate: an artefact must say what the torch network says, or it is not written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch
from onnx import ModelProto

from litestereo.errors import ExportError
from litestereo.export.onnx_from_torch import CameraModel
from litestereo.export.pairs import Pair

__all__ = [
    "FP16_LIMIT_MEAN_PX",
    "FP32_LIMIT_MAX_PX",
    "HALF_WEIGHTS_LIMIT_MEAN_PX",
    "LIMIT_MEAN_CONFIDENCE",
    "REFINED_LIMIT_P995_PX",
    "ParityCase",
    "ParityReport",
    "compare",
    "onnxruntime_outputs",
]

FP32_LIMIT_MAX_PX = 1e-3
"""An FP32 graph may differ from torch by this much at its worst pixel: rounding order only."""

REFINED_LIMIT_P995_PX = 1e-3
"""Of an FP32 graph with a refiner 99.5 % of the pixels may differ by this much. It decides steeply
between two surfaces, which magnifies rounding at single pixels: on nine real and rendered pairs the
bundled networks' worst differ by 0.001 to 0.2 px, the 99.5 % by at most 0.00013."""

FP16_LIMIT_MEAN_PX = 0.02
"""An FP16 graph may differ from FP32 torch by this much on average."""

HALF_WEIGHTS_LIMIT_MEAN_PX = 0.02
"""Weights rounded to half may move the answers by this much on average. Of LAS1 as it is trained
(the bundled weights with 0.1 % and 1 % of noise, so that there is something to round) it is 0.001
to 0.003 px; of weights that mean nothing, those of the reference vectors, 0.002 to 0.06 px."""

LIMIT_MEAN_CONFIDENCE = 1e-3
"""Confidence may differ by this much on average. Not at its worst pixel: where all mass is on one
disparity its square root magnifies rounding (5e-4 has been seen where disparity agrees to 3e-4)."""

_Map = npt.NDArray[np.float32]
Run = Callable[[ModelProto, Pair], tuple[_Map, _Map]]
"""Runs a graph on a pair and gives back disparity in pixels and confidence, both (H, W)."""


@dataclass(frozen=True, slots=True)
class ParityCase:
    """How far graph and torch lie apart on one pair.

    Attributes:
        pair: which pair.
        height: its height in pixels.
        width: its width in pixels.
        max_px: largest difference of disparity, pixels.
        p995_px: what the absolute difference of disparity is within at 99.5 % of the pixels.
        mean_px: mean absolute difference of disparity, pixels.
        bias_px: mean signed difference of disparity (graph minus torch), pixels.
        max_confidence: largest difference of confidence.
        mean_confidence: mean absolute difference of confidence.
    """

    pair: str
    height: int
    width: int
    max_px: float
    p995_px: float
    mean_px: float
    bias_px: float
    max_confidence: float
    mean_confidence: float


@dataclass(frozen=True, slots=True)
class ParityReport:
    """What the gate measured, and against which limit.

    Attributes:
        judge: what computed the graph's side.
        limit: which figure is limited, "max_px", "p995_px" or "mean_px".
        limit_px: its limit in pixels.
        cases: one for each pair.
        rounding: of half weights: the graph against the network before they were rounded.
    """

    judge: str
    limit: str
    limit_px: float
    cases: tuple[ParityCase, ...]
    rounding: ParityReport | None = None

    @property
    def passed(self) -> bool:
        """Whether every case is within the limits; a figure that is not a number is not."""
        return (self.rounding is None or self.rounding.passed) and self._is_within

    @property
    def _is_within(self) -> bool:
        return all(
            getattr(case, self.limit) <= self.limit_px
            and case.mean_confidence <= LIMIT_MEAN_CONFIDENCE
            for case in self.cases
        )

    def require(self, *, advice: str = "another --exporter") -> None:
        """Raise unless the report passed.

        Args:
            advice: what to try where the graph is not what torch computes.

        Raises:
            ExportError: with the figures of every case.
        """
        if not self._is_within:
            raise ExportError(
                f"the graph is not what torch computes, so nothing was written: {self}. Try "
                f"{advice}, or look at the graph with --skip-gate"
            )
        if self.rounding is not None and not self.rounding.passed:
            raise ExportError(
                "rounding the weights to half moves the answers too far, so nothing was written: "
                f"{self.rounding}. Export them without --half-weights"
            )

    def __str__(self) -> str:
        """Say the figures in one line."""
        figures = "; ".join(
            f"{c.pair} {c.height}x{c.width}: max {c.max_px:.2e} px, "
            f"99.5 % within {c.p995_px:.2e} px, mean {c.mean_px:.2e} px, "
            f"confidence mean {c.mean_confidence:.1e}"
            for c in self.cases
        )
        limits = f"{self.limit} {self.limit_px:g}, confidence mean {LIMIT_MEAN_CONFIDENCE:g}"
        words = f"{figures} (limits: {limits}; judged by {self.judge})"
        return words if self.rounding is None else f"{words}; before rounding: {self.rounding}"

    def as_json(self) -> dict[str, object]:
        """Return the report as JSON-ready values, measured ones to four digits."""
        cases = [{name: _rounded(value) for name, value in asdict(c).items()} for c in self.cases]
        values = {**asdict(self), "cases": cases, "passed": self.passed}
        if self.rounding is None:
            del values["rounding"]
        else:
            values["rounding"] = self.rounding.as_json()
        return values


def _rounded(value: str | float) -> str | float:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def compare(
    graph: ModelProto, *, model: torch.nn.Module, pairs: Iterable[Pair], run: Run
) -> tuple[ParityCase, ...]:
    """Return how far `graph`, computed by `run`, lies from the FP32 torch `model` on each pair.

    Args:
        graph: what is judged.
        model: the reference, in evaluation mode.
        pairs: of sizes that the graph takes.
        run: computes a graph on a pair.
    """
    return tuple(_case(pair, run(graph, pair), _torch_outputs(model, pair)) for pair in pairs)


def onnxruntime_outputs(graph: ModelProto, pair: Pair) -> tuple[_Map, _Map]:
    """Run a graph on the CPU with ONNX Runtime; gives disparity and confidence.

    Args:
        graph: with inputs `left` and `right`.
        pair: pictures of a size that the graph takes.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    disparity, confidence = session.run(None, {"left": pair.left, "right": pair.right})
    return disparity, confidence


@torch.inference_mode()
def _torch_outputs(model: torch.nn.Module, pair: Pair) -> tuple[_Map, _Map]:
    """Run the network itself."""
    disparity, confidence = CameraModel(model)(
        torch.from_numpy(pair.left), torch.from_numpy(pair.right)
    )
    return disparity.numpy(), confidence.numpy()


def _case(pair: Pair, ours: tuple[_Map, _Map], reference: tuple[_Map, _Map]) -> ParityCase:
    """Compare one pair's outputs."""
    for ours_map, reference_map in zip(ours, reference, strict=True):
        if ours_map.shape != reference_map.shape:
            raise ExportError(
                f"the graph gives {ours_map.shape} where torch gives {reference_map.shape}; try "
                "another --exporter"
            )
    difference = ours[0].astype(np.float64) - reference[0]
    error = np.abs(difference)
    confidence = np.abs(ours[1].astype(np.float64) - reference[1])
    height, width = pair.size
    return ParityCase(
        pair=pair.name,
        height=height,
        width=width,
        max_px=float(error.max()),
        p995_px=float(np.percentile(error, 99.5)),
        mean_px=float(error.mean()),
        bias_px=float(difference.mean()),
        max_confidence=float(confidence.max()),
        mean_confidence=float(confidence.mean()),
    )
