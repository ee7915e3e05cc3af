"""What cameras and videos share: one eye, and the halves of its pictures."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError
from litestereo.runtime.opencv import import_cv2
from litestereo.runtime.stream.frames import SourceFrame
from litestereo.runtime.stream.pairing import Stamped
from litestereo.runtime.stream.sources import Clock

__all__ = ["EyeReader", "SideBySideReader", "rgb_from_decoded"]

Image = NDArray[np.uint8]


class EyeReader(Protocol):
    """An open camera or video file."""

    def read(self) -> Stamped | None:
        """Return the next picture; None at the end."""

    def release(self) -> None:
        """Close it."""


class SideBySideReader:
    """Splits the pictures of one eye into halves.

    Attributes:
        unpaired: 0, as both halves are of one moment.
    """

    unpaired = 0

    def __init__(self, eye: EyeReader, clock: Clock, *, live: bool) -> None:
        """Take over an open eye.

        Args:
            eye: whose pictures hold both halves.
            clock: of the stream, in seconds.
            live: whether the eye's stamps are of that clock, as a camera's are.
        """
        self._eye = eye
        self._clock = clock
        self._live = live

    def read(self) -> SourceFrame | None:
        """Return the next pair; None at the end.

        Raises:
            InputError: a picture has no two halves, or the eye cannot be read.
        """
        stamped = self._eye.read()
        if stamped is None:
            return None
        width = stamped.picture.shape[1]
        if width % 2:
            raise InputError(
                f"the pictures are {width} pixels wide; side by side they have two halves of one "
                "width: give two cameras or files instead"
            )
        left, right = stamped.picture[:, : width // 2], stamped.picture[:, width // 2 :]
        captured_s = stamped.stamp_s if self._live else self._clock()
        return SourceFrame(left, right, captured_s, stamp_s=stamped.stamp_s)

    def stop(self) -> None:
        """Do nothing: a camera's read cannot be cut short, and ends with its next picture."""

    def close(self) -> None:
        """Close the eye."""
        self._eye.release()


def rgb_from_decoded(picture: NDArray[Any]) -> Image:
    """Return a picture of OpenCV's as RGB or grey.

    Args:
        picture: (H, W, 3) BGR or (H, W) grey, uint8.
    """
    if picture.ndim == 2:
        return picture
    cv2 = import_cv2("cameras and videos")
    converted: Image = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return converted
