"""Light, focus and colour of the same points in both eyes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.runtime.doctor.matching import PairMatches
from litestereo.runtime.opencv import import_cv2

__all__ = ["Photometry", "extreme_shares", "photometry"]

_PATCH_PX = 9
_FOCUS_PX = 15
# Where a patch is saturated the light that it got is not known.
_SATURATED = 245.0
_BRIGHT, _DARK = 250, 8


@dataclass(frozen=True, slots=True)
class Photometry:
    """How the eyes differ where they see the same.

    Attributes:
        gain: brightness of the right eye over that of the left, median over the matches.
        focus: fine detail of the right eye over that of the left.
        left_detail: fine detail of the left eye: its Laplacian over its contrast, median.
        right_detail: same, right.
        color_correlation: of red less blue in both eyes, -1..1; below 0 where one has its channels
            the other way round; None for grey or nearly grey pictures.
        bright_share: of pixels at the upper end of the range, the worse eye.
        dark_share: of pixels at the lower end, the worse eye.
    """

    gain: float
    focus: float
    left_detail: float
    right_detail: float
    color_correlation: float | None
    bright_share: float
    dark_share: float


# Red less blue varies by less than this, of 255, in pictures that are grey in effect.
_COLORED_FROM = 4.0


def photometry(
    left: NDArray[np.uint8], right: NDArray[np.uint8], *, matches: PairMatches
) -> Photometry:
    """Return the comparison at the matched points.

    Args:
        left: (H, W, 3) uint8 RGB.
        right: same size.
        matches: of this pair, at least one.
    """
    cv2 = import_cv2("comparing the eyes")
    places = (matches.left_xy, matches.right_xy)
    patches = [
        _at(cv2.blur(image, (_PATCH_PX, _PATCH_PX)), xy).astype(np.float64)
        for image, xy in zip((left, right), places, strict=True)
    ]
    details = [
        _at(_detail(image, cv2), xy) for image, xy in zip((left, right), places, strict=True)
    ]
    levels = [patch.mean(axis=1) for patch in patches]
    lit = (levels[0] < _SATURATED) & (levels[1] < _SATURATED)
    lit = lit if lit.any() else np.ones_like(lit)
    # A few grey levels are added, so that noise in the dark is not taken for a ratio.
    gains = (levels[1][lit] + 4) / (levels[0][lit] + 4)
    bright_share, dark_share = extreme_shares(left, right)
    return Photometry(
        gain=float(np.median(gains)),
        focus=float(np.median((details[1] + 0.05) / (details[0] + 0.05))),
        left_detail=float(np.median(details[0])),
        right_detail=float(np.median(details[1])),
        color_correlation=_color_correlation(*patches),
        bright_share=bright_share,
        dark_share=dark_share,
    )


def extreme_shares(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the shares, 0..1, of pixels at the bright and dark end, each of the worse eye.

    Args:
        left: (H, W, 3) uint8 RGB.
        right: same of the right camera.
    """
    means = [image.mean(axis=2) for image in (left, right)]
    bright, dark = (
        [float(np.mean(m > _BRIGHT)) for m in means],
        [float(np.mean(m < _DARK)) for m in means],
    )
    return max(bright), max(dark)


def _color_correlation(left: NDArray[np.float64], right: NDArray[np.float64]) -> float | None:
    tints = left[:, 0] - left[:, 2], right[:, 0] - right[:, 2]
    if min(float(np.std(tint)) for tint in tints) < _COLORED_FROM:
        return None
    return float(np.corrcoef(*tints)[0, 1])


def _detail(image: NDArray[np.uint8], cv2: Any) -> NDArray[np.float32]:  # noqa: ANN401
    """Return local fine detail, free of the local contrast and so of exposure."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    window = (_FOCUS_PX, _FOCUS_PX)
    mean = cv2.blur(grey, window)
    contrast = np.sqrt(np.maximum(cv2.blur(grey * grey, window) - mean * mean, 0))
    edges = cv2.blur(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), window)
    detail: NDArray[np.float32] = edges / (contrast + np.float32(2))
    return detail


def _at(image: NDArray[Any], xy: NDArray[np.float32]) -> NDArray[Any]:
    height, width = image.shape[:2]
    columns, rows = np.rint(xy).astype(np.intp).T
    found: NDArray[Any] = image[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    return found
