"""A calibration at work: the rig does what its parts do."""

import dataclasses

import cv2
import numpy as np
import pytest
import rigs
from stand_in import write_stand_in

from litestereo.errors import InputError
from litestereo.runtime.engine import StereoEngine
from litestereo.runtime.geometry import (
    CloudMapper,
    DepthMapper,
    DepthOptions,
    MetricRig,
    Rectifier,
    Validity,
    read_calibration,
)
from litestereo.runtime.geometry.calibration import Calibration, Eye
from litestereo.runtime.geometry.rectify import rectification_of
from litestereo.runtime.results import StereoResult, Timings


@pytest.fixture
def file(tmp_path):
    return rigs.opencv_files(tmp_path)


@pytest.fixture
def pair(rng):
    small = rng.integers(30, 90, (2, 24, 32, 3), np.uint8)
    return [cv2.resize(picture, rigs.SIZE[::-1]) for picture in small]


def test_raw_pairs_become_depth_and_points(file, pair, tmp_path):
    calibration = read_calibration(file, size=rigs.SIZE)
    rectifier = Rectifier(calibration)
    rig = MetricRig.read(str(file), size=rigs.SIZE, limits=DepthOptions(min_confidence=0.9))
    assert rig.rectifies
    left, right = rig.rectified(*pair)
    for ours, theirs in zip((left, right), rectifier(*pair), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with StereoEngine.load(write_stand_in(tmp_path / "model.onnx"), threads=1) as engine:
        result = engine(left, right)
    hidden = np.zeros(rig.size, np.bool_)
    hidden[:9] = True
    depth = rig.depth(result, occluded=hidden)
    mapper = DepthMapper(
        rectifier.calibration, size=rectifier.size, options=DepthOptions(min_confidence=0.9)
    )
    expected = mapper(
        result.disparity_px,
        confidence=result.confidence,
        max_disparity_px=result.max_disparity_px,
        occluded=hidden,
        outside=rectifier.outside,
    )
    np.testing.assert_array_equal(depth.depth_m, expected.depth_m)
    assert {Validity.LOW_CONFIDENCE, Validity.OCCLUDED} <= set(np.unique(depth.validity))
    points_m = CloudMapper(rectifier.calibration, size=rectifier.size).organized(expected)
    np.testing.assert_array_equal(rig.points_m(depth), points_m)
    assert len(rig.cloud(depth, left).points_m) == (depth.validity == 0).sum()


@pytest.mark.parametrize("shift_px", [0.0, 150.0])
def test_what_the_raw_picture_does_not_show_is_outside(file, pair, tmp_path, shift_px):
    raw = read_calibration(file, size=rigs.SIZE)
    plan = rectification_of(raw)
    moved = dataclasses.replace(plan.left, cx_px=plan.left.cx_px + shift_px)
    rig = MetricRig(dataclasses.replace(raw, given=dataclasses.replace(plan, left=moved)))
    white = np.full((*rigs.SIZE, 3), 255, np.uint8)
    left, _ = rig.rectified(white, white)
    with StereoEngine.load(write_stand_in(tmp_path / "model.onnx"), threads=1) as engine:
        depth = rig.depth(engine(*rig.rectified(*pair)))
    outside = depth.validity == Validity.OUTSIDE
    assert outside[:, :60].all() == bool(shift_px)
    assert (left[outside, 0] < 255).mean() > 0.9
    assert (left[~outside] == 255).all()
    assert np.isnan(depth.depth_m[outside]).all()


def result_of(disparity_px):
    return StereoResult(
        disparity_px, np.ones_like(disparity_px), Timings(0, 0, 0, 0), backend="", device="",
        precision="", scale=1.0, inference_size=disparity_px.shape, max_disparity_px=192.0,
        range_clipped=0.0,
    )  # fmt: skip


@pytest.mark.parametrize("shift_px", [-150.0, 150.0])
@pytest.mark.parametrize("left_px", [0.0, 40.0])
def test_matches_in_the_black_of_the_right_picture_are_outside(rng, file, shift_px, left_px):
    raw = read_calibration(file, size=rigs.SIZE)
    plan = rectification_of(raw)
    left = dataclasses.replace(plan.left, cy_px=plan.left.cy_px + left_px)
    right = dataclasses.replace(plan.right, cx_px=plan.right.cx_px + shift_px)
    given = dataclasses.replace(plan, left=left, right=right)
    rig = MetricRig(dataclasses.replace(raw, given=given), limits=DepthOptions(far_m=np.inf))
    white = np.full((*rigs.SIZE, 3), 255, np.uint8)
    left_seen, right_seen = (picture[..., 0] for picture in rig.rectified(white, white))
    rows, columns = np.mgrid[: rigs.SIZE[0], : rigs.SIZE[1]]
    for largest_px in (60, 20):
        disparity_px = rng.uniform(0, largest_px, rigs.SIZE).astype(np.float32)
        match = np.rint(columns.astype(np.float32) - disparity_px).astype(int)
        seen = np.where(match < 0, 255, right_seen[rows, match.clip(0)])
        disparity_px[240] = np.nan
        outside = rig.depth(result_of(disparity_px)).validity == Validity.OUTSIDE
        assert outside[240, left_seen[240] == 255].mean() < 0.02
        outside, black, white = (np.delete(each, 240, axis=0) for each in (
            outside, (seen == 0) | (left_seen == 0), (seen == 255) & (left_seen == 255)
        ))  # fmt: skip
        assert black.mean() > 0.1
        assert outside[black].all()
        # OpenCV samples in steps of 1/32 px: a pixel at the end may be white and outside.
        assert outside[white].mean() < 0.002


def test_a_right_picture_without_black_costs_nothing(file):
    rig = MetricRig.read(file, size=rigs.SIZE)
    assert rig._rectifier.right_outside is None
    assert rig._right_outside is None


def test_pictures_that_are_rectified_already_stay_as_they_are(file, pair):
    rig = MetricRig.read([file], size=rigs.SIZE, rectified=True)
    assert not rig.rectifies
    assert rig.rectified(*pair)[0] is pair[0]
    assert rig.calibration.rectified


def test_a_rig_needs_a_size(file):
    calibration = read_calibration(file, size=rigs.SIZE)
    rectified = dataclasses.replace(Rectifier(calibration).calibration, size=None)
    with pytest.raises(InputError, match="size"):
        MetricRig(rectified)


@pytest.mark.parametrize("rectified", [False, True])
def test_a_result_of_another_size_is_refused(file, rectified):
    rig = MetricRig.read(file, size=rigs.SIZE, rectified=rectified)
    result = result_of(np.ones((64, 96), np.float32))
    for method in (rig.depth, rig.occluded):
        with pytest.raises(InputError, match="the result is 64x96 and the rig is for pictures of"):
            method(result)


def test_a_picture_that_is_too_long_for_opencv_is_refused():
    eye = Eye(1000.0, 1000.0, 20000.0, 16.0)
    with pytest.raises(InputError, match="the size is 32x40000; sides must be from 1 to 32766"):
        Calibration(eye, eye, 0.1, size=(32, 40000))
