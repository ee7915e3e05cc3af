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
from litestereo.runtime.preprocess import Frame

__all__ = ["Rectifier", "rectification_of", "rectified_calibration"]

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Eye:
    """A raw eye, how it is turned, and the rectified eye that comes of it."""

    raw: Eye
    turn: NDArray[np.float64]
    rectified: Eye


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
        outside: (H, W) bool, where the raw left picture does not show what the rectified one
            would; None: it shows all of it.
        right_outside: same of the right pictures, whose black matches nothing.

    Example:
        rectifier = Rectifier(read_calibration("stereo.yaml", size=left.shape[:2]))
        left, right = rectifier(left, right)
        depth = DepthMapper(rectifier.calibration, size=rectifier.size)
    """

    def __init__(self, calibration: Calibration) -> None:
        """Compute the maps; takes some 10 ms for each megapixel.

        Args:
            calibration: of raw pictures, with their size.

        Raises:
            InputError: the calibration has no size, or is of rectified pictures already.
        """
        if calibration.rectified:
            raise InputError(
                "the calibration is of rectified pictures; there is nothing to rectify: use the "
                "pictures as they are"
            )
        plan = rectification_of(calibration)
        assert calibration.size is not None
        self._raw_size = calibration.size
        self.size = plan.size or calibration.size
        self.calibration = rectified_calibration(calibration, plan=plan)
        turns = rotation_matrix(plan.left_rotation), rotation_matrix(plan.right_rotation)
        self._eyes = (
            _Eye(calibration.left, turns[0], plan.left),
            _Eye(calibration.right, turns[1], plan.right),
        )
        cv2 = import_cv2("rectification")
        exact = [_maps(eye, size=self.size, kind=cv2.CV_32FC1) for eye in self._eyes]
        self.outside, self.right_outside = (_outside(*m, size=self._raw_size) for m in exact)
        self._maps = [_Maps(*cv2.convertMaps(*maps, cv2.CV_16SC2)) for maps in exact]

    def __call__(self, left: Image, right: Image) -> tuple[Image, Image]:
        """Return the rectified pair; what the raw pictures do not show is black.

        Args:
            left: (H, W) or (H, W, 3) uint8, of the calibration's size.
            right: same.

        Raises:
            InputError: a picture has another size.
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

    def sampling_maps(self, frame: Frame) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return where in the raw pictures each pixel is that the network sees, for both eyes.

        One pass over these maps rectifies, resizes and pads: for a sampler on the GPU, such as
        torch's grid_sample (examples/gpu_tensors.py) or cupyx's map_coordinates. It reads four
        pixels each time, which is coarse where a picture shrinks to less than half.

        Args:
            frame: as `engine.frame_for(rectifier.size)` gives it.

        Returns:
            (H, W, 2) float32 of `frame.padded_size`: x and y in raw pixels, left and right.

        Raises:
            InputError: the frame is for another size.
        """
        if frame.size != self.size:
            raise InputError(
                f"the frame is for {frame.size}; rectified pictures are {self.size}: take "
                "engine.frame_for(rectifier.size)"
            )
        left, right = (_sampling_map(eye, frame) for eye in self._eyes)
        return left, right


def rectification_of(calibration: Calibration) -> GivenRectification:
    """Return how a raw rig is rectified: as its file says, else by halves of the rotation.

    Computed: both eyes are turned to look across the baseline, with the smallest common zoom at
    which OpenCV's lens model fills the picture; a fisheye keeps its focal length instead, because
    no pinhole picture holds all of it.

    Args:
        calibration: of raw pictures, with their size.

    Raises:
        InputError: the calibration has no size.
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


def _maps(eye: _Eye, *, size: tuple[int, int], kind: int) -> Any:  # noqa: ANN401 - two arrays
    """Return OpenCV's two maps of a `kind` from rectified to raw pixels."""
    cv2 = import_cv2("rectification")
    raw = eye.raw
    coefficients = np.array(raw.coefficients or (0.0,) * 4, np.float64)
    compute: Any = (
        cv2.fisheye.initUndistortRectifyMap
        if raw.distortion == "equidistant"
        else cv2.initUndistortRectifyMap
    )
    return compute(raw.matrix, coefficients, eye.turn, eye.rectified.matrix, size[::-1], kind)


def _outside(
    across: NDArray[np.float32], down: NDArray[np.float32], *, size: tuple[int, int]
) -> NDArray[np.bool_] | None:
    """Return where maps leave pictures of `size`, or come back into them: None if nowhere.

    Far outside of the lens's field its polynomial turns round, and the picture appears mirrored.
    """
    height, width = size
    # Computed maps miss whole pixels by some thousandths.
    inside = (across > -0.01) & (across < width - 0.99) & (down > -0.01) & (down < height - 0.99)
    across_by_row, across_by_column = np.gradient(across)
    down_by_row, down_by_column = np.gradient(down)
    inside &= across_by_column * down_by_row > across_by_row * down_by_column
    outside: NDArray[np.bool_] = ~inside
    return outside if outside.any() else None


def _sampling_map(eye: _Eye, frame: Frame) -> NDArray[np.float32]:
    height, width = frame.scaled_size
    factors = height / frame.size[0], width / frame.size[1]
    scaled = dataclasses.replace(eye, rectified=eye.rectified.scaled(factors))
    across, down = _maps(scaled, size=frame.scaled_size, kind=import_cv2("rectification").CV_32FC1)
    below, right = frame.padded_size[0] - height, frame.padded_size[1] - width
    around = ((0, below), (0, right), (0, 0))
    both: NDArray[np.float32] = np.pad(np.stack([across, down], axis=2), around, mode="edge")
    return both
