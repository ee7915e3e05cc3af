"""Points of a pair that belong together, and how far their rows are from agreeing.

Corners are matched by ORB on both pictures' equalised small versions, moved to where their
neighbourhoods agree best, and a rectified pair's rows differ by nothing but a small offset, roll
and zoom: the plane dy = offset + roll * x + zoom * y is fitted to the largest set of matches that
has one. Of unrelated pictures no such set is large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.runtime.opencv import import_cv2

__all__ = ["PairMatches", "match_pair"]

Terms = NDArray[np.float64]
Mask = NDArray[np.bool_]

# 0.12 s a pair on one core at this size; offsets of a tenth of its pixels show in the median.
_SIDE_PX = 800
# ORB looks for corners 31 px from the edges, and OpenCV fails where its pyramid runs out of rows.
_SMALLEST_SIDE_PX = 32
_CORNERS = 2500
_FAST_THRESHOLD = 7
# Of 256 bits; wrong matches peak near 90.
_WORST_BITS = 64
_LARGEST_MOVE_PX = 3.0
_ROW_TOLERANCE_PX = 1.5
_TRIALS = 400
_FEWEST = 8
# A pair that is turned or zoomed by more than this is none; 180 degrees would fit a plane too.
_LARGEST_SLOPE = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class PairMatches:
    """What was matched, in pixels of the given pictures.

    Attributes:
        left_xy: (N, 2) float32, matches whose rows agree with the fit.
        right_xy: (N, 2) float32.
        candidates: how many matches there were before the fit.
        offset_px: rows by which the right picture's content is lower, at its middle.
        roll_degrees: by which it is turned, clockwise as seen.
        zoom_percent: by which it is larger.
        residual_px: standard deviation of the rows around the fit.
    """

    left_xy: NDArray[np.float32]
    right_xy: NDArray[np.float32]
    candidates: int
    offset_px: float = 0.0
    roll_degrees: float = 0.0
    zoom_percent: float = 0.0
    residual_px: float = 0.0

    @property
    def agreeing_share(self) -> float:
        """Share, 0..1, of the candidates that agree with the fit."""
        return len(self.left_xy) / self.candidates if self.candidates else 0.0

    @property
    def is_in_order(self) -> bool:
        """Whether the right picture's columns follow the left one's, as no mirror's do."""
        if len(self.left_xy) < 2:
            return False
        return bool(np.corrcoef(self.left_xy[:, 0], self.right_xy[:, 0])[0, 1] > 0.3)

    @property
    def disparities_px(self) -> NDArray[np.float32]:
        """(N,) disparities of the matches."""
        return self.left_xy[:, 0] - self.right_xy[:, 0]


def match_pair(
    left: NDArray[np.uint8], right: NDArray[np.uint8], *, side_px: int = _SIDE_PX
) -> PairMatches:
    """Return the matches of a pair.

    Args:
        left: (H, W, 3) uint8 RGB.
        right: same size.
        side_px: longer side of the small versions that are matched; the shorter keeps 32 px.
    """
    cv2 = import_cv2("matching a pair")
    sides = left.shape[:2]
    scale = min(1.0, max(side_px / max(sides), _SMALLEST_SIDE_PX / min(sides)))
    small = [_small(image, scale, cv2) for image in (left, right)]
    left_xy, right_xy = _refined(*_corners(small[0], small[1], cv2), small[0], small[1], cv2)
    height, width = small[0].shape
    x = (right_xy[:, 0] - width / 2) / width
    y = (left_xy[:, 1] - height / 2) / width
    terms = np.column_stack([np.ones_like(x), x, y]).astype(np.float64)
    rows = (right_xy[:, 1] - left_xy[:, 1]).astype(np.float64)
    plane, agreeing = _largest_plane(terms, rows, width)
    if plane is None:
        return PairMatches(left_xy[:0], right_xy[:0], candidates=len(rows))
    # Back to the given pictures, whose pixel (0, 0) is the middle of a larger square.
    shift = 0.5 / scale - 0.5
    return PairMatches(
        left_xy[agreeing] / np.float32(scale) + np.float32(shift),
        right_xy[agreeing] / np.float32(scale) + np.float32(shift),
        candidates=len(rows),
        offset_px=float(plane[0] / scale),
        roll_degrees=math.degrees(plane[1] / width),
        zoom_percent=float(100 * plane[2] / width),
        residual_px=float(np.std((rows - terms @ plane)[agreeing]) / scale),
    )


def _small(image: NDArray[np.uint8], scale: float, cv2: Any) -> NDArray[np.uint8]:  # noqa: ANN401
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in grey.shape[::-1])
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    equal: NDArray[np.uint8] = cv2.equalizeHist(grey)
    return equal


def _corners(
    left: NDArray[np.uint8],
    right: NDArray[np.uint8],
    cv2: Any,  # noqa: ANN401 - untyped package
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (N, 2) corners of each picture that chose each other."""
    detector = cv2.ORB_create(nfeatures=_CORNERS, fastThreshold=_FAST_THRESHOLD)
    (left_points, left_bits), (right_points, right_bits) = (
        detector.detectAndCompute(image, None) for image in (left, right)
    )
    none = np.empty((0, 2), np.float32)
    if left_bits is None or right_bits is None:
        return none, none
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(left_bits, right_bits)
    kept = [match for match in matches if match.distance < _WORST_BITS]
    if not kept:
        return none, none
    return (
        np.array([left_points[match.queryIdx].pt for match in kept], np.float32),
        np.array([right_points[match.trainIdx].pt for match in kept], np.float32),
    )


def _refined(
    left_xy: NDArray[np.float32],
    right_xy: NDArray[np.float32],
    left: NDArray[np.uint8],
    right: NDArray[np.uint8],
    cv2: Any,  # noqa: ANN401 - untyped package
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the matches that sub-pixel alignment confirms, with the right points moved."""
    if not len(left_xy):
        return left_xy, right_xy
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        left,
        right,
        left_xy[:, None],
        right_xy[:, None].copy(),
        winSize=(15, 15),
        maxLevel=0,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    moved = moved.reshape(-1, 2)
    kept = (found.ravel() == 1) & (np.abs(moved - right_xy).max(axis=1) < _LARGEST_MOVE_PX)
    return left_xy[kept], moved[kept]


def _largest_plane(terms: Terms, rows: Terms, width: int) -> tuple[Terms | None, Mask]:
    """Return the plane that most rows agree with, and which do; a fixed seed makes it repeat."""
    agreeing = np.zeros(len(rows), np.bool_)
    if len(rows) < _FEWEST:
        return None, agreeing
    rng = np.random.default_rng(0)
    for _ in range(_TRIALS):
        chosen = rng.choice(len(rows), 3, replace=False)
        if abs(np.linalg.det(terms[chosen])) < 1e-6:
            continue
        plane = np.linalg.solve(terms[chosen], rows[chosen])
        if np.abs(plane[1:]).max() > _LARGEST_SLOPE * width:
            continue
        close = np.abs(terms @ plane - rows) < _ROW_TOLERANCE_PX
        if close.sum() > agreeing.sum():
            agreeing = close
    if agreeing.sum() < _FEWEST:
        return None, np.zeros(len(rows), np.bool_)
    fitted: Terms = np.zeros(3)
    for _ in range(3):
        solution = np.linalg.lstsq(terms[agreeing], rows[agreeing], rcond=None)[0]
        fitted = solution.astype(np.float64)
        agreeing = np.abs(terms @ fitted - rows) < _ROW_TOLERANCE_PX
    return fitted, agreeing
