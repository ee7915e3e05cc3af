"""Which pixels only the left eye sees, and which are islands: masks to take out of a depth map.

Two ways to find occlusions, and what they cost. `OcclusionFinder` looks at the left disparity only:
where a nearer point lands on the same column of the right picture, the farther one cannot be seen
there; 1 to 2 ms at 480x640, no inference. `left_right_inconsistent` compares with a disparity of
the right eye, which takes a second inference of the mirrored pair (`right_disparity_of`): twice the
time, and in return it also finds what the network got wrong where both eyes see.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from litestereo.runtime.opencv import import_cv2

__all__ = [
    "MatchLookup",
    "OcclusionFinder",
    "left_right_inconsistent",
    "occluded_by_warp",
    "right_disparity_of",
    "speckles",
]

Disparity = NDArray[np.float32]
Mask = NDArray[np.bool_]
Image = NDArray[np.uint8]

# OpenCV's filter takes fixed-point disparities, in sixteenths as its own matchers give them.
_SPECKLE_STEPS = 16


class OcclusionFinder:
    """Finds what something nearer hides from the right eye, without allocating; for one thread.

    The arrays matter: allocated anew in each call they took 1.4 to 5.5 ms at 480x640, by what the
    heap looked like, and kept 1.4.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        """Prepare for disparities of `size` (height, width).

        Args:
            size: (height, width).
        """
        height, width = size
        self._columns = np.arange(width, dtype=np.float32)
        self._row_starts = (np.arange(height) * width)[:, None]
        self._landing, self._nearest, self._seamless = (np.empty(size, np.float32) for _ in "123")
        self._flat = np.empty(size, np.intp)
        self._outside, self._hidden = np.empty(size, np.bool_), np.empty(size, np.bool_)
        self._kernel = np.ones((1, 3), np.uint8)

    def __call__(self, disparity_px: Disparity, *, tolerance_px: float = 1.0) -> Mask:
        """Return (H, W) bool, reused by the next call: hidden, or out of the right picture.

        Args:
            disparity_px: (H, W) float32 of the left eye, >= 0.
            tolerance_px: how much nearer the other must be.
        """
        if np.isnan(disparity_px.min()):
            disparity_px = np.nan_to_num(disparity_px)
        landing = np.subtract(self._columns, disparity_px, out=self._landing)
        np.rint(landing, out=landing)
        np.less(landing, 0, out=self._outside)
        np.clip(landing, 0, self._columns[-1], out=landing)
        self._flat[...] = landing
        self._flat += self._row_starts
        # Of all pixels that land on one column the last one is the nearest, because x - d is the
        # same for all of them; and NumPy keeps the last of repeated assignments.
        self._nearest.fill(0)
        self._nearest.ravel()[self._flat.ravel()] = disparity_px.ravel()
        # A near surface is stretched in the right picture; its seams of one column are closed.
        cv2 = import_cv2("occlusion")
        cv2.morphologyEx(self._nearest, cv2.MORPH_CLOSE, self._kernel, dst=self._seamless)
        there = np.take(self._seamless.ravel(), self._flat, out=landing, mode="clip")
        there -= np.float32(tolerance_px)
        np.greater(there, disparity_px, out=self._hidden)
        return np.logical_or(self._hidden, self._outside, out=self._hidden)


class MatchLookup:
    """Looks up a mask of the right picture where each left pixel's match is; for one thread.

    OpenCV does it in 0.4 ms at 480x640, NumPy's indexing in 0.8; arrays are allocated once.
    """

    def __init__(self, mask: Mask) -> None:
        """Prepare for one mask.

        Args:
            mask: (H, W) of the rectified right picture.
        """
        height, width = mask.shape
        self._mask = mask.astype(np.uint8)
        self._columns = np.arange(width, dtype=np.float32)
        self._rows = np.repeat(np.arange(height, dtype=np.float32)[:, None], width, axis=1)
        self._landing = np.empty(mask.shape, np.float32)
        self._found = np.empty(mask.shape, np.uint8)

    def __call__(self, disparity_px: Disparity) -> Mask:
        """Return (H, W) bool, reused by the next call; False where the match leaves the picture.

        Args:
            disparity_px: (H, W) float32 of the left eye.
        """
        cv2 = import_cv2("depth")
        np.subtract(self._columns, disparity_px, out=self._landing)
        nearest, border = cv2.INTER_NEAREST, cv2.BORDER_CONSTANT
        cv2.remap(self._mask, self._landing, self._rows, nearest, self._found, border, 0)
        return self._found.view(np.bool_)


def occluded_by_warp(disparity_px: Disparity, *, tolerance_px: float = 1.0) -> Mask:
    """Return (H, W) bool: pixels that something nearer hides from the right eye.

    Pixels that leave the right picture at its border count as hidden too. In a loop an
    `OcclusionFinder`, or `MetricRig.occluded`, is quicker.

    Args:
        disparity_px: (H, W) float32 of the left eye, >= 0.
        tolerance_px: how much nearer the other must be.
    """
    height, width = disparity_px.shape
    return OcclusionFinder((height, width))(disparity_px, tolerance_px=tolerance_px)


def left_right_inconsistent(
    left_px: Disparity, right_px: Disparity, *, tolerance_px: float = 1.0
) -> Mask:
    """Return (H, W) bool: left pixels whose partner in the right picture says otherwise.

    Args:
        left_px: (H, W) float32 of the left eye, x_right = x_left - disparity.
        right_px: (H, W) float32 of the right eye, x_left = x_right + disparity.
        tolerance_px: allowed difference.
    """
    height, width = left_px.shape
    cv2 = import_cv2("left-right consistency")
    columns = np.arange(width, dtype=np.float32) - left_px
    rows = np.repeat(np.arange(height, dtype=np.float32)[:, None], width, axis=1)
    partner = cv2.remap(right_px, columns, rows, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    agree: Mask = np.abs(partner - left_px) <= np.float32(tolerance_px)
    agree &= columns >= 0
    return ~agree


def right_disparity_of(
    matcher: Callable[[Image, Image], Disparity], left: Image, right: Image
) -> Disparity:
    """Return the right eye's disparity from a matcher of left eyes, by mirrored pictures.

    Args:
        matcher: (left, right) -> (H, W) float32 disparity, such as
            `lambda left, right: engine(left, right).disparity_px`.
        left: (H, W, 3) uint8.
        right: same.
    """
    mirrored = matcher(np.ascontiguousarray(right[:, ::-1]), np.ascontiguousarray(left[:, ::-1]))
    return np.ascontiguousarray(mirrored[:, ::-1])


def speckles(disparity_px: Disparity, *, largest_pixels: int = 200, step_px: float = 1.0) -> Mask:
    """Return (H, W) bool: pixels of islands, of at most `largest_pixels`, that steps cut off.

    Args:
        disparity_px: (H, W) float32, up to 2047 px.
        largest_pixels: how large an island may be to count.
        step_px: how far neighbours of one surface may differ.
    """
    cv2 = import_cv2("the speckle filter")
    fixed = np.rint(np.nan_to_num(disparity_px).clip(0, 2047) * _SPECKLE_STEPS).astype(np.int16)
    cv2.filterSpeckles(fixed, -1, largest_pixels, step_px * _SPECKLE_STEPS)
    islands: Mask = fixed == -1
    return islands
