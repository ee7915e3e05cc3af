"""How far a quantised network is from its FP32 form, in terms of disparity.

Not in terms of tensors: a block may lose much of its own precision and change no disparity, and
another may bend every plane with an error that no cosine shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import numpy.typing as npt

from litestereo.benchmarks.metrics import RegionMetrics, score

__all__ = [
    "GATE_LIMITS",
    "Disagreement",
    "disagreement",
    "is_known",
    "mean_disagreement",
    "roughness_px",
]

GATE_LIMITS = {"mean_px": 0.10, "bias_px": 0.03, "d1_points": 0.2, "bad_1_points": 0.5}
"""The gate of an INT8 artefact, on pairs that gave no range: at most so much from FP32."""

_Map = npt.NDArray[np.float32]
_PATCH_PX = 16
_FLATTEST = 0.25


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One pair, or the mean over several.

    Attributes:
        mean_px: mean absolute difference of disparity, pixels.
        bias_px: mean signed difference (quantised minus FP32), pixels.
        d1_points: growth of D1, in points: against ground truth where it is known, else the share
            of pixels that differ from FP32 by over 3 px and over 5 %.
        bad_1_points: growth of bad-1, likewise over 1 px.
        roughness_px: growth of what the flattest patches deviate from a plane, pixels.
    """

    mean_px: float
    bias_px: float
    d1_points: float
    bad_1_points: float
    roughness_px: float

    def to_json(self) -> dict[str, float]:
        """Return the figures by name."""
        return {name: round(value, 6) for name, value in asdict(self).items()}

    def exceeded(self) -> list[str]:
        """Return which limits of the gate are not held, in words."""
        figures = asdict(self)
        figures["bias_px"] = abs(figures["bias_px"])  # a score that becomes better is no fault
        return [
            f"{name} is {figures[name]:.4f}, at most {limit:g} is allowed"
            for name, limit in GATE_LIMITS.items()
            if not figures[name] <= limit
        ]

    def __str__(self) -> str:
        """Say the figures in one line."""
        return (
            f"mean {self.mean_px:.4f} px, bias {self.bias_px:+.4f} px, D1 {self.d1_points:+.3f}, "
            f"bad-1 {self.bad_1_points:+.3f} points, roughness {self.roughness_px:+.4f} px"
        )


def disagreement(
    quantised_px: _Map,
    reference_px: _Map,
    *,
    truth: tuple[_Map, _Map, _Map] | None = None,
) -> Disagreement:
    """Compare two disparity maps of one pair.

    Args:
        quantised_px: (H, W) float32 of the quantised network, in the network's pixels.
        reference_px: the same of FP32.
        truth: the quantised and the FP32 map in pixels of the pictures, and their ground truth;
            None where it is unknown. One without a pixel is taken as unknown.
    """
    difference = quantised_px.astype(np.float64) - reference_px
    if truth is None or not is_known(truth[2]):
        before, after = None, score(quantised_px, np.maximum(reference_px, 1e-3))
    else:
        before, after = score(truth[1], truth[2]), score(truth[0], truth[2])
    grown = {name: _share(after, name) - _share(before, name) for name in ("d1", "bad_1")}
    return Disagreement(
        mean_px=float(np.abs(difference).mean()),
        bias_px=float(difference.mean()),
        d1_points=grown["d1"],
        bad_1_points=grown["bad_1"],
        roughness_px=roughness_px(quantised_px, reference_px),
    )


def is_known(truth_px: _Map) -> bool:
    """Return whether ground truth says anything of any pixel.

    Args:
        truth_px: (H, W) float32; NaN, inf or <= 0 where it says nothing.
    """
    return bool((np.isfinite(truth_px) & (truth_px > 0)).any())


def mean_disagreement(parts: Sequence[Disagreement]) -> Disagreement:
    """Return the mean of every figure over the pairs; growths may cancel, as they do in a score.

    Args:
        parts: one of each pair.
    """
    return Disagreement(
        **{
            field.name: float(np.mean([getattr(part, field.name) for part in parts]))
            for field in fields(Disagreement)
        }
    )


def _share(metrics: RegionMetrics | None, name: str) -> float:
    """Return a share of the pixels: 0 without a score, and NaN, which no limit allows, of none."""
    if metrics is None:
        return 0.0
    value: float | None = getattr(metrics, name)
    return math.nan if value is None else value


def roughness_px(quantised_px: _Map, reference_px: _Map) -> float:
    """Return by how much patches that FP32 sees flat deviate more from a plane.

    The patches are 16x16 pixels, and the quarter that FP32 sees flattest. Checkerboards and steps
    show here, which hardly move a mean difference.

    Args:
        quantised_px: (H, W) float32 disparity.
        reference_px: (H, W) float32 disparity of FP32.
    """
    rough = _plane_deviation(quantised_px), _plane_deviation(reference_px)
    flattest = rough[1] <= np.quantile(rough[1], _FLATTEST)
    return float((rough[0] - rough[1])[flattest].mean())


def _plane_deviation(disparity_px: _Map) -> npt.NDArray[np.float64]:
    """Return the RMS deviation of each patch from its best plane."""
    height, width = (side // _PATCH_PX for side in disparity_px.shape)
    cropped = disparity_px[: height * _PATCH_PX, : width * _PATCH_PX].astype(np.float64)
    blocks = cropped.reshape(height, _PATCH_PX, width, _PATCH_PX).swapaxes(1, 2)
    patches = blocks.reshape(-1, _PATCH_PX**2)
    # Centred coordinates are orthogonal to each other and to a constant.
    along = np.arange(_PATCH_PX) - (_PATCH_PX - 1) / 2
    rows, columns = (axis.ravel() for axis in np.meshgrid(along, along, indexing="ij"))
    rest = patches - patches.mean(axis=1, keepdims=True)
    for axis in (rows, columns):
        rest = rest - np.outer(rest @ axis / (axis @ axis), axis)
    return np.asarray(np.sqrt(np.square(rest).mean(axis=1)))
