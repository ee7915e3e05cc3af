"""Write depth as OpenEXR: one float channel, uncompressed, which every reader of the format takes.

Written by hand because OpenCV's wheels come without OpenEXR since 5.0, and ask for an environment
variable before. The layout is that of the OpenEXR file format 2.0: magic, version, attributes, a
table of where each row begins, rows.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from litestereo.runtime.files import write_atomic

__all__ = ["write_depth_exr"]

_MAGIC, _VERSION = 20000630, 2
_FLOAT = 2
_CHANNEL = b"Z"  # the format's own name for depth


def write_depth_exr(path: Path, depth_m: NDArray[np.float32]) -> Path:
    """Write (H, W) float32 metres as the channel Z of an EXR file; NaN stays NaN.

    Args:
        path: the file.
        depth_m: (H, W) float32.
    """
    height, width = depth_m.shape
    header = struct.pack("<ii", _MAGIC, _VERSION) + _attributes(height, width)
    rows = np.empty(height, [("y", "<i4"), ("bytes", "<i4"), ("z", "<f4", (width,))])
    rows["y"], rows["bytes"], rows["z"] = np.arange(height), 4 * width, depth_m
    first = len(header) + 8 * height
    starts = (first + rows.itemsize * np.arange(height)).astype("<u8")
    return write_atomic(path, header + starts.tobytes() + rows.tobytes())


def _attributes(height: int, width: int) -> bytes:
    """Return the attributes that the format requires, and the byte that ends them."""
    channel = _CHANNEL + b"\0" + struct.pack("<iB3xii", _FLOAT, 0, 1, 1)
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    attributes = {
        "channels": ("chlist", channel + b"\0"),
        "compression": ("compression", b"\0"),
        "dataWindow": ("box2i", window),
        "displayWindow": ("box2i", window),
        "lineOrder": ("lineOrder", b"\0"),
        "pixelAspectRatio": ("float", struct.pack("<f", 1)),
        "screenWindowCenter": ("v2f", struct.pack("<2f", 0, 0)),
        "screenWindowWidth": ("float", struct.pack("<f", 1)),
    }
    packed = (
        f"{name}\0{kind}\0".encode() + struct.pack("<i", len(value)) + value
        for name, (kind, value) in attributes.items()
    )
    return b"".join(packed) + b"\0"
