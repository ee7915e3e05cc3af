"""The pair that is timed: the bundled one, at the size asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from litestereo.assets import demo_pair
from litestereo.runtime.images import read_pair
from litestereo.runtime.opencv import import_cv2

__all__ = ["PICTURE", "bench_pair"]

PICTURE = "bundled demo pair, resized"


def bench_pair(size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return left and right, (H, W, 3) uint8 RGB, of `size` (height, width).

    Args:
        size: (height, width).
    """
    pair = read_pair(*demo_pair())
    cv2 = import_cv2("resizing pictures")
    left, right = (
        np.ascontiguousarray(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA))
        for picture in (pair.left, pair.right)
    )
    return left, right
