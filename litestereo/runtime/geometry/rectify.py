"""Rectification of raw pairs: maps are computed once, pictures then go through them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError
from litestereo.runtime.geometry.calibration import (
    IDENTITY,
    Calibration,
    Eye,
    GivenRectification,
    rotation_matrix,
)
from litestereo.runtime.geometry.fields import flat_rotation
from litestereo.runtime.opencv import import_cv2

__all__ = ["Rectifier", "rectification_of", "rectified_calibration"]

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Maps:
    """OpenCV's fixed-point maps: whole pixels, and a table index of the 1/32 px rest."""

    whole: NDArray[np.int16]
    rest: NDArray[np.uint16]


class Rectifier:
    """Turns raw pairs of one calibration into rectified ones; safe to share between threads.

    Attributes:
        calibration: of the rectified pictures: what depth is computed with.
        size: (height, width) of the rectified pictures.

    Example:
        rectifier = Rectifier(read_calibration(Path("stereo.yaml"), size=left.shape[:2]))
        left, right = rectifier(left, right)
        depth = DepthMapper(rectifier.calibration, size=rectifier.size)
    """

    def __init__(self, calibration: Calibration) -> None:
        """Compute the maps; takes some 10 ms for each megapixel.

        Raises:
            InputError: the calibration has no size, or is of rectified pictures already.
        """
        if calibration.rectified:
            raise InputError(
                "the calibration is of rectified pictures; there is nothing to rectify"
            )
        plan = rectification_of(calibration)
        assert calibration.size is not None
        self._raw_size = calibration.size
        self.size = plan.size or calibration.size
        self.calibration = rectified_calibration(calibration, plan=plan)
        self._maps = (
            _maps(calibration.left, rotation_matrix(plan.left_rotation), plan.left, self.size),
            _maps(calibration.right, rotation_matrix(plan.right_rotation), plan.right, self.size),
        )

    def __call__(self, left: Image, right: Image) -> tuple[Image, Image]:
        """Return the rectified pair; what the raw pictures do not show is black.

        Args:
            left: (H, W) or (H, W, 3) uint8, of the calibration's size.
            right: same.
        """
        cv2 = import_cv2("rectification")
        for name, image in (("left", left), ("right", right)):
            if image.shape[:2] != self._raw_size:
                raise InputError(
                    f"{name} image is {image.shape[0]}x{image.shape[1]} but the maps are for "
                    f"{self._raw_size[0]}x{self._raw_size[1]}; make a Rectifier for this size "
                    "(calibration.for_size)"
                )
        done = [
            cv2.remap(image, maps.whole, maps.rest, cv2.INTER_LINEAR)
            for image, maps in zip((left, right), self._maps, strict=True)
        ]
        return done[0], done[1]


def rectification_of(calibration: Calibration) -> GivenRectification:
    """Return how a raw rig is rectified: as its file says, else by halves of the rotation.

    Computed: both eyes are turned to look across the baseline, with the smallest common zoom at
    which OpenCV's lens model fills the picture; a fisheye keeps its focal length instead, because
    no pinhole picture holds all of it.
    """
    if calibration.size is None:
        raise InputError("the calibration does not say its size; give the pictures' with for_size")
    if calibration.given is not None:
        return calibration.given
    assert calibration.translation_m is not None
    cv2 = import_cv2("rectification")
    height, width = calibration.size
    left, right = calibration.left, calibration.right
    fisheye = "equidistant" in (left.distortion, right.distortion)
    lenses = [np.array(() if fisheye else eye.coefficients, np.float64) for eye in (left, right)]
    lenses = [each if each.size else np.zeros(5) for each in lenses]
    first, second, new_left, new_right, *_ = cv2.stereoRectify(
        left.matrix,
        lenses[0],
        right.matrix,
        lenses[1],
        (width, height),
        rotation_matrix(calibration.rotation),
        np.array(calibration.translation_m, np.float64).reshape(3, 1),
        flags=cv2.CALIB_ZERO_DISPARITY,
        alpha=-1 if fisheye else 0,
    )
    return GivenRectification(
        flat_rotation(first), flat_rotation(second), _pinhole(new_left), _pinhole(new_right)
    )


def rectified_calibration(
    calibration: Calibration, *, plan: GivenRectification | None = None
) -> Calibration:
    """Return the calibration of the pictures that rectification gives; a rectified one as it is.

    Args:
        calibration: with its size.
        plan: as `rectification_of` gives it; None computes it.
    """
    if calibration.rectified:
        return calibration
    plan = plan or rectification_of(calibration)
    return dataclasses.replace(
        calibration,
        left=plan.left,
        right=plan.right,
        size=plan.size or calibration.size,
        rectified=True,
        rotation=IDENTITY,
        translation_m=(-calibration.baseline_m, 0.0, 0.0),
        given=None,
    )


def _pinhole(projection: NDArray[np.float64]) -> Eye:
    fx, fy, cx, cy = (float(projection[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    return Eye(fx, fy, cx, cy)


def _maps(eye: Eye, turn: NDArray[np.float64], target: Eye, size: tuple[int, int]) -> _Maps:
    cv2 = import_cv2("rectification")
    coefficients = np.array(eye.coefficients or (0.0,) * 4, np.float64)
    compute: Any = (
        cv2.fisheye.initUndistortRectifyMap
        if eye.distortion == "equidistant"
        else cv2.initUndistortRectifyMap
    )
    maps = compute(eye.matrix, coefficients, turn, target.matrix, size[::-1], cv2.CV_16SC2)
    return _Maps(*maps)
