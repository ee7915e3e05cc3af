"""Turning what calibration files hold into numbers, eyes and rigs; shared by all formats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError
from litestereo.runtime.geometry.calibration import (
    IDENTITY,
    Calibration,
    Distortion,
    Eye,
    GivenRectification,
    Rotation,
)
from litestereo.runtime.geometry.units import baseline_in_metres

__all__ = [
    "eye_from_matrix",
    "flat_rotation",
    "lens",
    "numbers",
    "raw_rig",
    "rectified_rig",
    "rotation_from",
    "rotation_from_vector",
    "size_from",
]

_LONGEST_SIDE_PX = 100_000
# Products of three such numbers are still finite.
_LARGEST = 1e15

_LENSES: dict[str, Distortion] = {
    "": "radtan",
    "none": "none",
    "pinhole": "radtan",
    "plumb_bob": "radtan",
    "radtan": "radtan",
    "rational_polynomial": "radtan",
    "thin_prism": "radtan",
    "equidistant": "equidistant",
    "fisheye": "equidistant",
    "kannala_brandt": "equidistant",
    "kannala_brandt4": "equidistant",
}


def numbers(value: Any, *, what: str, counts: Sequence[int]) -> tuple[float, ...]:  # noqa: ANN401
    """Return a matrix or list of any nesting as numbers, row by row.

    Args:
        value: lists, or OpenCV's {rows, cols, dt, data}.
        what: its name in the file, for the message.
        counts: how many there may be; empty: any number.

    Raises:
        InputError: missing, not numbers, or not as many.
    """
    if isinstance(value, Mapping):
        value = value.get("data")
    flat = list(_flat(value))
    if not flat or any(isinstance(n, bool) or not isinstance(n, int | float) for n in flat):
        raise InputError(f"{what} is {_short(value)}; need numbers")
    if counts and len(flat) not in counts:
        raise InputError(
            f"{what} has {len(flat)} numbers; it takes {' or '.join(map(str, counts))}"
        )
    try:
        found = tuple(float(n) for n in flat)
    except OverflowError as error:  # a whole number beyond every float
        raise InputError(f"{what} holds {_short(value)}; no camera has such numbers") from error
    if not all(abs(n) <= _LARGEST for n in found):
        raise InputError(
            f"{what} holds NaN, infinity or a number above {_LARGEST:g}; calibrate again"
        )
    return found


def size_from(width: float, height: float, *, what: str) -> tuple[int, int]:
    """Return (height, width) in whole pixels.

    Args:
        width: as the file has it, pixels.
        height: as the file has it, pixels.
        what: what it is, for messages.

    Raises:
        InputError: they are no size that a picture has.
    """
    if not (0 < width <= _LONGEST_SIDE_PX and 0 < height <= _LONGEST_SIDE_PX):
        raise InputError(f"{what} is {width:g} x {height:g}; need the pictures' width and height")
    return round(height), round(width)


def rotation_from(value: Any, *, what: str) -> Rotation:  # noqa: ANN401
    """Return nine numbers, or three of a rotation vector, as a rotation.

    Args:
        value: as the file has it: nested lists, or text.
        what: what it is, for messages.
    """
    found = numbers(value, what=what, counts=(3, 9))
    if len(found) == 9:
        return cast(Rotation, found)
    return rotation_from_vector(cast(tuple[float, float, float], found))


def rotation_from_vector(vector: tuple[float, float, float]) -> Rotation:
    """Return the rotation by |vector| radians around it.

    Args:
        vector: axis times angle, radians.
    """
    angle = math.hypot(*vector)
    if angle == 0:
        return IDENTITY
    x, y, z = (part / angle for part in vector)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return flat_rotation(matrix)


def flat_rotation(matrix: NDArray[np.float64]) -> Rotation:
    """Return a (3, 3) matrix row by row.

    Args:
        matrix: a rotation.
    """
    return cast(Rotation, tuple(float(n) for n in matrix.ravel()))


def lens(name: Any, coefficients: Any, *, what: str) -> tuple[Distortion, tuple[float, ...]]:  # noqa: ANN401
    """Return the lens model of a name that a format uses, and its coefficients.

    Args:
        name: as the file has it.
        coefficients: in OpenCV's order; None or empty is an ideal lens.
        what: what it is, for messages.

    Raises:
        InputError: a model that OpenCV cannot undistort, such as Kalibr's fov.
    """
    model = _LENSES.get(str(name or "").lower())
    if model is None:
        raise InputError(
            f"{what} has the lens model {name!r}; need radtan (plumb_bob, rational_polynomial) or "
            "equidistant: calibrate again with one of them"
        )
    if model == "none" or coefficients in (None, [], ()):
        return "none", ()
    found = numbers(coefficients, what=f"{what}'s distortion", counts=())
    return ("none", ()) if not any(found) else (model, found)


def eye_from_matrix(
    matrix: Any,  # noqa: ANN401
    *,
    what: str,
    distortion: Distortion = "none",
    coefficients: tuple[float, ...] = (),
) -> Eye:
    """Return an eye from a 3x3 camera matrix or a 3x4 projection, row by row.

    Args:
        matrix: as the file has it.
        what: what it is, for messages.
        distortion: model of the lens.
        coefficients: of that model, in OpenCV's order.

    Raises:
        InputError: it is no matrix of a camera without skew.
    """
    found = numbers(matrix, what=what, counts=(9, 12))
    columns = len(found) // 3
    fx, skew, cx = found[:3]
    fy, cy, one = found[columns + 1], found[columns + 2], found[2 * columns + 2]
    if abs(skew) > 1e-3 * fx or abs(one - 1) > 1e-6 or found[columns] or found[2 * columns]:
        raise InputError(
            f"{what} is {_short(found)}; need fx 0 cx, 0 fy cy, 0 0 1 (row by row, without skew)"
        )
    return Eye(fx, fy, cx, cy, distortion, coefficients)


def rectified_rig(
    left: Eye,
    right: Eye,
    *,
    baseline: float,
    unit: str,
    source: str,
    size: tuple[int, int] | None = None,
    notes: tuple[str, ...] = (),
    baseline_m: float | None = None,
) -> Calibration:
    """Return the rig of rectified pictures; `baseline_m` overrides the file's `baseline`.

    Args:
        left: pinhole of the left pictures.
        right: pinhole of the right pictures.
        baseline: as the file has it, in `unit`.
        unit: that the format prescribes.
        source: name of the format.
        size: (height, width) of the pictures, where the file says it.
        notes: for who reads the result.
        baseline_m: metres; None takes the file's.
    """
    metres, said = (baseline_m, ()) if baseline_m else baseline_in_metres(baseline, expected=unit)
    return Calibration(
        left, right, baseline_m=metres, size=size, source=source, notes=(*notes, *said)
    )


def raw_rig(
    left: Eye,
    right: Eye,
    *,
    rotation: Rotation,
    translation: tuple[float, ...],
    unit: str,
    source: str,
    size: tuple[int, int] | None = None,
    given: GivenRectification | None = None,
    baseline_m: float | None = None,
) -> Calibration:
    """Return the rig of raw pictures, or of rectified ones where there is nothing to rectify.

    Args:
        left: with its lens.
        right: same.
        rotation: `right_from_left`.
        translation: (3,) `right_from_left`, in the file's unit.
        unit: what the format says that is.
        source: name of the format.
        size: (height, width) of the raw pictures.
        given: the file's own rectification.
        baseline_m: overrides the length of `translation`.

    Raises:
        InputError: both cameras are at one place, or the baseline has an unclear unit.
    """
    length = math.hypot(*translation)
    metres, said = (baseline_m, ()) if baseline_m else baseline_in_metres(length, expected=unit)
    if not length:
        raise InputError("the file puts both cameras at one place; need the step between them")
    x, y, z = (part * metres / length for part in translation)
    ideal = left.is_ideal and right.is_ideal and left.matrix.tolist() == right.matrix.tolist()
    # Files write a straight rig with a few digits of noise; a ten-thousandth of a radian is the
    # tenth of a pixel at 1000 px of focal length.
    straight = max(abs(y), abs(z)) < 1e-4 * metres and np.allclose(rotation, IDENTITY, atol=1e-4)
    return Calibration(
        left,
        right,
        baseline_m=metres,
        size=size,
        rectified=bool(ideal and straight),
        rotation=rotation,
        translation_m=(x, y, z),
        given=given,
        source=source,
        notes=said,
    )


def _flat(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, list | tuple):
        for each in value:
            yield from _flat(each)
    else:
        yield value


def _short(value: Any) -> str:  # noqa: ANN401
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
