"""How well a confidence sorts pixels by error: sparsification curves and their area.

Source: E. Ilg et al., "Uncertainty Estimates and Multi-Hypotheses Networks for Optical Flow",
ECCV 2018, section 4.3: pixels are removed from the least confident on and the mean error of the
rest is plotted against the removed share; the oracle removes by the true error. The area between
the two curves is AUSE. As there, curves are divided by the error of all pixels, so that 1 is where
they start.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from litestereo.errors import InputError

__all__ = ["Sparsification", "sparsification"]

_STEPS = 100


@dataclass(frozen=True, slots=True)
class Sparsification:
    """Curves of one scene, and their areas.

    Attributes:
        pixels: pixels with ground truth and an answer.
        removed: (N,) share of pixels removed, 0 up to but not including 1.
        by_confidence: (N,) mean error of the rest over that of all, least confident removed first.
        by_error: (N,) likewise, largest true error removed first: the oracle.
        ause: area between the two; 0 is perfect, lower is better.
        ause_random: that of removal at random, whose expected curve is 1 everywhere; a confidence
            is worth something where its `ause` is below.
    """

    pixels: int
    removed: tuple[float, ...]
    by_confidence: tuple[float, ...]
    by_error: tuple[float, ...]
    ause: float
    ause_random: float


def sparsification(
    error_px: npt.NDArray[np.float32], confidence: npt.NDArray[np.float32]
) -> Sparsification | None:
    """Compare removal by confidence with removal by true error and at random.

    Pixels of equal confidence count as removed in random order: each stands for their mean error,
    so that a constant confidence scores exactly as random removal does.

    Args:
        error_px: float, any shape; absolute error, NaN where there is no ground truth or answer.
        confidence: same shape; higher is surer.

    Returns:
        The curves, or None where there is no error to sort: no pixel, or all exact.

    Raises:
        InputError: the maps differ in shape, or a scored pixel's confidence is NaN.
    """
    if error_px.shape != confidence.shape:
        raise InputError(
            f"confidence is {confidence.shape} but the error map is {error_px.shape}; both need "
            "the size of the left picture"
        )
    scored = np.isfinite(error_px)
    error = error_px[scored].astype(np.float64)
    trust = confidence[scored].astype(np.float64)
    if np.isnan(trust).any():
        raise InputError("confidence is NaN where the matcher has an answer; need 0..1 there")
    if not error.size or not error.any():
        return None
    removed = np.arange(_STEPS) / _STEPS
    by_confidence = _curve(_tied_means(error, trust), removed) / error.mean()
    by_error = _curve(np.sort(error), removed) / error.mean()
    return Sparsification(
        pixels=error.size,
        removed=tuple(removed.tolist()),
        by_confidence=tuple(by_confidence.tolist()),
        by_error=tuple(by_error.tolist()),
        ause=_area(by_confidence - by_error),
        ause_random=_area(1.0 - by_error),
    )


def _tied_means(
    error: npt.NDArray[np.float64], trust: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the errors from the surest pixel on, each replaced by its tie's mean."""
    _, group, count = np.unique(-trust, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=error) / count
    repeated: npt.NDArray[np.float64] = np.repeat(means, count)
    return repeated


def _curve(
    surest_first: npt.NDArray[np.float64], removed: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the mean error of what is left after each share is removed from the end."""
    kept = np.ceil(len(surest_first) * (1 - removed)).astype(np.int64).clip(min=1)
    curve: npt.NDArray[np.float64] = np.cumsum(surest_first)[kept - 1] / kept
    return curve


def _area(curve: npt.NDArray[np.float64]) -> float:
    """Integrate over the removed share by trapezes; the last step carries its value to 1."""
    return float((curve[:-1] + curve[1:]).sum() / 2 + curve[-1]) / _STEPS
