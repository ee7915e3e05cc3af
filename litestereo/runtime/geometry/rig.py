"""`MetricRig`: a calibration at work, from raw pictures to depth and points in metres."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError
from litestereo.runtime.geometry.calibration import Calibration
from litestereo.runtime.geometry.cloud import CloudMapper, PointCloud
from litestereo.runtime.geometry.consistency import MatchLookup, OcclusionFinder
from litestereo.runtime.geometry.depth import DepthMap, DepthMapper, DepthOptions
from litestereo.runtime.geometry.read import read_calibration
from litestereo.runtime.geometry.rectify import Rectifier, rectified_calibration

if TYPE_CHECKING:
    from litestereo.runtime.results import StereoResult

__all__ = ["MetricRig"]

Image = NDArray[np.uint8]


class MetricRig:
    """Rectifies pairs of one size, and turns their results into depth and points.

    `rectified` may run in another thread than `depth` and `cloud`, as a stream's `prepare` and
    `post` do; the latter two are for one thread.

    Attributes:
        calibration: of the rectified pictures.
        size: (height, width) of the rectified pictures.
        rectifies: whether the pictures are raw; otherwise `rectified` gives them back as they are.

    Example:
        rig = MetricRig.read("stereo.yaml", size=left.shape[:2])
        left, right = rig.rectified(left, right)
        result = engine(left, right)
        depth = rig.depth(result, occluded=rig.occluded(result))  # NaN where validity says why
        write_ply(Path("cloud.ply"), rig.cloud(depth, left))
    """

    def __init__(self, calibration: Calibration, *, limits: DepthOptions | None = None) -> None:
        """Compute the maps and rays.

        Args:
            calibration: with its size, which is the pictures'.
            limits: which depths are valid.

        Raises:
            InputError: the calibration has no size.
        """
        self._rectifier = None if calibration.rectified else Rectifier(calibration)
        self._outside: NDArray[np.bool_] | None = None
        self._right_outside: MatchLookup | None = None
        if self._rectifier is not None:
            calibration = self._rectifier.calibration
            self._outside = self._rectifier.outside
            if self._rectifier.right_outside is not None:
                self._right_outside = MatchLookup(self._rectifier.right_outside)
        self.rectifies = self._rectifier is not None
        self.size = _size_of(calibration)
        self.calibration = calibration
        self._depth = DepthMapper(calibration, size=self.size, options=limits)
        self._cloud = CloudMapper(calibration, size=self.size)
        self._occlusions = OcclusionFinder(self.size)

    @classmethod
    def read(
        cls,
        paths: Path | str | Sequence[Path | str],
        *,
        size: tuple[int, int],
        baseline_m: float | None = None,
        rectified: bool = False,
        limits: DepthOptions | None = None,
    ) -> MetricRig:
        """Return the rig of a calibration file, or of the two files of a pair.

        Args:
            paths: OpenCV, ROS camera_info, Kalibr, Middlebury, KITTI, K.txt or ZED.
            size: (height, width) of the pictures.
            baseline_m: in metres, where the file has none or an unclear unit.
            rectified: the pictures are rectified already, though the calibration is of raw ones.
            limits: which depths are valid.

        Raises:
            InputError: the calibration cannot be read or does not suit the pictures.
        """
        calibration = read_calibration(paths, size=size, baseline_m=baseline_m)
        if rectified and not calibration.rectified:
            calibration = rectified_calibration(calibration).for_size(size)
        return cls(calibration, limits=limits)

    def rectified(self, left: Image, right: Image) -> tuple[Image, Image]:
        """Return the rectified pair; a stream takes this as its `prepare`.

        Args:
            left: (H, W) or (H, W, 3) uint8 of the calibration's size.
            right: same.

        Raises:
            InputError: pictures of another size.
        """
        return (left, right) if self._rectifier is None else self._rectifier(left, right)

    def depth(
        self,
        result: StereoResult,
        *,
        occluded: NDArray[np.bool_] | None = None,
        speckle: NDArray[np.bool_] | None = None,
    ) -> DepthMap:
        """Return a result's depth; its arrays are reused by the next call, `copy()` keeps them.

        `OUTSIDE` is what either raw picture does not show: there is nothing to match in the black.

        Args:
            result: of a rectified pair.
            occluded: (H, W), as `occluded` or `left_right_inconsistent` gives it.
            speckle: (H, W), as `speckles` gives it.

        Raises:
            InputError: a result of another size.
        """
        disparity_px = self._disparity_of(result)
        return self._depth(
            disparity_px,
            confidence=result.confidence,
            max_disparity_px=result.max_disparity_px,
            occluded=occluded,
            speckle=speckle,
            outside=self._outside_of(disparity_px),
        )

    def _disparity_of(self, result: StereoResult) -> NDArray[np.float32]:
        """Return a result's disparity; refuse another size than the rig's."""
        if result.disparity_px.shape != self.size:
            (height, width), (ours, across) = result.disparity_px.shape, self.size
            raise InputError(
                f"the result is {height}x{width} and the rig is for pictures of {ours}x{across}; "
                "take the rig of this size (MetricRig.read with size)"
            )
        return result.disparity_px

    def _outside_of(self, disparity_px: NDArray[np.float32]) -> NDArray[np.bool_] | None:
        """Return what the left picture does not show, or the right one at the pixel's match."""
        if self._right_outside is None:
            return self._outside
        found = self._right_outside(disparity_px)
        return found if self._outside is None else np.logical_or(found, self._outside, out=found)

    def occluded(self, result: StereoResult) -> NDArray[np.bool_]:
        """Return what `occluded_by_warp` does, in an array that the next call reuses.

        Args:
            result: of the engine, for the rectified pair.

        Raises:
            InputError: a result of another size.
        """
        return self._occlusions(self._disparity_of(result))

    def cloud(self, depth: DepthMap, left: Image) -> PointCloud:
        """Return the points that have a depth, with the colours of the rectified left picture.

        The arrays are reused by the next call, `copy()` keeps them.

        Args:
            depth: depth and validity of the rectified left picture.
            left: (H, W, 3) uint8 RGB, rectified.
        """
        return self._cloud(depth, left)

    def points_m(self, depth: DepthMap) -> NDArray[np.float32]:
        """Return (H, W, 3) float32 points, NaN where there is none; reused by the next call.

        Args:
            depth: depth and validity of the rectified left picture.
        """
        return self._cloud.organized(depth)


def _size_of(calibration: Calibration) -> tuple[int, int]:
    if calibration.size is None:
        raise InputError("the calibration does not say its size; give the pictures' with for_size")
    return calibration.size
