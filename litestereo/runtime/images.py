"""Reading stereo pairs from picture files, with every oddity refused or said.

Both pictures of a pair are treated alike: one bit depth for both, EXIF orientation ignored in
both (turning one eye, or both, destroys the row alignment that matching rests on).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError
from litestereo.runtime.decode import MAXIMUM_PIXELS, PICTURE_MOST_BYTES, decoded
from litestereo.runtime.image_header import exif_orientation, is_truncated_jpeg
from litestereo.runtime.preprocess import rgb_pair
from litestereo.runtime.reading import read_file

__all__ = [
    "MAXIMUM_PIXELS",
    "PICTURE_SUFFIXES",
    "BitDepth",
    "StereoPair",
    "read_pair",
    "read_side_by_side",
]

PICTURE_SUFFIXES = frozenset(
    {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
# A camera's 10 or 12 bits come in 16-bit files; the smallest that holds both pictures is taken.
_BIT_DEPTHS = (8, 10, 12, 14, 16)


class BitDepth:
    """The depth of a run's 16-bit pictures: what the deepest so far needs, and never less again.

    Taken from each pair alone it would change with the scene, and all brightness with it.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self._bits = 0

    def bits_for(self, highest: int) -> tuple[int, int]:
        """Return the depth for a pair, and what it was before: 0 for the first pair.

        Args:
            highest: value of the pair.
        """
        before = self._bits
        self._bits = max(before, next(bits for bits in _BIT_DEPTHS if highest < 1 << bits))
        return self._bits, before


@dataclass(frozen=True, slots=True, eq=False)
class StereoPair:
    """A pair as it was read.

    Attributes:
        left: (H, W, 3) uint8 RGB.
        right: (H, W, 3) uint8 RGB.
        notes: what was changed or ignored on the way, in words; empty for ordinary files.
    """

    left: NDArray[np.uint8]
    right: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    """A decoded file: (H, W, 3) RGB, uint8 or uint16, and what was noticed."""

    pixels: NDArray[Any]
    notes: tuple[str, ...]


def read_pair(left: Path, right: Path, *, depth: BitDepth | None = None) -> StereoPair:
    """Return the pair in two files.

    Args:
        left: file of the left camera's picture.
        right: file of the right camera's picture.
        depth: of the run that the pair belongs to; None: it stands alone.

    Raises:
        InputError: a file is missing, no picture, damaged, too large, too small, or of a pixel
            type that is no picture's; or the two differ in size.
    """
    pictures = _read(left), _read(right)
    try:
        return _pair(pictures[0].pixels, pictures[1].pixels, _merged(pictures), depth)
    except InputError as error:
        raise InputError(f"{left}, {right}: {error}") from error


def read_side_by_side(path: Path, *, depth: BitDepth | None = None) -> StereoPair:
    """Return the pair whose left half is the left picture of one file.

    Args:
        path: the file.
        depth: as for `read_pair`.

    Raises:
        InputError: as `read_pair`, or an odd width.
    """
    picture = _read(path)
    width = picture.pixels.shape[1]
    if width % 2:
        raise InputError(
            f"{path} is {width} pixels wide; a side-by-side picture has two halves of one width: "
            "crop the odd column, or pass two files"
        )
    halves = picture.pixels[:, : width // 2], picture.pixels[:, width // 2 :]
    try:
        return _pair(*halves, picture.notes, depth)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _pair(
    left: NDArray[Any], right: NDArray[Any], notes: tuple[str, ...], depth: BitDepth | None
) -> StereoPair:
    if np.uint16 in (left.dtype, right.dtype):
        left, right, note = _eight_bit(left, right, depth or BitDepth())
        notes = (*notes, note)
    return StereoPair(*rgb_pair(left, right), notes=notes)


def _eight_bit(
    left: NDArray[Any], right: NDArray[Any], depth: BitDepth
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], str]:
    """Return both pictures in 8 bits by one factor, and the note that says which."""
    if left.dtype != right.dtype:
        raise InputError(
            f"left image is {left.dtype} and right image is {right.dtype}; need one bit depth: "
            "convert both to 8 bit"
        )
    highest = max(int(left.max(initial=0)), int(right.max(initial=0)))
    bits, before = depth.bits_for(highest)
    factor = np.float32(255 / ((1 << bits) - 1))
    converted = [np.rint(image * factor).astype(np.uint8) for image in (left, right)]
    note = f"16-bit pictures read as {bits}-bit, scaled to 8"
    if 0 < before < bits:
        note += f"; those before were read as {before}-bit and came out brighter"
    return converted[0], converted[1], note


def _read(path: Path) -> _Picture:
    content = read_file(path, most_bytes=PICTURE_MOST_BYTES)
    if is_truncated_jpeg(content):
        raise InputError(f"{path} ends in the middle of its picture; copy or record it again")
    pixels = decoded(path, content, purpose="reading pictures")
    notes = []
    orientation = exif_orientation(content)
    if orientation != 1:
        notes.append(f"EXIF orientation {orientation} ignored: pixels are used as stored")
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        notes.append("alpha channel dropped")
    return _Picture(_rgb(pixels, path), tuple(notes))


def _rgb(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return decoded pixels (grey, BGR or BGRA) as (H, W, 3) RGB of the same bit depth."""
    if pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{path} holds {pixels.dtype} values; need 8- or 16-bit pixels: convert it to PNG"
        )
    if pixels.ndim == 2:
        return np.repeat(pixels[:, :, None], 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, 2::-1])


def _merged(pictures: tuple[_Picture, ...]) -> tuple[str, ...]:
    """Return the notes of all pictures, each once, in order."""
    return tuple(dict.fromkeys(note for picture in pictures for note in picture.notes))
