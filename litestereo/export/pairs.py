"""The stereo pairs on which an artefact is judged before it is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from litestereo.errors import ExportError
from litestereo.export.options import ExportOptions

__all__ = ["Pair", "gate_pairs"]

_Picture = npt.NDArray[np.uint8]

# A size of its own for the second look at a dynamic graph: other proportions, odd in units of 32.
_SECOND_SIZE = (288, 416)
_FIRST_SIZE = (480, 640)


@dataclass(frozen=True, slots=True)
class Pair:
    """A rectified pair of one size.

    Attributes:
        name: what a report calls it.
        left: (H, W, 3) uint8 RGB, H and W multiples of 32.
        right: the same from the right camera.
    """

    name: str
    left: _Picture
    right: _Picture

    @property
    def size(self) -> tuple[int, int]:
        """The pair's (height, width) in pixels."""
        return self.left.shape[0], self.left.shape[1]


def gate_pairs(options: ExportOptions) -> tuple[Pair, Pair]:
    """Return the two pairs that judge an artefact.

    A dynamic artefact is judged at two sizes. A fixed one runs at its own size only, so its second
    pair is the first one in a mirror: the right eye becomes the left one, and all content moves.

    Raises:
        ExportError: if the pictures of `options.pair`, or the bundled ones, cannot be read.
    """
    left, right = (_read(path) for path in _paths(options))
    if left.shape != right.shape:
        raise ExportError(
            f"the gate's left picture is {left.shape[0]}x{left.shape[1]} but its right one is "
            f"{right.shape[0]}x{right.shape[1]}; give a rectified pair of one size"
        )
    first = _resized(left, right, size=options.size or _FIRST_SIZE, name="pair")
    if options.size is None:
        return first, _resized(left, right, size=_SECOND_SIZE, name="pair")
    return first, mirrored(first)


def mirrored(pair: Pair) -> Pair:
    """Return the pair as seen in a mirror: again a rectified pair, of other content."""
    left = np.ascontiguousarray(pair.right[:, ::-1])
    right = np.ascontiguousarray(pair.left[:, ::-1])
    return Pair(f"{pair.name}, mirrored", left, right)


def _paths(options: ExportOptions) -> tuple[Path, Path]:
    """Return the pictures to judge with."""
    from litestereo.assets import demo_pair

    return options.pair or demo_pair()


def _read(path: Path) -> _Picture:
    """Return a picture as (H, W, 3) uint8 RGB."""
    import cv2

    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ExportError(f"{path} is not a readable picture; pass two pictures with --pair")
    return np.ascontiguousarray(picture[:, :, ::-1]).astype(np.uint8, copy=False)


def _resized(left: _Picture, right: _Picture, *, size: tuple[int, int], name: str) -> Pair:
    """Return the pair at another size; disparities scale with the width."""
    import cv2

    def resize(picture: _Picture) -> _Picture:
        scaled = cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(scaled).astype(np.uint8, copy=False)

    return Pair(name, resize(left), resize(right))
