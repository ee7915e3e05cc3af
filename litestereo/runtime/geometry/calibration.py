"""What is known about a stereo rig: two eyes, the step between them, and the size that it is for.

Convention: pixel centres are whole numbers (the top left one is (0, 0)); cameras look along +z with
x to the right and y down; `right_from_left` moves points: x_right = R x_left + t, so that the right
eye of an ordinary rig has t near (-baseline, 0, 0).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError

__all__ = ["Calibration", "Distortion", "Eye", "GivenRectification", "rotation_matrix"]

Distortion = Literal["none", "radtan", "equidistant"]
Rotation = tuple[float, float, float, float, float, float, float, float, float]

IDENTITY: Rotation = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
# OpenCV's radial-tangential family: k1 k2 p1 p2 [k3 [k4 k5 k6 [s1..s4 [tx ty]]]]; fisheye: k1..k4.
_COEFFICIENT_COUNTS: dict[str, tuple[int, ...]] = {
    "none": (0,),
    "radtan": (4, 5, 8, 12, 14),
    "equidistant": (4,),
}
# Files round their rotations to 6 or 7 digits.
_ORTHONORMAL_WITHIN = 1e-3
_ONE_PIXEL = 1.0
_LONGEST_SIDE = 32766  # OpenCV's remap refuses more


@dataclass(frozen=True, slots=True)
class Eye:
    """One camera of the pair.

    Attributes:
        fx_px: focal length along the rows, in pixels.
        fy_px: focal length along the columns.
        cx_px: column of the principal point.
        cy_px: row of the principal point.
        distortion: the lens model; "radtan" is OpenCV's, "equidistant" its fisheye.
        coefficients: of that model, in OpenCV's order.
    """

    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    distortion: Distortion = "none"
    coefficients: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no camera can have."""
        numbers = (self.fx_px, self.fy_px, self.cx_px, self.cy_px, *self.coefficients)
        if not all(math.isfinite(number) for number in numbers):
            raise InputError(
                f"the camera has a number that is not finite: {numbers}; calibrate again"
            )
        if min(self.fx_px, self.fy_px) <= 0:
            raise InputError(
                f"the focal length is {self.fx_px:g} x {self.fy_px:g} px; it must be above 0: "
                "calibrate again"
            )
        if self.distortion not in get_args(Distortion):
            known = ", ".join(get_args(Distortion))
            raise InputError(f"the lens model is {self.distortion!r}; there is {known}")
        counts = _COEFFICIENT_COUNTS[self.distortion]
        if len(self.coefficients) not in counts:
            raise InputError(
                f"the {self.distortion} lens has {len(self.coefficients)} coefficients; "
                f"it takes {' or '.join(map(str, counts))}"
            )

    @property
    def is_ideal(self) -> bool:
        """Whether the lens is a pinhole: no distortion at all."""
        return not any(self.coefficients)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The (3, 3) camera matrix."""
        rows = [[self.fx_px, 0, self.cx_px], [0, self.fy_px, self.cy_px], [0, 0, 1]]
        return np.array(rows, np.float64)

    def scaled(self, factors: tuple[float, float]) -> Eye:
        """Return the eye for pictures resized by `factors` (height, width); edges stay edges.

        Args:
            factors: new over old size.
        """
        down, along = factors
        return dataclasses.replace(
            self,
            fx_px=self.fx_px * along,
            fy_px=self.fy_px * down,
            cx_px=(self.cx_px + 0.5) * along - 0.5,
            cy_px=(self.cy_px + 0.5) * down - 0.5,
        )


@dataclass(frozen=True, slots=True)
class GivenRectification:
    """How the file itself says that the raw pictures are rectified.

    Attributes:
        left_rotation: (9,) row by row, from the raw left camera to the rectified one.
        right_rotation: same, right.
        left: the rectified left eye.
        right: the rectified right eye.
        size: (height, width) of the rectified pictures; None: as the raw ones.
    """

    left_rotation: Rotation
    right_rotation: Rotation
    left: Eye
    right: Eye
    size: tuple[int, int] | None = None

    def scaled(self, factors: tuple[float, float]) -> GivenRectification:
        """Return the same for pictures resized by `factors` (height, width).

        Args:
            factors: new over old size.
        """
        size = self.size
        if size is not None:
            size = round(size[0] * factors[0]), round(size[1] * factors[1])
        return dataclasses.replace(
            self, left=self.left.scaled(factors), right=self.right.scaled(factors), size=size
        )


@dataclass(frozen=True, slots=True)
class Calibration:
    """A stereo rig, in pixels and metres.

    Attributes:
        left: the left eye.
        right: the right eye.
        baseline_m: distance of the two.
        size: (height, width) of the pictures it is for; None where the file does not say.
        rectified: whether it describes rectified pictures (rows aligned, no distortion).
        rotation: (9,) row by row, `right_from_left`.
        translation_m: (3,), `right_from_left`.
        given: the file's own rectification; None: it is computed where it is needed.
        source: the format it was read from.
        notes: what was converted, chosen or assumed on the way, in words.
    """

    left: Eye
    right: Eye
    baseline_m: float
    size: tuple[int, int] | None = None
    rectified: bool = True
    rotation: Rotation = IDENTITY
    translation_m: tuple[float, float, float] | None = None
    given: GivenRectification | None = None
    source: str = "arguments"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse rigs that cannot be."""
        if not (math.isfinite(self.baseline_m) and self.baseline_m > 0):
            raise InputError(f"the baseline is {self.baseline_m:g} m; it must be above 0")
        if self.size is not None and not 1 <= min(self.size) <= max(self.size) <= _LONGEST_SIDE:
            raise InputError(
                f"the size is {_text(self.size)}; sides must be from 1 to {_LONGEST_SIDE}: scale "
                "larger pictures down first"
            )
        if self.translation_m is None:
            object.__setattr__(self, "translation_m", (-self.baseline_m, 0.0, 0.0))
        self._check_rotation()
        self._check_step()
        self._check_principal_points()
        if self.rectified:
            self._check_rectified()

    @property
    def doffs_px(self) -> float:
        """Right principal column less the left one; infinity has the disparity -doffs."""
        return self.right.cx_px - self.left.cx_px

    @property
    def focal_px(self) -> float:
        """The focal length that depth is computed with."""
        return self.left.fx_px

    def for_size(self, size: tuple[int, int]) -> Calibration:
        """Return the calibration for the same pictures at another (height, width).

        Args:
            size: (height, width) of the pictures.

        Raises:
            InputError: the shape differs, so that pictures were cropped and not resized.
        """
        if self.size is None:
            return dataclasses.replace(self, size=size)
        if self.size == size:
            return self
        factors = size[0] / self.size[0], size[1] / self.size[1]
        tolerance = _ONE_PIXEL / min(*size, *self.size)
        if abs(factors[0] / factors[1] - 1) > 2 * tolerance:
            raise InputError(
                f"the calibration is for {_text(self.size)} and the pictures are {_text(size)}: "
                "another shape, so they were cropped or are of another camera mode; calibrate at "
                "this size, or correct size and principal point in the file"
            )
        given = self.given and self.given.scaled(factors)
        note = f"calibration of {_text(self.size)} scaled to {_text(size)}"
        return dataclasses.replace(
            self,
            left=self.left.scaled(factors),
            right=self.right.scaled(factors),
            size=size,
            given=given,
            notes=(*self.notes, note),
        )

    def _check_rotation(self) -> None:
        rotations = [("between the eyes", self.rotation)]
        if self.given is not None:
            rotations.append(("that rectifies the left eye", self.given.left_rotation))
            rotations.append(("that rectifies the right eye", self.given.right_rotation))
        for what, rotation in rotations:
            matrix = rotation_matrix(rotation)
            error = float(np.abs(matrix @ matrix.T - np.eye(3)).max())
            if not error < _ORTHONORMAL_WITHIN or np.linalg.det(matrix) < 0:
                raise InputError(
                    f"the rotation {what} is no rotation (R R^T is off by {error:.2g}); "
                    "need 9 numbers row by row: check that the file is whole"
                )

    def _check_step(self) -> None:
        assert self.translation_m is not None
        x, y, z = self.translation_m
        if not math.isclose(math.hypot(x, y, z), self.baseline_m, rel_tol=1e-3):
            raise InputError(
                f"the step between the eyes is {math.hypot(x, y, z):g} m long and the baseline "
                f"{self.baseline_m:g} m; they must agree: correct one of them"
            )
        if abs(x) < max(abs(y), abs(z)):
            raise InputError(
                f"the eyes are {x:.3g}, {y:.3g}, {z:.3g} m apart along x, y, z; need a rig side "
                "by side: turn pictures of a vertical rig by 90 degrees and calibrate those"
            )
        if x > 0:
            raise InputError(
                f"the file's second camera stands {x:g} m left of its first; need left first: "
                "swap the cameras in the calibration (and the pictures, if they are swapped too)"
            )

    def _check_principal_points(self) -> None:
        if self.size is None:
            return
        height, width = self.size
        for name, eye in (("left", self.left), ("right", self.right)):
            if not (0 < eye.cx_px < width and 0 < eye.cy_px < height):
                raise InputError(
                    f"the {name} principal point ({eye.cx_px:g}, {eye.cy_px:g}) lies outside "
                    f"{_text(self.size)} pictures; the calibration is for another size: give the "
                    "one made at this size, or scale fx, fy, cx, cy with the pictures"
                )

    def _check_rectified(self) -> None:
        if not (self.left.is_ideal and self.right.is_ideal):
            raise InputError("a rectified calibration has lens distortion; mark it as raw")
        if not math.isclose(self.left.fx_px, self.right.fx_px, rel_tol=5e-3):
            raise InputError(
                f"rectified eyes have focal lengths {self.left.fx_px:g} and {self.right.fx_px:g} "
                "px; they must be alike: give the rectified matrices (P1, P2), or the whole raw "
                "calibration with R and T"
            )


def rotation_matrix(rotation: Rotation) -> NDArray[np.float64]:
    """Return nine numbers as a (3, 3) matrix.

    Args:
        rotation: row by row.
    """
    return np.array(rotation, np.float64).reshape(3, 3)


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
