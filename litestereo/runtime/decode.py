"""Decoding a picture of anybody's: its size is known, and bearable, before OpenCV sees a byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError
from litestereo.runtime.image_header import size_from_header
from litestereo.runtime.opencv import import_cv2

__all__ = ["MAXIMUM_PIXELS", "PICTURE_MOST_BYTES", "decoded"]

MAXIMUM_PIXELS = 64_000_000
# 16-bit RGBA without compression, and room for metadata.
PICTURE_MOST_BYTES = 8 * MAXIMUM_PIXELS + 2**24
_FORMATS = "PNG, JPEG, BMP, TIFF, WebP or PPM"


def decoded(path: Path, content: bytes, *, purpose: str, color: bool = False) -> NDArray[Any]:
    """Return a picture's pixels as they are stored: (H, W) or (H, W, channels), BGR.

    Args:
        path: for messages.
        content: the whole file.
        purpose: what needs OpenCV, for the message where it is missing.
        color: give (H, W, 3) uint8 BGR, upright, whatever is stored.

    Raises:
        InputError: no picture of a known format, too large, or damaged.
        MissingDependencyError: there is no OpenCV.
    """
    cv2 = import_cv2(purpose)
    if not content:
        raise InputError(f"{path} is empty; need a picture file")
    size = size_from_header(content)
    if size is None:
        raise InputError(f"{path} is damaged or no picture that is read here; need {_FORMATS}")
    _check_area(path, size)
    try:
        # "Unchanged" is also the flag that keeps 16 bits and leaves EXIF orientation alone.
        flags = cv2.IMREAD_COLOR if color else cv2.IMREAD_UNCHANGED
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise InputError(
            f"{path} cannot be decoded: {' '.join(str(error).split())}; save it again as PNG"
        ) from error
    if pixels is None:
        raise InputError(f"{path} is damaged or no picture that OpenCV reads; need {_FORMATS}")
    _check_area(path, pixels.shape[:2])
    return np.asarray(pixels)


def _check_area(path: Path, size: tuple[int, ...]) -> None:
    if size[0] * size[1] > MAXIMUM_PIXELS:
        raise InputError(
            f"{path} is {size[0]}x{size[1]} (height x width); at most "
            f"{MAXIMUM_PIXELS // 10**6} megapixels are read: scale it down first"
        )
