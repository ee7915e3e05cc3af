"""The stereo pairs on which an artefact is judged before it is written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from litestereo.errors import ExportError
from litestereo.export.options import ExportOptions
from litestereo.runtime.images import StereoPair, read_pair
from litestereo.runtime.preprocess import MULTIPLE_OF, padded_pair

__all__ = ["Pair", "gate_pairs", "mirrored"]

# The second look at a dynamic graph: other proportions, both sides odd in units of 32.
_SECOND_SIZE = (288, 416)


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A rectified pair of a size that the networks take.

    Attributes:
        name: what a report calls it.
        left: (H, W, 3) uint8 RGB, H and W multiples of 32.
        right: the same from the right camera.
    """

    name: str
    left: npt.NDArray[np.uint8]
    right: npt.NDArray[np.uint8]

    @property
    def size(self) -> tuple[int, int]:
        """The pair's (height, width) in pixels."""
        return self.left.shape[0], self.left.shape[1]


def gate_pairs(options: ExportOptions) -> tuple[Pair, Pair]:
    """Return the two pairs that judge an artefact.

    A dynamic artefact is judged at two sizes. A fixed one runs at its own size only, so its second
    pair is the first one in a mirror: the right eye becomes the left one, and all content moves.

    Args:
        options: what was asked for.

    Raises:
        InputError: the pictures of `options.pair` cannot be read or do not belong together.
        ExportError: none are given, and none are bundled.
    """
    from litestereo.assets import demo_pair

    paths = options.pair or demo_pair()
    if options.pair is None and not all(path.is_file() for path in paths):
        raise ExportError(
            f"the bundled pair is not at {paths[0].parent}, and the gate needs one; pass --pair "
            "LEFT RIGHT"
        )
    pictures = read_pair(*paths)
    name = paths[0].name
    first = _fitted(pictures, size=options.size, name=name)
    if options.size is None:
        return first, _fitted(pictures, size=_SECOND_SIZE, name=name)
    return first, mirrored(first)


def mirrored(pair: Pair) -> Pair:
    """Return the pair as seen in a mirror: again a rectified pair, of other content.

    Args:
        pair: rectified.
    """
    left = np.ascontiguousarray(pair.right[:, ::-1])
    right = np.ascontiguousarray(pair.left[:, ::-1])
    return Pair(f"{pair.name} mirrored", left, right)


def _fitted(pictures: StereoPair, *, size: tuple[int, int] | None, name: str) -> Pair:
    """Return the pair scaled to cover `size` and cropped to its middle; None crops to multiples.

    Covered, not padded: a margin of repeated pixels matches everywhere equally well, so what a
    network says of it is decided by rounding and judges nothing.
    """
    height, width = pictures.left.shape[:2]
    if size is None:
        scale = 1.0
        size = height // MULTIPLE_OF * MULTIPLE_OF, width // MULTIPLE_OF * MULTIPLE_OF
    else:
        scale = max(size[0] / height, size[1] / width)
    left, right, frame = padded_pair(pictures.left, pictures.right, scale=scale)
    top, column = ((n - m) // 2 for n, m in zip(frame.scaled_size, size, strict=True))
    left, right = (
        np.ascontiguousarray(picture[top : top + size[0], column : column + size[1]])
        for picture in (left, right)
    )
    return Pair(name, left, right)
