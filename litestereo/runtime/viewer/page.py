"""A result as one HTML page: three pictures, a read-out under the pointer, a cloud to turn.

The page holds everything: it opens from a file, over ssh's port forwarding or from any web server,
and draws its cloud by plain JavaScript, so that a browser without WebGL shows it too.
"""

from __future__ import annotations

import base64
import json
import math
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError
from litestereo.runtime.files import write_atomic
from litestereo.runtime.geometry.calibration import Calibration
from litestereo.runtime.geometry.consistency import occluded_by_warp
from litestereo.runtime.opencv import import_cv2
from litestereo.runtime.results import StereoResult
from litestereo.runtime.visualize import color_confidence, color_disparity, robust_maximum_px

__all__ = ["write_view"]

# More points than this make turning the cloud slow, and the file large (5 bytes each, in base64).
_MOST_POINTS = 320_000
_LONGEST_SIDE_PX = 1280
_JPEG_QUALITY = 88
_STEPS = 65535


def write_view(
    path: Path,
    left: NDArray[np.uint8],
    result: StereoResult,
    *,
    calibration: Calibration | None = None,
    valid: NDArray[np.bool_] | None = None,
    max_color_px: float | None = None,
) -> Path:
    """Write the page of a result and return its path.

    Args:
        path: the .html file.
        left: (H, W, 3) uint8 RGB, the left picture that was matched.
        result: of the pair.
        calibration: of the rectified pictures, for metres. None: the cloud has the right
            directions for a guessed focal length of one picture width, and no unit.
        valid: (H, W) bool, which pixels have a depth; None: all above 1 px that both eyes see.
        max_color_px: end of the colour scale; None chooses it.

    Raises:
        InputError: the arrays differ in size, or the place cannot be written.
    """
    size = result.disparity_px.shape
    if left.shape != (*size, 3) or (valid is not None and valid.shape != size):
        raise InputError(f"the picture is {left.shape} and the disparity {size}; need one size")
    end_px = robust_maximum_px(result.disparity_px) if max_color_px is None else max_color_px
    pictures = {
        "left": left,
        "disparity": color_disparity(result.disparity_px, max_px=end_px),
        "confidence": color_confidence(result.confidence),
    }
    data = {
        "pictures": {name: _data_uri(picture) for name, picture in pictures.items()},
        "disparity_end_px": round(end_px, 2),
        "cloud": _cloud(result, calibration=calibration, valid=valid),
        "words": _words(path.stem, result, calibration),
    }
    template = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    # "</" inside a string of the data would end the script element.
    text = json.dumps(data).replace("</", "<\\/")
    page = template.replace("__TITLE__", escape(path.stem)).replace("__DATA__", text)
    return write_atomic(path, page.encode())


def _cloud(
    result: StereoResult, *, calibration: Calibration | None, valid: NDArray[np.bool_] | None
) -> dict[str, Any]:
    """Return the numbers that the page computes points from, thinned to what it can turn.

    Disparities are whole steps, 0 for none; the rays are those of the thinned grid.
    """
    height, width = result.disparity_px.shape
    every = max(1, math.ceil(math.sqrt(height * width / _MOST_POINTS)))
    grid = (slice(every // 2, None, every), slice(every // 2, None, every))
    if calibration is None:
        focal, product, offset_px, unit = (float(width), float(width)), float(width), 0.0, ""
        center = (width - 1) / 2, (height - 1) / 2
    else:
        sized = calibration.for_size((height, width))
        focal, center = (sized.left.fx_px, sized.left.fy_px), (sized.left.cx_px, sized.left.cy_px)
        product, offset_px, unit = sized.focal_px * sized.baseline_m, sized.doffs_px, "m"
    total_px = result.disparity_px[grid].astype(np.float64) + offset_px
    if valid is None:
        valid = (result.disparity_px >= 1) & ~occluded_by_warp(result.disparity_px)
    shown = valid[grid] & (total_px > 0)
    shown &= np.isfinite(total_px)
    end_px = float(total_px[shown].max()) if shown.any() else 1.0
    steps = np.where(shown, np.rint(np.where(shown, total_px, 0) * (_STEPS / end_px)), 0)
    confidence = np.rint(np.nan_to_num(result.confidence[grid]).clip(0, 1) * 255)
    return {
        "rows": total_px.shape[0],
        "columns": total_px.shape[1],
        "every": every,
        "start": every // 2,
        "focal_px": focal,
        "center_px": center,
        "product": product,
        "offset_px": offset_px,
        "unit": unit,
        "px_per_step": end_px / _STEPS,
        "disparity": _base64(steps.astype("<u2").tobytes()),
        "confidence": _base64(confidence.astype(np.uint8).tobytes()),
    }


def _words(name: str, result: StereoResult, calibration: Calibration | None) -> str:
    """Return what ran, for the head of the page."""
    height, width = result.disparity_px.shape
    rig = "no calibration: the cloud has no unit and a guessed focal length"
    if calibration is not None:
        sized = calibration.for_size((height, width))
        rig = f"focal length {sized.focal_px:.1f} px, baseline {1e3 * sized.baseline_m:.1f} mm"
    return (
        f"{name}: {height}x{width}, {result.backend} on {result.device}, {result.precision}, "
        f"{result.timings.total_ms:.0f} ms; {rig}"
    )


def _data_uri(rgb: NDArray[np.uint8]) -> str:
    """Return a picture as JPEG in a data URI, no larger than a screen shows."""
    cv2 = import_cv2("the page")
    shrink = _LONGEST_SIDE_PX / max(rgb.shape[:2])
    if shrink < 1:
        rgb = cv2.resize(rgb, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return "data:image/jpeg;base64," + _base64(coded.tobytes())


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
