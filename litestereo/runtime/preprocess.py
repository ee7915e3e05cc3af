"""The one preprocessing: from a camera's pair to what a network takes, and back.

The runtime, calibration and the benchmarks all use it, so that a network sees the same pixels
everywhere. Normalisation is not here: it is inside the artefact's graph.

Convention: sizes are (height, width). A network takes sides in multiples of 32, so a picture is
padded below and on the right, by its repeated edge; on the left repeated columns would match what
the right eye does not see. One that is resized anyway is stretched to the multiples instead, by up
to a tenth. Resizing costs detail: on the shared pairs padding instead of stretching brought the
mean of three families' bad-2 from 6.67 to 6.44 % (LAS1) and from 6.13 to 5.94 (LAS2-M), though
KITTI's D1 rose by 0.2 points. Both pictures are treated alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError
from litestereo.runtime.opencv import import_cv2

__all__ = [
    "MINIMUM_SIDE_PX",
    "MULTIPLE_OF",
    "Frame",
    "ScaleOptions",
    "disparity_from_padded",
    "fit",
    "frame_for",
    "map_from_padded",
    "padded_pair",
    "rgb_pair",
]

MULTIPLE_OF = 32
MINIMUM_SIDE_PX = 32
_MOST_STRETCH = 1.1
# Between two neighbours of a map, in its own pixels, there is one surface.
_STEP_PX = 0.5


@dataclass(frozen=True, slots=True)
class ScaleOptions:
    """At what size the network runs.

    Attributes:
        scale: inference size over picture size; None: 1, or less where `max_disparity_px` or
            `fit_within` ask for it.
        fit_within: (height, width) that the scaled picture may not exceed before its sides are
            stretched to multiples; up to that the aspect is kept.
        max_disparity_px: largest disparity to expect, in pixels of the given pictures; None: as
            far as the network reaches.
    """

    scale: float | None = None
    fit_within: tuple[int, int] | None = None
    max_disparity_px: float | None = None

    def __post_init__(self) -> None:
        """Refuse values that no picture can meet."""
        if self.scale is not None and not 0 < self.scale <= 4:
            raise InputError(f"scale is {self.scale}; it must be above 0 and at most 4")
        if self.scale is not None and self.fit_within is not None:
            raise InputError("scale and fit_within are both given; give one of them")
        if self.fit_within is not None and min(self.fit_within) < MINIMUM_SIDE_PX:
            raise InputError(
                f"fit_within is {_text(self.fit_within)}; need at least "
                f"{MINIMUM_SIDE_PX}x{MINIMUM_SIDE_PX}"
            )
        if self.max_disparity_px is not None and not 0 < self.max_disparity_px < math.inf:
            raise InputError(f"max_disparity_px is {self.max_disparity_px}; it must be above 0")

    def check_range(self, range_px: float) -> None:
        """Refuse a scale at which `max_disparity_px` is out of the network's reach `range_px`.

        Args:
            range_px: largest disparity of the network, in its own pixels.

        Raises:
            InputError: it is.
        """
        if self.scale is None or self.max_disparity_px is None:
            return
        if self.scale * self.max_disparity_px > range_px:
            raise InputError(
                f"scale {self.scale:g} reaches {range_px / self.scale:g} px of disparity and "
                f"{self.max_disparity_px:g} px are asked for; leave the scale out, or give at "
                f"most {range_px / self.max_disparity_px:.3g}"
            )

    def scale_for(self, size: tuple[int, int], *, range_px: float) -> float:
        """Return the scale for pictures of `size` and a network that reaches `range_px`.

        Args:
            size: (height, width).
            range_px: largest disparity of the network, in its own pixels.
        """
        if self.scale is not None:
            return self.scale
        scale = min(1.0, self.largest_ratio(range_px=range_px))
        if self.fit_within is not None:
            scale = min(scale, self.fit_within[0] / size[0], self.fit_within[1] / size[1])
        return scale

    def largest_ratio(self, *, range_px: float) -> float:
        """Return how wide a picture may become, as a part of its width: infinite if nobody asks.

        Args:
            range_px: largest disparity of the network, in its own pixels.
        """
        return math.inf if self.max_disparity_px is None else range_px / self.max_disparity_px


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the picture is inside what the network sees: all that is needed to come back.

    Attributes:
        size: (height, width) of the given pictures.
        scaled_size: (height, width) after scaling.
        padded_size: (height, width) that the network sees, the picture in its upper left corner.
    """

    size: tuple[int, int]
    scaled_size: tuple[int, int]
    padded_size: tuple[int, int]

    @property
    def is_whole(self) -> bool:
        """Whether the network sees the picture as it is, without scaling or margins."""
        return self.size == self.scaled_size == self.padded_size

    def cropped(self, padded: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a view of the part of a network's map that shows the picture.

        Args:
            padded: (H, W) float32 of `padded_size`.
        """
        height, width = self.scaled_size
        return padded[:height, :width]

    @property
    def width_ratio(self) -> float:
        """Scaled width over given width: what disparities are divided by on the way back."""
        return self.scaled_size[1] / self.size[1]


def rgb_pair(
    left: NDArray[np.uint8], right: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return both pictures as (H, W, 3) uint8 RGB; grey is repeated over the channels.

    Args:
        left: (H, W), (H, W, 1) or (H, W, 3) uint8.
        right: same size; grey and colour may be mixed.

    Raises:
        InputError: another dtype or shape, unequal sizes, or a side under 32 pixels.
    """
    pair = _rgb(left, "left"), _rgb(right, "right")
    left_size, right_size = pair[0].shape[:2], pair[1].shape[:2]
    if left_size != right_size:
        raise InputError(
            f"left image is {_text(left_size)} and right image is {_text(right_size)} (height x "
            "width); a rectified pair has one size: check that they belong together"
        )
    if min(left_size) < MINIMUM_SIDE_PX:
        raise InputError(
            f"images are {_text(left_size)} (height x width); need at least "
            f"{MINIMUM_SIDE_PX} pixels on each side"
        )
    return pair


def padded_pair(
    left: NDArray[np.uint8],
    right: NDArray[np.uint8],
    *,
    scale: float = 1.0,
    fixed_size: tuple[int, int] | None = None,
    multiple_of: int = MULTIPLE_OF,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Frame]:
    """Return the pair as the network takes it, and the frame that leads back.

    Args:
        left: (H, W, 3) uint8 RGB, as `rgb_pair` gives it.
        right: same.
        scale: resize both by it (area averaging down, linear up); other scales than 1 keep the
            aspect but for the stretch to the multiples, of up to a tenth.
        fixed_size: bring to exactly this (height, width) instead of the next multiples.
        multiple_of: of both sides that the network sees.

    Raises:
        InputError: the scaled picture is too small, or larger than `fixed_size`.
        MissingDependencyError: the picture has to be resized and OpenCV is not installed.
    """
    size = left.shape[0], left.shape[1]
    frame = frame_for(size, scale=scale, fixed_size=fixed_size, multiple_of=multiple_of)
    return fit(left, frame), fit(right, frame), frame


def fit(image: NDArray[np.uint8], frame: Frame) -> NDArray[np.uint8]:
    """Return a C-contiguous (H, W, 3) image of `frame.padded_size`: resized, its edges repeated.

    Args:
        image: (H, W, 3) uint8 of `frame.size`.
        frame: where it comes to lie.

    Raises:
        MissingDependencyError: it has to be resized and OpenCV is not installed.
    """
    if frame.scaled_size != frame.size:
        image = _resized(image, frame.scaled_size)
    height, width = frame.scaled_size
    if frame.padded_size == (height, width):
        return np.ascontiguousarray(image)
    # Written by hand: np.pad(mode="edge") takes about ten times as long on a picture.
    padded = np.empty((*frame.padded_size, 3), np.uint8)
    padded[:height, :width] = image
    padded[:height, width:] = image[:, -1:]
    padded[height:] = padded[height - 1]
    return padded


def map_from_padded(
    padded: NDArray[np.float32], frame: Frame, *, copy: bool = True
) -> NDArray[np.float32]:
    """Return a map of the network cropped and resized to the given pictures.

    Args:
        padded: (H, W) float32 of `frame.padded_size`.
        frame: of the pair that went in.
        copy: False gives a view of `padded` where nothing has to be resized.
    """
    cropped = frame.cropped(padded)
    if frame.scaled_size == frame.size:
        return np.array(cropped) if copy else cropped
    cv2 = import_cv2("resizing a map to the picture")
    resized: NDArray[np.float32] = cv2.resize(
        cropped, frame.size[::-1], interpolation=cv2.INTER_LINEAR
    )
    return resized


def disparity_from_padded(
    padded: NDArray[np.float32], frame: Frame, *, copy: bool = True
) -> NDArray[np.float32]:
    """Return the disparity in pixels of the given left picture: cropped, resized and rescaled.

    Resized within a surface, not across a step: what lies between two surfaces is on neither.

    Args:
        padded: (H, W) float32 of `frame.padded_size`, in its pixels.
        frame: where the picture lies.
        copy: False gives a view of `padded` where nothing has to be resized.
    """
    disparity = map_from_padded(padded, frame, copy=copy)
    if frame.scaled_size != frame.size:
        cv2 = import_cv2("resizing a map to the picture")
        nearest = cv2.resize(
            frame.cropped(padded), frame.size[::-1], interpolation=cv2.INTER_NEAREST_EXACT
        )
        # By OpenCV, which takes a fifth of NumPy's time here.
        steps = cv2.compare(cv2.absdiff(disparity, nearest), _STEP_PX, cv2.CMP_GT)
        cv2.copyTo(nearest, steps, disparity)
    if frame.width_ratio != 1:
        np.divide(disparity, np.float32(frame.width_ratio), out=disparity)
    return disparity


def _rgb(image: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    if type(image) is np.ndarray and image.dtype == np.uint8 and image.shape[2:] == (3,):
        return image  # as nearly all are
    if image is None:
        raise InputError(
            f"{name} image is None: the file was not read (cv2.imread gives None where one is "
            "missing or broken); check its path"
        )
    if isinstance(image, str | PathLike):
        raise InputError(
            f"{name} image is the name {str(image)!r}; pass its pixels, a uint8 array (H, W) or "
            "(H, W, 3) RGB: read the files first, with litestereo.runtime.images.read_pair or cv2"
        )
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        what = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(
            f"{name} image is {what}; need a uint8 array (H, W) or (H, W, 3): convert it to 8 bit"
        )
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise InputError(
            f"{name} image has shape {image.shape}; need (H, W) grey or (H, W, 3) RGB: "
            "drop an alpha channel, pass one pair at a time"
        )
    return image if image.shape[2] == 3 else np.repeat(image, 3, axis=2)


def frame_for(
    size: tuple[int, int],
    *,
    scale: float = 1.0,
    fixed_size: tuple[int, int] | None = None,
    multiple_of: int = MULTIPLE_OF,
    largest_ratio: float = math.inf,
) -> Frame:
    """Return where a picture of `size` comes to lie in what the network sees.

    Args:
        size: (height, width).
        scale: of the picture.
        fixed_size: (height, width) of a fixed-size artefact.
        multiple_of: that the network's heights and widths are, where the size is not fixed.
        largest_ratio: do not stretch widths beyond this part of the given ones.

    Raises:
        InputError: the scaled picture is too small, or larger than `fixed_size`.
    """
    # Rounded down, so that a scale chosen for a disparity range never exceeds that range.
    height, width = (math.floor(side * scale + 1e-6) for side in size)
    if min(height, width) < MINIMUM_SIDE_PX:
        raise InputError(
            f"images of {_text(size)} become {height}x{width} at scale {scale:.3g}; need at least "
            f"{MINIMUM_SIDE_PX} pixels on each side: use a larger scale or a smaller "
            "max disparity"
        )
    padded = fixed_size or (_next(height, multiple_of), _next(width, multiple_of))
    if height > padded[0] or width > padded[1]:
        fitting = scale * min(padded[0] / height, padded[1] / width)
        raise InputError(
            f"images of {height}x{width} do not fit the artefact's fixed size {_text(padded)}; "
            f"use a scale of at most {math.floor(fitting * 1000) / 1000:g}, or export a larger "
            "or a dynamic size"
        )
    if (height, width) != size:
        height = _stretched(height, padded[0])
        width = _stretched(width, padded[1], most=size[1] * largest_ratio)
    return Frame(size, (height, width), padded)


def _stretched(side: int, whole: int, *, most: float = math.inf) -> int:
    """Return the whole side where a picture's may be stretched to it, else the picture's own."""
    return whole if whole <= min(side * _MOST_STRETCH, most) else side


def _resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    cv2 = import_cv2("inference at another scale")
    smaller = size[0] < image.shape[0]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    resized: NDArray[np.uint8] = cv2.resize(image, size[::-1], interpolation=interpolation)
    return resized


def _next(side: int, multiple_of: int) -> int:
    return -(-side // multiple_of) * multiple_of


def _text(size: tuple[Any, ...]) -> str:
    return f"{size[0]}x{size[1]}"
