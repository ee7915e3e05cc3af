"""Which unit a baseline is in: what is clear is converted and said, what is not is asked."""

from __future__ import annotations

import math

from litestereo.errors import InputError

__all__ = ["baseline_in_metres"]

# Rigs run from a few millimetres (endoscopes) to two metres (cars, aircraft); millimetre readings
# of the same rigs start where metres end, apart from a gap that only centimetres, inches or the
# squares of a chessboard fill.
_METRES = (0.001, 2.0)
_MILLIMETRES = (20.0, 2000.0)


def baseline_in_metres(length: float, *, expected: str = "m") -> tuple[float, tuple[str, ...]]:
    """Return a file's baseline in metres, and a note where its unit is not the expected one.

    Args:
        length: as the file has it, above 0.
        expected: "m" or "mm": the unit that the format is documented to use.

    Raises:
        InputError: it is no length, or fits neither unit.
    """
    if not (math.isfinite(length) and length > 0):
        raise InputError(f"the baseline is {length:g}; it must be above 0: check the calibration")
    if _METRES[0] <= length < _METRES[1]:
        if expected == "m":
            return length, ()
        return length, (f"baseline {length:g} taken as metres, though the format has millimetres",)
    if _MILLIMETRES[0] <= length <= _MILLIMETRES[1]:
        note = f"baseline {length:g} taken as millimetres: {length / 1000:g} m"
        return length / 1000, (note,) if expected == "m" else ()
    if expected == "mm" and _METRES[1] <= length < _MILLIMETRES[0]:
        return length / 1000, ()
    raise InputError(
        f"the baseline is {length:g}, which is neither metres ({_METRES[0]:g} to {_METRES[1]:g}) "
        f"nor millimetres ({_MILLIMETRES[0]:g} to {_MILLIMETRES[1]:g}): perhaps centimetres or "
        "squares of the chessboard; say it in metres with --baseline"
    )
