"""How a calibration set is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from litestereo.errors import CalibrationError

__all__ = ["HELD_OUT_EVERY", "MINIMUM_PAIRS", "CalibrateOptions"]

MINIMUM_PAIRS = 12
"""The fewest distinct pairs of a set. A quarter is held out; of the other nine, the largest value
of an activation is still the ninth part of what was seen, and one odd pair decides no range."""

HELD_OUT_EVERY = 4
"""Each fourth pair, in the order of the selection, is kept from the ranges to judge the result."""


@dataclass(frozen=True, slots=True)
class CalibrateOptions:
    """Say what goes into a set.

    Attributes:
        count: most pairs of the set, those held out included.
        side_by_side: files, patterns and folders hold both eyes in each picture.
        every_s: seconds between the frames that are taken of a video.
        skip_broken: leave pairs out that cannot be read or used, instead of refusing.
    """

    count: int = 32
    side_by_side: bool = False
    every_s: float = 0.5
    skip_broken: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that give no set."""
        if self.count < MINIMUM_PAIRS:
            raise CalibrationError(
                f"count is {self.count}; a set needs at least {MINIMUM_PAIRS} pairs, a quarter of "
                "which is held out to judge the result"
            )
        if not self.every_s > 0:
            raise CalibrationError(f"every_s is {self.every_s}; it must be above 0 seconds")

    def to_json(self) -> dict[str, object]:
        """Return the options as JSON values, for the set's file."""
        return asdict(self)
