"""From what an activation was seen to hold to the range that its 8 bits cover.

All ranges are symmetric: 127 steps on each side of zero, as TensorRT's Q/DQ asks. Histograms are of
absolute values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import CalibrationError

__all__ = ["RANGE_METHODS", "ActivationStatistics", "RangeMethod", "step_of"]

RangeMethod = Literal["minmax", "percentile", "entropy", "mse"]
RANGE_METHODS: tuple[str, ...] = get_args(RangeMethod)

LEVELS = 127
_BINS = 2048
_PERCENTILE = 0.9999
# Values of a tensor that go into its histogram from each pair; the largest value is always exact.
_SAMPLED = 200_000
_MSE_TRIALS = 96
_ENTROPY_STEP = 16
# The smallest normal number of float16: steps are stored in half where the graph is half.
_SMALLEST_STEP = 2.0**-14


@dataclass(slots=True, eq=False)
class ActivationStatistics:
    """What one tensor was seen to hold.

    Attributes:
        largest: largest absolute value.
        shape: its shape in the last pair.
        channel_means: (C,) mean of each channel (axis 1) over all pairs.
        limit: upper end of the histogram, a power of two.
        counts: (2048,) absolute values by size.
        pairs: how many pairs were looked at.
    """

    largest: float = 0.0
    shape: tuple[int, ...] = ()
    channel_means: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    limit: float = 2.0**-20
    counts: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_BINS))
    pairs: int = 0

    def add(self, values: NDArray[np.float32]) -> None:
        """Take the values of one more pair, (N, C, ...).

        Args:
            values: (N, C, ...) float32.

        Raises:
            CalibrationError: one of them is no finite number.
        """
        largest = float(max(values.max(initial=0), -values.min(initial=0)))
        if not np.isfinite(largest):
            raise CalibrationError(
                "an activation is not a finite number on a calibration pair; the weights are "
                "damaged, or not for this model"
            )
        means = values.mean(axis=(0, *range(2, values.ndim)), dtype=np.float64)
        seen = self.channel_means if self.pairs else np.zeros_like(means)
        self.channel_means = (seen * self.pairs + means) / (self.pairs + 1)
        self.pairs += 1
        self.shape = values.shape
        self.largest = max(self.largest, largest)
        while (
            self.limit < self.largest
        ):  # merge bins two by two: the histogram reaches twice as far
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([merged, np.zeros(_BINS // 2)])
            self.limit *= 2
        sample = np.abs(values.ravel()[:: max(1, values.size // _SAMPLED)])
        self.counts += np.histogram(sample, _BINS, (0.0, self.limit))[0]

    def threshold(self, method: RangeMethod) -> float:
        """Return the absolute value at which the range ends; 0 for a tensor of zeros.

        Args:
            method: how outliers are treated.
        """
        if method == "minmax" or self.largest == 0:
            return self.largest
        find = {"percentile": _percentile, "entropy": _entropy, "mse": _mse}[method]
        return min(self.largest, find(self.counts, self.limit / _BINS))


def step_of(threshold: float | NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the quantisation step of a range, as a float32 that float16 holds exactly.

    Rounded up, so that nothing inside the range is clipped, and never below half's normal numbers;
    the typed half graph then has the very same steps as the FP32 one.

    Args:
        threshold: absolute value at which the range ends, of the tensor or of each channel.
    """
    wanted = np.maximum(np.asarray(threshold, np.float64) / LEVELS, _SMALLEST_STEP)
    half = wanted.astype(np.float16)
    half = np.where(half < wanted, np.nextafter(half, np.float16(np.inf)), half)
    return np.asarray(half, np.float32)


def _percentile(counts: NDArray[np.float64], width: float) -> float:
    """Return the value that all but one in ten thousand do not exceed."""
    share = np.cumsum(counts) / counts.sum()
    return float((np.searchsorted(share, _PERCENTILE) + 1) * width)


def _mse(counts: NDArray[np.float64], width: float) -> float:
    """Return the end of the range with the least squared error of rounding and clipping."""
    centres = (np.arange(len(counts)) + 0.5) * width
    last = int(np.flatnonzero(counts).max()) + 1
    ends = last * width * np.arange(1, _MSE_TRIALS + 1) / _MSE_TRIALS
    steps = ends / LEVELS
    # A bin as wide as a step would seem to round without an error: its own spread is added.
    inside = np.minimum(np.rint(centres / steps[:, None]), LEVELS) * steps[:, None]
    clipped = centres > ends[:, None]
    error = np.where(clipped, np.square(inside - centres), np.square(steps[:, None]) / 12)
    return float(ends[int((error @ counts).argmin())])


def _entropy(counts: NDArray[np.float64], width: float) -> float:
    """Return the end of the range that loses the least information (Kullback-Leibler).

    The rule of NVIDIA's calibrator (S. Migacz, "8-bit inference with TensorRT", GTC 2017): what is
    clipped is counted into the last bin, and 128 levels stand for the rest. The first bin counts as
    much as the second: zeros, half of all values behind a ReLU, lose nothing and would hide it all.
    """
    counts = np.append(counts[1:2], counts[1:])
    last = int(np.flatnonzero(counts).max(initial=0)) + 1
    best, best_divergence = last, np.inf
    for end in range(LEVELS + 1, last + 1, _ENTROPY_STEP):
        reference = counts[:end].copy()
        reference[-1] += counts[end:].sum()
        divergence = _divergence(reference, _coarse(counts[:end]))
        if divergence < best_divergence:
            best, best_divergence = end, divergence
    return float(best * width)


def _coarse(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the histogram with 128 levels, each spread evenly over its filled bins."""
    level = np.arange(len(counts)) * (LEVELS + 1) // len(counts)
    filled = counts > 0
    sums = np.bincount(level, counts)
    filled_bins = np.maximum(np.bincount(level, filled), 1)
    coarse: NDArray[np.float64] = np.where(filled, (sums / filled_bins)[level], 0)
    return coarse


def _divergence(reference: NDArray[np.float64], coarse: NDArray[np.float64]) -> float:
    p, q = reference / reference.sum(), coarse / max(coarse.sum(), 1e-12)
    filled = p > 0
    return float((p[filled] * np.log(p[filled] / np.maximum(q[filled], 1e-9))).sum())
