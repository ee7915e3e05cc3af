"""From disparity to metres: calibrations, rectification, depth, validity and point clouds."""

from __future__ import annotations

from litestereo.runtime.geometry.calibration import Calibration, Eye
from litestereo.runtime.geometry.cloud import CloudMapper, PointCloud, write_ply
from litestereo.runtime.geometry.consistency import (
    OcclusionFinder,
    left_right_inconsistent,
    occluded_by_warp,
    right_disparity_of,
    speckles,
)
from litestereo.runtime.geometry.depth import (
    DepthMap,
    DepthMapper,
    DepthOptions,
    Validity,
    depth_error_m,
)
from litestereo.runtime.geometry.depth_io import read_depth_png, write_depth_png
from litestereo.runtime.geometry.read import read_calibration
from litestereo.runtime.geometry.rectify import Rectifier
from litestereo.runtime.geometry.rig import MetricRig

__all__ = [
    "Calibration",
    "CloudMapper",
    "DepthMap",
    "DepthMapper",
    "DepthOptions",
    "Eye",
    "MetricRig",
    "OcclusionFinder",
    "PointCloud",
    "Rectifier",
    "Validity",
    "depth_error_m",
    "left_right_inconsistent",
    "occluded_by_warp",
    "read_calibration",
    "read_depth_png",
    "right_disparity_of",
    "speckles",
    "write_depth_png",
    "write_ply",
]
