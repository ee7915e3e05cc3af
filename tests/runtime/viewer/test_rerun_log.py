"""Rerun's recording of results; it needs rerun-sdk, which is an extra of its own."""

import importlib.util

import numpy as np
import pytest

from litestereo.errors import MissingDependencyError
from litestereo.runtime.geometry.calibration import Calibration, Eye
from litestereo.runtime.geometry.depth import DepthMapper
from litestereo.runtime.results import StereoResult, Timings
from litestereo.runtime.viewer.rerun_log import RerunLog

SIZE = (48, 64)
RIG = Calibration(Eye(50, 50, 31.5, 23.5), Eye(50, 50, 31.5, 23.5), baseline_m=0.1, size=SIZE)
installed = importlib.util.find_spec("rerun") is not None


@pytest.mark.skipif(not installed, reason="needs rerun-sdk: pip install 'litestereo[rerun]'")
def test_a_recording_holds_the_depth_under_its_camera(tmp_path):
    disparity_px = np.full(SIZE, 4, np.float32)
    disparity_px[0, 0] = 0
    result = StereoResult(
        disparity_px, np.ones(SIZE, np.float32), Timings(1, 2, 3, 6), "x", "x", "fp32", 1.0,
        SIZE, 192.0, 0.0,
    )  # fmt: skip
    depth = DepthMapper(RIG, size=SIZE)(disparity_px)
    with RerunLog(tmp_path / "a.rrd") as log:
        for frame in range(3):
            left = np.full((*SIZE, 3), frame, np.uint8)
            log.add(left, result, frame=frame, depth=depth, calibration=RIG)
    content = (tmp_path / "a.rrd").read_bytes()
    assert content.startswith(b"RRF2")
    for name in (b"camera/depth", b"camera/left", b"disparity", b"confidence", b"total_ms"):
        assert name in content or b"/" + name in content
    assert not np.isnan(depth.depth_m[1:]).any()
    log.close()


@pytest.mark.skipif(installed, reason="rerun-sdk is installed here")
def test_a_missing_rerun_names_its_extra(tmp_path):
    with pytest.raises(MissingDependencyError, match=r"litestereo\[rerun\]"):
        RerunLog(tmp_path / "a.rrd")
