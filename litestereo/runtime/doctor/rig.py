"""The checks of a calibration against the pair that it is said to describe."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError
from litestereo.runtime.doctor.findings import Finding
from litestereo.runtime.doctor.pair import PairDiagnosis, check_pair
from litestereo.runtime.geometry.calibration import Calibration
from litestereo.runtime.geometry.read import read_calibration
from litestereo.runtime.geometry.rectify import Rectifier
from litestereo.runtime.reach import REACH_PX

__all__ = ["RigDiagnosis", "check_rig"]

Image = NDArray[np.uint8]

# The mean principal point of sound pairs lies within 12 % of the middle, also of those that were
# cut for disparity; a calibration of half or double the size puts it at 50 % or 200 %.
_CENTERED_WITHIN = 1.3
_VIEW_DEGREES = (10.0, 140.0)
_BEHIND_SHARE = 0.02
_ROW_CHECKS = frozenset({"vertical offset", "rotation", "zoom", "unrelated"})


@dataclass(frozen=True, slots=True, eq=False)
class RigDiagnosis:
    """What a calibration and a pair say about each other.

    Attributes:
        findings: about the calibration.
        calibration: for the pictures; None where it cannot be used.
        pair: the diagnosis of the pair, rectified where the calibration does so.
    """

    findings: tuple[Finding, ...]
    calibration: Calibration | None
    pair: PairDiagnosis


def check_rig(
    left: Image,
    right: Image,
    *,
    calibration: tuple[Path, ...],
    baseline_m: float | None = None,
    range_px: float = REACH_PX,
) -> RigDiagnosis:
    """Return what is wrong with a calibration, a pair, and the two together.

    Args:
        left: (H, W, 3) uint8 RGB.
        right: same size.
        calibration: the file, or the two of a pair.
        baseline_m: in metres, where the file has none or an unclear unit.
        range_px: how far the network reaches.

    Raises:
        InputError: the two are no pair of pictures at all.
    """
    given = check_pair(left, right, range_px=range_px)
    size = left.shape[0], left.shape[1]
    try:
        read = read_calibration(calibration, size=size, baseline_m=baseline_m)
        rectifier = None if read.rectified else Rectifier(read)
    except InputError as error:
        return RigDiagnosis((_unusable(error),), None, given)
    findings = [_note(note) for note in read.notes]
    pair, used = given, read
    if rectifier is not None:
        used = rectifier.calibration
        pair = check_pair(*rectifier(left, right), range_px=range_px)
        findings += _rectification_findings(given, pair)
        if _is_level(given) and not _is_level(pair):
            pair = given
    findings += _scale_findings(read)
    findings += _depth_findings(used, pair)
    return RigDiagnosis(tuple(findings), used, pair)


def _unusable(error: InputError) -> Finding:
    return Finding(
        "calibration",
        "fault",
        0.0,
        "",
        None,
        str(error).removeprefix("calibration "),
        "give a calibration of these cameras at this picture size",
    )


def _note(note: str) -> Finding:
    return Finding("calibration", "note", 0.0, "", None, note, "nothing, if that is right")


def _scale_findings(calibration: Calibration) -> Iterator[Finding]:
    """Look for a calibration of another picture size, and for impossible fields of view."""
    assert calibration.size is not None
    height, width = calibration.size
    eyes = (calibration.left, calibration.right)
    across = 2 * float(np.mean([eye.cx_px for eye in eyes])) / width
    down = 2 * float(np.mean([eye.cy_px for eye in eyes])) / height
    factor = math.sqrt(across * down)
    if max(across, down) < 1 / _CENTERED_WITHIN or min(across, down) > _CENTERED_WITHIN:
        yield Finding(
            "calibration scale",
            "fault",
            factor,
            "",
            _CENTERED_WITHIN,
            f"the principal point lies at {across / 2:.0%} of the width and {down / 2:.0%} of the "
            f"height of {height}x{width} pictures",
            f"the calibration is for about {factor:.2g} times this size: multiply fx, fy, cx, cy "
            f"by {1 / factor:.3g}, or calibrate at this size",
        )
    view = 2 * math.degrees(math.atan(width / 2 / calibration.left.fx_px))
    if calibration.rectified and not _VIEW_DEGREES[0] < view < _VIEW_DEGREES[1]:
        yield Finding(
            "field of view",
            "fault",
            view,
            "deg",
            _VIEW_DEGREES[0] if view < _VIEW_DEGREES[0] else _VIEW_DEGREES[1],
            f"a focal length of {calibration.left.fx_px:.0f} px sees {view:.0f} degrees across "
            f"{width} px",
            "check fx: it must be in pixels of these pictures, not in millimetres",
        )


def _is_level(pair: PairDiagnosis) -> bool:
    return not any(finding.check in _ROW_CHECKS for finding in pair.findings)


def _rectification_findings(given: PairDiagnosis, rectified: PairDiagnosis) -> Iterator[Finding]:
    offsets = given.matches.offset_px, rectified.matches.offset_px
    if _is_level(given) and not _is_level(rectified):
        yield Finding(
            "rectified twice",
            "fault",
            offsets[1],
            "px",
            None,
            f"the rows agree as given (offset {offsets[0]:.1f} px) and no more once the "
            f"calibration has rectified them (offset {offsets[1]:.1f} px)",
            "the pictures are rectified already: pass --rectified, or the rectified calibration",
        )
    elif not _is_level(rectified):
        yield Finding(
            "stale calibration",
            "fault",
            offsets[1],
            "px",
            None,
            f"the calibration does not level the rows (offset {offsets[1]:.1f} px, roll "
            f"{rectified.matches.roll_degrees:.2f} degrees after it)",
            "calibrate again; the cameras have moved, or the file is of other cameras",
        )


def _depth_findings(calibration: Calibration, pair: PairDiagnosis) -> Iterator[Finding]:
    """Look for matches behind the cameras, which only a wrong doffs can put there."""
    if not pair.is_sound or not len(pair.matches.left_xy):
        return
    sums_px = pair.matches.disparities_px + calibration.doffs_px
    behind = float(np.mean(sums_px < -1))
    if behind > _BEHIND_SHARE:
        yield Finding(
            "principal points",
            "fault",
            behind,
            "",
            _BEHIND_SHARE,
            f"{behind:.0%} of the matches would lie behind the cameras (disparity + doffs < 0, "
            f"doffs {calibration.doffs_px:.1f} px)",
            "check cx of both eyes; pictures that were cropped need cx less the columns cut off",
        )
        return
    product = calibration.focal_px * calibration.baseline_m
    near_m, far_m = (product / max(float(np.percentile(sums_px, p)), 0.1) for p in (99, 1))
    yield Finding(
        "depth",
        "note",
        near_m,
        "m",
        None,
        f"the matches lie from {near_m:.3g} to {far_m:.3g} m",
        "if you know better, the baseline's unit or the focal length is wrong",
    )
