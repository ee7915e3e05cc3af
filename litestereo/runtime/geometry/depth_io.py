"""Depth files: 16-bit PNG in millimetres, as cameras and ROS have them; validity as PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from litestereo.runtime.disparity_io import png_bytes, values_from_png16
from litestereo.runtime.files import write_atomic

__all__ = ["FARTHEST_PNG_M", "read_depth_png", "write_depth_png", "write_validity_png"]

_MILLIMETRES = 1000.0
_HIGHEST = 65535
FARTHEST_PNG_M = _HIGHEST / _MILLIMETRES


def write_depth_png(path: Path, depth_m: NDArray[np.float32]) -> Path:
    """Write (H, W) float32 metres as 16-bit millimetres; 0 where there is no depth.

    The format ends at 65.535 m; what is farther has no number in it and becomes 0 too.

    Args:
        path: the file.
        depth_m: (H, W) float32; NaN where there is none.
    """
    with np.errstate(invalid="ignore"):
        millimetres = np.rint(depth_m.astype(np.float64) * _MILLIMETRES)
        kept = (millimetres >= 1) & (millimetres <= _HIGHEST)
    stored = np.where(kept, millimetres, 0).astype(np.uint16)
    return write_atomic(path, png_bytes(stored))


def read_depth_png(path: Path) -> NDArray[np.float32]:
    """Return (H, W) float32 metres from a 16-bit millimetre PNG; NaN where it has 0.

    Args:
        path: the file.

    Raises:
        InputError: no such file, or not a 16-bit grey PNG.
    """
    return values_from_png16(path, scale=_MILLIMETRES, holding="depth in millimetres")


def write_validity_png(path: Path, validity: NDArray[np.uint8]) -> Path:
    """Write (H, W) uint8 of `Validity` as it is: 8-bit PNG, 0 where there is a depth.

    Args:
        path: the file.
        validity: (H, W) uint8.
    """
    return write_atomic(path, png_bytes(validity))
