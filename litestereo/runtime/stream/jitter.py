"""How much the answers move while nothing else does: the jitter of a static scene."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError

__all__ = ["JitterMeter"]

Disparity = NDArray[np.float32]


class JitterMeter:
    """Gathers disparities of a scene in which neither camera nor things move.

    Memory does not grow with the number of frames.

    Example:
        meter = JitterMeter()
        for result in stream:
            meter.add(result.stereo.disparity_px)
        print(meter.report())
    """

    def __init__(self) -> None:
        """Make a meter without frames."""
        self._frames = 0
        self._mean_px: NDArray[np.float64] | None = None
        self._squares: NDArray[np.float64] | None = None
        self._last_px: Disparity | None = None
        self._jumps = 0

    @property
    def frames(self) -> int:
        """How many there were so far."""
        return self._frames

    def add(self, disparity_px: Disparity) -> None:
        """Take the next frame's disparity.

        Args:
            disparity_px: (H, W) float32, of one size for all frames.

        Raises:
            InputError: the size is another one.
        """
        if self._mean_px is None or self._squares is None or self._last_px is None:
            self._mean_px = np.zeros(disparity_px.shape)
            self._squares = np.zeros(disparity_px.shape)
            self._last_px = disparity_px.copy()
        if disparity_px.shape != self._mean_px.shape:
            raise InputError(
                f"the disparity is {disparity_px.shape} and was {self._mean_px.shape}; jitter "
                "needs pictures of one size"
            )
        self._frames += 1
        # Welford's way: sums of squares of large numbers would lose the small differences.
        change = disparity_px - self._mean_px
        self._mean_px += change / self._frames
        self._squares += change * (disparity_px - self._mean_px)
        self._jumps += int(np.count_nonzero(np.abs(disparity_px - self._last_px) > 1))
        np.copyto(self._last_px, disparity_px)

    def deviation_px(self) -> Disparity:
        """Return (H, W) float32: each pixel's standard deviation over the frames.

        Raises:
            InputError: fewer than two frames.
        """
        if self._frames < 2 or self._squares is None:
            raise InputError(f"jitter needs at least 2 frames, got {self._frames}")
        deviation: Disparity = np.sqrt(self._squares / (self._frames - 1)).astype(np.float32)
        return deviation

    def report(self) -> dict[str, Any]:
        """Return the figures, for JSON.

        `median_px` and `p95_px` are of the pixels' standard deviations; `jumps` is the share,
        0..1, of pixels that move by more than 1 px from one frame to the next.

        Raises:
            InputError: fewer than two frames.
        """
        deviation_px = self.deviation_px()
        return {
            "frames": self._frames,
            "median_px": round(float(np.median(deviation_px)), 4),
            "p95_px": round(float(np.percentile(deviation_px, 95)), 4),
            "jumps": round(self._jumps / (deviation_px.size * (self._frames - 1)), 5),
        }
