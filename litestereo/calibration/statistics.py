"""What a pair looks like in a few dozen numbers: to tell pairs apart, to say what a set covers.

Disparities come from OpenCV's StereoSGBM at a small size, not from a network: a set must not depend
on the weights that it will judge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from litestereo.models.registry import MAX_DISPARITY_PX
from litestereo.runtime.images import StereoPair
from litestereo.runtime.opencv import import_cv2

__all__ = ["DISPARITY_BINS", "LEVEL_BINS", "PairStatistics", "measure_pair"]

LEVEL_BINS = 8
DISPARITY_BINS = 12
_SIDE_PX = 320
_THUMBNAIL = (24, 32)
_BLOCK_PX = 5


@dataclass(frozen=True, slots=True, eq=False)
class PairStatistics:
    """One pair in numbers.

    Attributes:
        name: where it came from.
        size: (height, width) of its pictures.
        is_grey: whether left, right hold one channel three times.
        brightness: mean level of both, 0..1.
        contrast: standard deviation of their levels, 0..1.
        saturated: share, 0..1, of the pixels of red, green, blue at 0 or 255.
        levels: (8,) share of the pixels by level.
        colour: (2,) mean of red minus green and blue minus green, -1..1.
        disparities: (12,) share of the matched pixels by disparity, 16 px a bin.
        matched: share, 0..1, of the pixels with a disparity.
        thumbnail: (24, 32) float32 left picture, its mean taken off, levels.
    """

    name: str
    size: tuple[int, int]
    is_grey: tuple[bool, bool]
    brightness: float
    contrast: float
    saturated: tuple[float, float, float]
    levels: NDArray[np.float64]
    colour: NDArray[np.float64]
    disparities: NDArray[np.float64]
    matched: float
    thumbnail: NDArray[np.float32]

    def features(self) -> list[NDArray[np.float64]]:
        """Return groups of numbers whose distances say how different two pairs are.

        Histograms are summed up, so that neighbouring bins are near each other.
        """
        return [
            np.cumsum(self.levels),
            np.array([self.brightness, self.contrast]),
            self.colour,
            np.cumsum(self.disparities),
            np.array([self.matched]),
        ]


def measure_pair(pair: StereoPair, *, name: str) -> PairStatistics:
    """Return the statistics of a pair; takes some 20 ms on one core.

    Args:
        pair: the pictures.
        name: what to call it.
    """
    cv2 = import_cv2("looking at a pair")
    both = np.concatenate([pair.left, pair.right])
    small = [_smaller(image) for image in (pair.left, pair.right)]
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in small]
    stacked = np.concatenate(grey)
    levels = np.histogram(stacked, LEVEL_BINS, (0, 256))[0] / stacked.size
    means = np.concatenate(small).reshape(-1, 3).mean(axis=0) / 255
    thumbnail = cv2.resize(grey[0], _THUMBNAIL[::-1], interpolation=cv2.INTER_AREA)
    disparities, matched = _disparities(grey[0], grey[1], pair.left.shape[1])
    saturated = ((both == 0) | (both == 255)).reshape(-1, 3).mean(axis=0)
    return PairStatistics(
        name=name,
        size=(pair.left.shape[0], pair.left.shape[1]),
        is_grey=(_is_grey(pair.left), _is_grey(pair.right)),
        brightness=float(stacked.mean() / 255),
        contrast=float(stacked.std() / 255),
        saturated=(float(saturated[0]), float(saturated[1]), float(saturated[2])),
        levels=levels,
        colour=means[[0, 2]] - means[1],
        disparities=disparities,
        matched=matched,
        thumbnail=thumbnail.astype(np.float32) - np.float32(thumbnail.mean()),
    )


def _smaller(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    cv2 = import_cv2("looking at a pair")
    scale = min(1.0, _SIDE_PX / image.shape[1])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    smaller: NDArray[np.uint8] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return smaller


def _is_grey(image: NDArray[np.uint8]) -> bool:
    return bool((image[..., :1] == image[..., 1:]).all())


def _disparities(
    left: NDArray[np.uint8], right: NDArray[np.uint8], width: int
) -> tuple[NDArray[np.float64], float]:
    """Return the histogram of disparities in pixels of the full picture, and the matched share."""
    cv2 = import_cv2("looking at a pair")
    scale = left.shape[1] / width
    searched = -(-int(MAX_DISPARITY_PX * scale) // 16) * 16 or 16
    matcher = cv2.StereoSGBM_create(
        minDisparity=0,
        numDisparities=searched,
        blockSize=_BLOCK_PX,
        P1=8 * _BLOCK_PX**2,
        P2=32 * _BLOCK_PX**2,
        disp12MaxDiff=1,
        uniquenessRatio=10,
        speckleWindowSize=50,
        speckleRange=2,
    )
    # Padded on the left, where StereoSGBM answers nothing otherwise.
    padded = [cv2.copyMakeBorder(i, 0, 0, searched, 0, cv2.BORDER_REPLICATE) for i in (left, right)]
    found = matcher.compute(*padded)[:, searched:].astype(np.float64) / 16
    known = found[found >= 0] / scale
    counts = np.histogram(known, DISPARITY_BINS, (0, MAX_DISPARITY_PX))[0]
    return counts / max(1, counts.sum()), float(known.size / found.size)
