"""Point clouds from depth: arrays for a program, PLY for a viewer.

Convention: metres in the frame of the rectified left camera: x right, y down, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError
from litestereo.runtime.files import write_atomic
from litestereo.runtime.geometry.calibration import Calibration
from litestereo.runtime.geometry.depth import DepthMap, Validity
from litestereo.runtime.opencv import import_cv2

__all__ = ["CloudMapper", "PointCloud", "write_ply"]

_VERTEX = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
)
_PLY_TYPES = {"<f4": "float", "|u1": "uchar"}


@dataclass(frozen=True, slots=True, eq=False)
class PointCloud:
    """The points that have a depth.

    Attributes:
        points_m: (N, 3) float32; of a `CloudMapper` it is a view with steps of 16 bytes.
        colors: (N, 3) uint8 RGB; likewise.
    """

    points_m: NDArray[np.float32]
    colors: NDArray[np.uint8]

    def copy(self) -> PointCloud:
        """Return arrays that no later call touches."""
        return PointCloud(self.points_m.copy(), self.colors.copy())


class CloudMapper:
    """Turns depth of one size into points, in arrays that it holds; for one thread."""

    def __init__(self, calibration: Calibration, *, size: tuple[int, int]) -> None:
        """Prepare the rays of all pixels of `size` (height, width).

        Args:
            calibration: of rectified pictures.
            size: (height, width) of the depth.

        Raises:
            InputError: the calibration is of raw pictures, or of another shape.
        """
        if not calibration.rectified:
            raise InputError("the calibration is of raw pictures; use the Rectifier's calibration")
        eye = calibration.for_size(size).left
        height, width = size
        columns = (np.arange(width) - eye.cx_px) / eye.fx_px
        rows = (np.arange(height) - eye.cy_px) / eye.fy_px
        self._across = np.broadcast_to(columns.astype(np.float32), size).copy()
        self._down = np.broadcast_to(rows.astype(np.float32)[:, None], size).copy()
        self._x_m, self._y_m = np.empty(size, np.float32), np.empty(size, np.float32)
        self._points_m = np.empty((*size, 3), np.float32)
        # A point and its colour travel in 16 bytes: NumPy takes four times as long over 12 or 3.
        self._rgba = np.empty((*size, 4), np.uint8)
        self._colored = np.empty((*size, 4), np.float32)
        self._kept = np.empty((height * width, 4), np.float32)

    def organized(self, depth: DepthMap) -> NDArray[np.float32]:
        """Return (H, W, 3) float32 points in metres, NaN where there is none.

        The array is reused by the next call.

        Args:
            depth: depth and validity of the rectified left picture.
        """
        self._multiply(depth)
        import_cv2("point clouds").merge([self._x_m, self._y_m, depth.depth_m], self._points_m)
        return self._points_m

    def __call__(self, depth: DepthMap, image: NDArray[np.uint8]) -> PointCloud:
        """Return the points that have a depth, with their colours.

        The arrays are reused by the next call, `copy()` keeps them.

        Args:
            depth: of the size that this was made for.
            image: (H, W, 3) uint8 RGB, the rectified left picture.

        Raises:
            InputError: the picture has another size.
        """
        if image.shape != self._points_m.shape:
            raise InputError(
                f"the picture is {image.shape} and the cloud {self._points_m.shape}; give the "
                "rectified left picture"
            )
        cv2 = import_cv2("point clouds")
        cv2.cvtColor(image, cv2.COLOR_RGB2RGBA, self._rgba)
        self._multiply(depth)
        colors = self._rgba.view(np.float32)[..., 0]
        cv2.merge([self._x_m, self._y_m, depth.depth_m, colors], self._colored)
        indices = np.flatnonzero(depth.validity.ravel() == Validity.VALID)
        # "clip" only because NumPy buffers the whole output of "raise"; no index is outside.
        points = self._colored.reshape(-1, 4).take(
            indices, axis=0, out=self._kept[: len(indices)], mode="clip"
        )
        return PointCloud(points[:, :3], points.view(np.uint8)[:, 12:15])

    def _multiply(self, depth: DepthMap) -> None:
        np.multiply(self._across, depth.depth_m, out=self._x_m)
        np.multiply(self._down, depth.depth_m, out=self._y_m)


def write_ply(path: Path, cloud: PointCloud) -> Path:
    """Write a cloud as binary little-endian PLY with colours, and return the path.

    Args:
        path: the file.
        cloud: points in metres and their colours.

    Raises:
        InputError: points and colours differ in number, or the place cannot be written.
    """
    count = len(cloud.points_m)
    if cloud.points_m.shape != (count, 3) or cloud.colors.shape != (count, 3):
        raise InputError(
            f"points are {cloud.points_m.shape} and colours {cloud.colors.shape}; need (N, 3) both"
        )
    vertices = np.empty(count, _VERTEX)
    for column, name in enumerate(("x", "y", "z")):
        vertices[name] = cloud.points_m[:, column]
    for column, name in enumerate(("red", "green", "blue")):
        vertices[name] = cloud.colors[:, column]
    properties = (f"property {_PLY_TYPES[_VERTEX[n].str]} {n}" for n in _VERTEX.names or ())
    header = "\n".join(
        [
            "ply",
            "format binary_little_endian 1.0",
            "comment litestereo: metres; rectified left camera; x right, y down, z forward",
            f"element vertex {count}",
            *properties,
            "end_header\n",
        ]
    )
    return write_atomic(path, header.encode("ascii") + vertices.tobytes())
