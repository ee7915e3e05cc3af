"""Error maps in KITTI's colours: where, and by how much, a disparity map is wrong."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from litestereo.benchmarks.metrics import D1_INVERSE_SHARE, D1_PX
from litestereo.runtime.opencv import import_cv2

__all__ = ["ERROR_COLORS", "color_error"]

# The RdYlBu scheme of ColorBrewer in ten steps, blue is right: each step doubles the error. The
# first five are inliers of D1, the last five outliers, as in the KITTI 2015 devkit.
ERROR_COLORS = (
    (49, 54, 149),
    (69, 117, 180),
    (116, 173, 209),
    (171, 217, 233),
    (224, 243, 248),
    (254, 224, 144),
    (253, 174, 97),
    (244, 109, 67),
    (215, 48, 39),
    (165, 0, 38),
)
# Fractions of D1's limit at which a step begins: 1/16, 1/8 ... 16.
_STEP_STARTS = tuple(2.0**power for power in range(-4, 5))
# Below this share of known pixels the dots of a lidar are too small to see: thicken them.
_SPARSE_BELOW = 0.5


def color_error(
    disparity_px: npt.NDArray[np.float32],
    truth_px: npt.NDArray[np.float32],
    *,
    visible: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB: blue is right, red is wrong, black is unknown.

    A step of colour is a doubling of the error, measured in D1's limit (3 px, or 5 % of the truth
    where that is more); pixels that the right camera does not see are half as bright.

    Args:
        disparity_px: (H, W) float32; NaN is as wrong as can be.
        truth_px: (H, W) float32, NaN where unknown.
        visible: (H, W) bool; None if unknown.
    """
    known = np.isfinite(truth_px) & (truth_px > 0)
    error = np.abs(disparity_px - truth_px)
    with np.errstate(invalid="ignore", divide="ignore"):
        limits = np.minimum(error / D1_PX, error * D1_INVERSE_SHARE / truth_px)
    limits[np.isnan(limits)] = np.inf
    step = np.searchsorted(_STEP_STARTS, limits, side="right")
    colored: npt.NDArray[np.uint8] = np.array(ERROR_COLORS, np.uint8)[step]
    if visible is not None:
        colored[~visible] //= 2
    colored[~known] = 0
    if known.mean() < _SPARSE_BELOW:
        colored = _thickened(colored, known)
    return colored


def _thickened(
    colored: npt.NDArray[np.uint8], known: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """Grow the known pixels into their unknown neighbours, 3x3."""
    cv2 = import_cv2("drawing error maps")
    grown: npt.NDArray[np.uint8] = cv2.dilate(colored, np.ones((3, 3), np.uint8))
    grown[known] = colored[known]
    return grown
