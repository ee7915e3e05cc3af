"""Pictures of a result: disparity and confidence in colour, and the labelled panel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError
from litestereo.runtime.opencv import import_cv2

__all__ = ["color_confidence", "color_disparity", "panel", "robust_maximum_px"]

_ROBUST_PERCENTILE = 99.0
_LABEL_PX = 24
_GAP_PX = 4


def robust_maximum_px(disparity_px: NDArray[np.float32]) -> float:
    """Return the end of a colour scale that a few outliers do not stretch.

    It is 5 % over the 99th percentile of the valid disparities, and at least 1 px.

    Args:
        disparity_px: (H, W) float32; NaN where there is none.
    """
    valid = disparity_px[_valid(disparity_px)]
    if valid.size == 0:
        return 1.0
    return max(1.0, 1.05 * float(np.percentile(valid, _ROBUST_PERCENTILE)))


def color_disparity(
    disparity_px: NDArray[np.float32], *, max_px: float | None = None
) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB: dark violet is far (0), red is near, black is no answer.

    Args:
        disparity_px: (H, W) float32; NaN, infinity and negative values are no answer.
        max_px: disparity of the last colour; None takes `robust_maximum_px`. Give one value for
            all frames of a video, or it flickers.

    Raises:
        InputError: `max_px` is not above 0.
    """
    if max_px is not None and not max_px > 0:
        raise InputError(f"the colour scale ends at {max_px:g} px; it must be above 0")
    end_px = robust_maximum_px(disparity_px) if max_px is None else max_px
    valid = _valid(disparity_px)
    cv2 = import_cv2("colouring")
    return _colored(np.where(valid, disparity_px, 0) / end_px, valid, cv2.COLORMAP_TURBO)


def color_confidence(confidence: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB: dark violet is 0, yellow is 1, black is no answer.

    Args:
        confidence: (H, W) float32, 0 to 1; NaN where there is none.
    """
    valid = np.isfinite(confidence)
    cv2 = import_cv2("colouring")
    return _colored(np.where(valid, confidence, 0), valid, cv2.COLORMAP_VIRIDIS)


def panel(
    left: NDArray[np.uint8],
    disparity_px: NDArray[np.float32],
    confidence: NDArray[np.float32],
    *,
    max_px: float | None = None,
) -> NDArray[np.uint8]:
    """Return left | disparity | confidence side by side, each with a label above.

    Args:
        left: (H, W, 3) uint8 RGB.
        disparity_px: (H, W) float32.
        confidence: (H, W) float32 in [0, 1].
        max_px: as in `color_disparity`.

    Returns:
        (H + 24, 3 W + 8, 3) uint8 RGB.
    """
    end_px = robust_maximum_px(disparity_px) if max_px is None else max_px
    tiles = {
        "left": left,
        f"disparity 0..{end_px:.0f} px": color_disparity(disparity_px, max_px=end_px),
        "confidence 0..1": color_confidence(confidence),
    }
    height, width = left.shape[:2]
    canvas = np.zeros((height + _LABEL_PX, 3 * width + 2 * _GAP_PX, 3), np.uint8)
    for index, (text, tile) in enumerate(tiles.items()):
        start = index * (width + _GAP_PX)
        canvas[_LABEL_PX:, start : start + width] = tile
        canvas[:_LABEL_PX, start : start + width] = _label(text, width)
    return canvas


def _label(text: str, width: int) -> NDArray[np.uint8]:
    cv2 = import_cv2("labelling")
    strip = np.zeros((_LABEL_PX, width, 3), np.uint8)
    cv2.putText(
        strip, text, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (230, 230, 230), 1, cv2.LINE_AA
    )
    return strip


def _colored(values: NDArray[Any], valid: NDArray[np.bool_], colormap: int) -> NDArray[np.uint8]:
    """Return values 0..1 through one of OpenCV's colour maps, as RGB, black where not valid."""
    cv2 = import_cv2("colouring")
    steps = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    colored: NDArray[np.uint8] = cv2.applyColorMap(steps, colormap)[:, :, ::-1].copy()
    colored[~valid] = 0
    return colored


def _valid(disparity_px: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.isfinite(disparity_px) & (disparity_px >= 0)
