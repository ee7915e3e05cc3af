"""Results in a Rerun recording: to look at live, or later, with a time line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import MissingDependencyError
from litestereo.runtime.geometry.calibration import Calibration
from litestereo.runtime.geometry.depth import DepthMap
from litestereo.runtime.results import StereoResult
from litestereo.runtime.visualize import color_confidence, color_disparity, robust_maximum_px

__all__ = ["RerunLog"]


class RerunLog:
    """Logs results to a file, or to a viewer that listens; close it, or use `with`.

    With a calibration the depth hangs under a camera, so that Rerun shows it as a cloud. Colours
    keep the first result's scale unless one is given.

    Example:
        with RerunLog("drive.rrd") as log:
            for result in engine.stream(cameras(0, 2)):
                log.add(result.left, result.stereo, frame=result.sequence)
    """

    def __init__(self, place: Path | str, *, max_color_px: float | None = None) -> None:
        """Begin a recording.

        Args:
            place: an .rrd file, or the address of a viewer, "rerun+http://host:9876/proxy".
            max_color_px: end of the colour scale of disparity.

        Raises:
            MissingDependencyError: rerun-sdk is not installed.
        """
        try:
            import rerun
        except ImportError as error:
            raise MissingDependencyError(
                "rerun-sdk", purpose="logging to Rerun", extra="rerun"
            ) from error
        self._rerun: Any = rerun
        self._recording = rerun.RecordingStream("litestereo")
        if "://" in str(place):
            self._recording.connect_grpc(str(place))
        else:
            self._recording.save(str(place))
        self._max_color_px = max_color_px
        self._camera: Calibration | None = None

    def add(
        self,
        left: NDArray[np.uint8],
        result: StereoResult,
        *,
        frame: int,
        depth: DepthMap | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        """Log one result.

        Args:
            left: (H, W, 3) uint8 RGB or (H, W) grey, the left picture that was matched.
            result: of the pair.
            frame: its place on the time line.
            depth: of the result; it needs the calibration.
            calibration: of the rectified pictures.
        """
        rerun, disparity_px = self._rerun, result.disparity_px
        if self._max_color_px is None:
            self._max_color_px = robust_maximum_px(disparity_px)
        self._recording.set_time("frame", sequence=frame)
        colored = color_disparity(disparity_px, max_px=self._max_color_px)
        self._log("disparity", rerun.Image(colored))
        self._log("confidence", rerun.Image(color_confidence(result.confidence)))
        self._log("total_ms", rerun.Scalars(result.timings.total_ms))
        self._log("camera/left", rerun.Image(left))
        if depth is not None and calibration is not None:
            self._place_camera(calibration.for_size(depth.depth_m.shape))
            # Rerun's word for no depth is 0.
            self._log("camera/depth", rerun.DepthImage(np.nan_to_num(depth.depth_m), meter=1.0))

    def close(self) -> None:
        """Write what is still under way; closing twice is fine."""
        self._recording.disconnect()

    def __enter__(self) -> RerunLog:
        """Return the log itself; leaving the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the log."""
        self.close()

    def _log(self, name: str, what: Any) -> None:  # noqa: ANN401 - one of Rerun's archetypes
        self._recording.log(name, what)

    def _place_camera(self, calibration: Calibration) -> None:
        """Log the camera, when it is not the last one."""
        if calibration == self._camera:
            return
        self._camera = calibration
        eye = calibration.left
        assert calibration.size is not None
        height, width = calibration.size
        pinhole = self._rerun.Pinhole(
            focal_length=[eye.fx_px, eye.fy_px],
            principal_point=[eye.cx_px, eye.cy_px],
            width=width,
            height=height,
            camera_xyz=self._rerun.ViewCoordinates.RDF,
        )
        self._log("camera", pinhole)
