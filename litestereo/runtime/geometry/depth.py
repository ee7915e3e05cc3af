"""Disparity to depth in metres, with every pixel that has none marked and named.

Convention: depth is z, along the optical axis of the rectified left camera, not the distance to
it. With f the focal length, b the baseline and doffs the difference of the principal columns,
z = f b / (disparity + doffs); an error e of the disparity moves it by z^2 e / (f b).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError
from litestereo.runtime.geometry.calibration import Calibration
from litestereo.runtime.opencv import import_cv2

__all__ = ["DepthMap", "DepthMapper", "DepthOptions", "Validity", "depth_error_m"]

# As the engine counts a clipped range: from here on an answer may stand for anything nearer.
_CLIPPED_FROM = 0.95
# Below one pixel of disparity an error of half a pixel is half of the depth.
_FAR_PX = 1.0
# Infinity as a limit means this: a disparity of 0 has no depth, and every depth kept is finite.
_FARTHEST_M = 1e30


class Validity(IntEnum):
    """Why a pixel has no depth; of several reasons the highest number is kept."""

    VALID = 0
    TOO_FAR = 1
    TOO_NEAR = 2
    LOW_CONFIDENCE = 3
    SPECKLE = 4
    OCCLUDED = 5
    NOT_FINITE = 6
    OUTSIDE = 7


@dataclass(frozen=True, slots=True)
class DepthOptions:
    """Which depths are kept.

    Attributes:
        near_m: nearer is `TOO_NEAR`; None: only where the disparity is at the end of its range.
        far_m: farther is `TOO_FAR`; None: where the disparity is under 1 px.
        min_confidence: less is `LOW_CONFIDENCE`, 0..1; 0 keeps all.
    """

    near_m: float | None = None
    far_m: float | None = None
    min_confidence: float = 0.0

    def __post_init__(self) -> None:
        """Refuse ranges that keep nothing."""
        near_m, far_m = self.near_m or 0.0, np.inf if self.far_m is None else self.far_m
        if not 0 <= near_m < far_m:
            raise InputError(f"depths from {near_m:g} to {far_m:g} m; need 0 <= near < far")
        if not 0 <= self.min_confidence <= 1:
            raise InputError(f"min_confidence is {self.min_confidence:g}; it must be in 0..1")


@dataclass(frozen=True, slots=True, eq=False)
class DepthMap:
    """Depth and why it is missing where it is.

    Attributes:
        depth_m: (H, W) float32 in metres; NaN where `validity` is not 0.
        validity: (H, W) uint8 of `Validity`.
    """

    depth_m: NDArray[np.float32]
    validity: NDArray[np.uint8]

    def copy(self) -> DepthMap:
        """Return arrays that no later call touches."""
        return DepthMap(self.depth_m.copy(), self.validity.copy())

    def shares(self) -> dict[str, float]:
        """Return the share of the pixels, 0..1, of each `Validity`, by its name in lower case."""
        counts = np.bincount(self.validity.ravel(), minlength=len(Validity))
        return {code.name.lower(): float(counts[code] / self.validity.size) for code in Validity}


class DepthMapper:
    """Turns disparity of one size into depth without allocating; for one thread.

    Example:
        mapper = DepthMapper(calibration, size=left.shape[:2])
        depth = mapper(result.disparity_px, max_disparity_px=result.max_disparity_px)
    """

    def __init__(
        self,
        calibration: Calibration,
        *,
        size: tuple[int, int],
        options: DepthOptions | None = None,
    ) -> None:
        """Prepare for disparities of `size` (height, width).

        Args:
            calibration: of rectified pictures.
            size: (height, width).
            options: which depths and confidences count; None takes all.

        Raises:
            InputError: the calibration is of raw pictures, or of another shape.
        """
        if not calibration.rectified:
            raise InputError(
                "the calibration is of raw pictures; rectify them and use the Rectifier's "
                "calibration"
            )
        sized = calibration.for_size(size)
        self.calibration = sized
        self.options = options or DepthOptions()
        self._product = np.float32(sized.focal_px * sized.baseline_m)
        self._doffs_px = np.float32(sized.doffs_px)
        self._depth_m = np.empty(size, np.float32)
        self._validity = np.empty(size, np.uint8)
        self._flags = np.empty(size, np.bool_)
        self._codes = np.empty(size, np.uint8)
        self._nan = np.full(size, np.nan, np.float32)

    def __call__(
        self,
        disparity_px: NDArray[np.float32],
        *,
        confidence: NDArray[np.float32] | None = None,
        max_disparity_px: float | None = None,
        occluded: NDArray[np.bool_] | None = None,
        speckle: NDArray[np.bool_] | None = None,
        outside: NDArray[np.bool_] | None = None,
    ) -> DepthMap:
        """Return the depth; its arrays are reused by the next call, `copy()` keeps them.

        Args:
            disparity_px: (H, W) float32.
            confidence: (H, W) float32 in [0, 1], for `min_confidence`.
            max_disparity_px: end of the range that was searched.
            occluded: (H, W) pixels that only the left eye sees.
            speckle: (H, W) pixels of small islands.
            outside: (H, W) pixels that a raw picture does not show.

        Raises:
            InputError: the disparity has another size.
        """
        if disparity_px.shape != self._depth_m.shape:
            raise InputError(
                f"disparity is {disparity_px.shape} and the mapper for {self._depth_m.shape}; "
                "make a DepthMapper for this size"
            )
        total_px = np.add(disparity_px, self._doffs_px, out=self._depth_m)
        self._validity.fill(Validity.VALID)
        far_px, near_px = self._limits_px(max_disparity_px)
        self._mark(np.less(total_px, far_px, out=self._flags), Validity.TOO_FAR)
        if near_px is not None:
            self._mark(np.greater_equal(total_px, near_px, out=self._flags), Validity.TOO_NEAR)
        if confidence is not None and self.options.min_confidence > 0:
            limit = np.float32(self.options.min_confidence)
            self._mark(np.less(confidence, limit, out=self._flags), Validity.LOW_CONFIDENCE)
        for given, code in ((speckle, Validity.SPECKLE), (occluded, Validity.OCCLUDED)):
            if given is not None:
                self._mark(given, code)
        np.isfinite(disparity_px, out=self._flags)
        self._mark(np.logical_not(self._flags, out=self._flags), Validity.NOT_FINITE)
        if outside is not None:
            self._mark(outside, Validity.OUTSIDE)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            np.divide(self._product, total_px, out=self._depth_m)
        # By OpenCV: NumPy's masked assignments take ten times as long.
        import_cv2("depth").copyTo(self._nan, self._validity, self._depth_m)
        return DepthMap(self._depth_m, self._validity)

    def _limits_px(self, max_disparity_px: float | None) -> tuple[np.float32, np.float32 | None]:
        """Return the sums of disparity and doffs below and from which there is no depth."""
        options, product = self.options, float(self._product)
        far_px = _FAR_PX if options.far_m is None else product / min(options.far_m, _FARTHEST_M)
        ends = [product / options.near_m] if options.near_m else []
        if max_disparity_px is not None:
            ends.append(_CLIPPED_FROM * max_disparity_px + float(self._doffs_px))
        return np.float32(far_px), np.float32(min(ends)) if ends else None

    def _mark(self, flags: NDArray[np.bool_], code: Validity) -> None:
        np.multiply(flags.view(np.uint8), np.uint8(code), out=self._codes)
        np.maximum(self._validity, self._codes, out=self._validity)


def depth_error_m(
    depth_m: NDArray[np.float32] | float, calibration: Calibration, *, disparity_error_px: float
) -> NDArray[np.float32] | float:
    """Return by how much a disparity error moves each depth: z^2 e / (f b), to first order.

    Args:
        depth_m: metres.
        calibration: of rectified pictures of that size.
        disparity_error_px: in the same pictures' pixels.
    """
    product = calibration.focal_px * calibration.baseline_m
    return depth_m * depth_m * (disparity_error_px / product)
