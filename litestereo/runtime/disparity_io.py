"""Disparity files: KITTI's 16-bit PNG, PFM and NPY, written whole or not at all, and read back."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError
from litestereo.runtime.decode import MAXIMUM_PIXELS, PICTURE_MOST_BYTES, decoded
from litestereo.runtime.files import write_atomic
from litestereo.runtime.opencv import import_cv2
from litestereo.runtime.reading import read_file

__all__ = [
    "HIGHEST_PNG16_PX",
    "png_bytes",
    "read_pfm",
    "read_png16",
    "values_from_png16",
    "write_npy",
    "write_pfm",
    "write_picture",
    "write_png16",
]

_PNG16_SCALE = 256
_PNG16_HIGHEST = 65535
HIGHEST_PNG16_PX = _PNG16_HIGHEST / _PNG16_SCALE
_PFM_MOST_BYTES = 4 * MAXIMUM_PIXELS + 1024
# The header ends with exactly one white-space byte: the values may begin with one.
_PFM_HEADER = re.compile(rb"Pf\s+(\d{1,9})\s+(\d{1,9})\s+([+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s")


def write_picture(path: Path, image: NDArray[np.uint8]) -> Path:
    """Write an (H, W, 3) uint8 RGB picture as PNG.

    Args:
        path: the file.
        image: is written without loss.
    """
    return write_atomic(path, png_bytes(image[:, :, ::-1]))


def write_png16(path: Path, disparity_px: NDArray[np.float32]) -> Path:
    """Write disparity as KITTI does: 16-bit PNG of 256 times the pixels, 0 for no answer.

    Args:
        path: of the file.
        disparity_px: (H, W) float32; NaN, infinity and negative values become 0 (no answer), every
            other value is at least 1/256 px, so that an answer of 0 px is not taken for none.
            The format ends at 255.996 px; larger values have no number in it and become 0 too.
    """
    with np.errstate(invalid="ignore"):
        counts = np.rint(disparity_px.astype(np.float64) * _PNG16_SCALE)
        answered = (disparity_px >= 0) & (counts <= _PNG16_HIGHEST)
    stored = np.where(answered, counts.clip(min=1), 0).astype(np.uint16)
    return write_atomic(path, png_bytes(stored))


def read_png16(path: Path) -> NDArray[np.float32]:
    """Return disparity (H, W) float32 in pixels from KITTI's 16-bit PNG; no answer is NaN.

    Args:
        path: the file.

    Raises:
        InputError: no such file, or not a 16-bit grey PNG.
    """
    return values_from_png16(path, scale=_PNG16_SCALE, holding="disparity as KITTI has it")


def write_pfm(path: Path, disparity_px: NDArray[np.float32]) -> Path:
    """Write (H, W) float32 as grey PFM: little endian, last row first; NaN stays NaN.

    Args:
        path: the file.
        disparity_px: (H, W) float32.
    """
    height, width = disparity_px.shape
    header = f"Pf\n{width} {height}\n-1.0\n".encode()
    return write_atomic(path, header + disparity_px[::-1].astype("<f4").tobytes())


def read_pfm(path: Path) -> NDArray[np.float32]:
    """Return (H, W) float32 from a grey PFM of either byte order, first row first.

    Args:
        path: the file.

    Raises:
        InputError: no such file, no grey PFM, or its size and length disagree.
    """
    content = read_file(path, most_bytes=_PFM_MOST_BYTES)
    header = _PFM_HEADER.match(content)
    if header is None:
        raise InputError(f"{path} is no grey PFM; need 'Pf', width, height and scale, then values")
    width, height, scale = int(header[1]), int(header[2]), float(header[3])
    values = np.frombuffer(content, np.uint8, offset=header.end())
    if values.size == 0 or values.size != 4 * width * height:
        raise InputError(
            f"{path} holds {values.size} bytes of values; {height}x{width} needs "
            f"{4 * width * height}: it is damaged, copy it again"
        )
    numbers = values.view("<f4" if scale < 0 else ">f4").reshape(height, width)
    return numbers[::-1].astype(np.float32)


def write_npy(path: Path, disparity_px: NDArray[np.float32]) -> Path:
    """Write (H, W) float32 as NumPy's .npy.

    Args:
        path: the file.
        disparity_px: (H, W) float32.
    """
    buffer = io.BytesIO()
    np.save(buffer, disparity_px, allow_pickle=False)
    return write_atomic(path, buffer.getvalue())


def values_from_png16(path: Path, *, scale: float, holding: str) -> NDArray[np.float32]:
    """Return (H, W) float32 from a 16-bit grey PNG of `scale` times the values; NaN where it has 0.

    Args:
        path: the file.
        scale: what values were multiplied by.
        holding: what the file should hold, for the message.

    Raises:
        InputError: no such file, or not a 16-bit grey PNG.
    """
    content = read_file(path, most_bytes=PICTURE_MOST_BYTES)
    stored = decoded(path, content, purpose="reading 16-bit PNG")
    if stored.dtype != np.uint16 or stored.ndim != 2:
        what = f"{stored.dtype} of shape {stored.shape}"
        raise InputError(f"{path} is {what}; need a 16-bit grey PNG: {holding}")
    return np.where(stored > 0, stored / np.float32(scale), np.nan).astype(np.float32)


def png_bytes(image: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """Return a picture as PNG, its channels in the order blue, green, red.

    Args:
        image: (H, W) or (H, W, 3), 8 or 16 bit.
    """
    return bytes(import_cv2("writing PNG").imencode(".png", image)[1])
