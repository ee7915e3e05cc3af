"""Which pixels only the left eye sees, and which are islands: masks to take out of a depth map.

Two ways to find occlusions, and what they cost. `occluded_by_warp` looks at the left disparity
alone: where a nearer point lands on the same column of the right picture, the farther one cannot
be seen there; 2 ms at 480x640, no inference. `left_right_inconsistent` compares with a disparity of
the right eye, which takes a second inference of the mirrored pair (`right_disparity_of`): twice the
time, and in return it also finds what the network got wrong where both eyes see.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from litestereo.runtime.opencv import import_cv2

__all__ = [
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


def occluded_by_warp(disparity_px: Disparity, *, tolerance_px: float = 1.0) -> Mask:
    """Return (H, W) bool: pixels that something nearer hides from the right eye.

    Pixels that leave the right picture at its border count as hidden too.

    Args:
        disparity_px: (H, W) float32 of the left eye, >= 0.
        tolerance_px: how much nearer the other must be.
    """
    height, width = disparity_px.shape
    columns = np.arange(width, dtype=np.float32)
    landing = np.rint(columns - np.nan_to_num(disparity_px)).astype(np.intp)
    outside = landing < 0
    flat = np.clip(landing, 0, width - 1, out=landing)
    flat += (np.arange(height) * width)[:, None]
    # Of all pixels that land on one column the last one is the nearest, because x - d is the same
    # for all of them; and NumPy keeps the last of repeated assignments.
    nearest = np.zeros(height * width, np.float32)
    nearest[flat.ravel()] = disparity_px.ravel()
    cv2 = import_cv2("occlusion")
    # A near surface is stretched in the right picture; its seams of one column are closed.
    seamless = cv2.morphologyEx(
        nearest.reshape(height, width), cv2.MORPH_CLOSE, np.ones((1, 3), np.uint8)
    )
    hidden: Mask = seamless.ravel().take(flat) > disparity_px + np.float32(tolerance_px)
    return hidden | outside


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
