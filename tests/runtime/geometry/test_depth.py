"""Depth, validity and depth files against numbers computed by hand."""

import time

import cv2
import numpy as np
import pytest

from litestereo.errors import InputError
from litestereo.runtime.geometry.calibration import Calibration, Eye
from litestereo.runtime.geometry.cloud import CloudMapper
from litestereo.runtime.geometry.depth import (
    DepthMapper,
    DepthOptions,
    Validity,
    depth_error_m,
)
from litestereo.runtime.geometry.depth_io import (
    read_depth_png,
    write_depth_png,
    write_validity_png,
)


def rig(*, doffs_px=0.0, size=(4, 6)):
    height, width = size
    left = Eye(500.0, 510.0, width / 2, height / 2)
    right = Eye(500.0, 510.0, width / 2 + doffs_px, height / 2)
    return Calibration(left, right, baseline_m=0.1, size=size)


def disparities(*values):
    image = np.full((4, 6), 20.0, np.float32)
    image.ravel()[: len(values)] = values
    return image


def test_depth_is_f_b_over_disparity():
    depth = DepthMapper(rig(), size=(4, 6))(disparities(10, 50, 100))
    assert depth.depth_m.dtype == np.float32
    np.testing.assert_allclose(depth.depth_m.ravel()[:4], [5, 1, 0.5, 2.5], rtol=1e-6)
    assert not depth.validity.any()


def test_doffs_is_added_to_the_disparity():
    depth = DepthMapper(rig(doffs_px=1.5), size=(4, 6))(disparities(8.5))
    assert depth.depth_m[0, 0] == pytest.approx(5.0)


def test_focal_length_scales_with_the_picture():
    mapper = DepthMapper(rig(doffs_px=1.5), size=(8, 12))
    depth = mapper(np.full((8, 12), 17.0, np.float32))
    assert depth.depth_m[0, 0] == pytest.approx(5.0)


def test_invalid_pixels_are_nan_and_typed():
    options = DepthOptions(near_m=0.5, far_m=10, min_confidence=0.4)
    confidence = np.ones((4, 6), np.float32)
    confidence[1, 0] = 0.3
    masks = {name: np.zeros((4, 6), bool) for name in ("occluded", "speckle")}
    masks["occluded"][1, 1] = masks["speckle"][1, 2] = True
    masks["occluded"][0, 1] = True
    disparity = disparities(120, 2, np.nan, np.inf, -3, 0)
    depth = DepthMapper(rig(), size=(4, 6), options=options)(
        disparity, confidence=confidence, **masks
    )
    names = [Validity(code).name for code in depth.validity[0]]
    assert names == ["TOO_NEAR", "OCCLUDED", "NOT_FINITE", "NOT_FINITE", "TOO_FAR", "TOO_FAR"]
    assert [Validity(code).name for code in depth.validity[1, :4]] == [
        "LOW_CONFIDENCE",
        "OCCLUDED",
        "SPECKLE",
        "VALID",
    ]
    np.testing.assert_array_equal(np.isnan(depth.depth_m), depth.validity != 0)
    assert depth.shares()["not_finite"] == pytest.approx(2 / 24)
    assert sum(depth.shares().values()) == pytest.approx(1)


def test_the_end_of_the_range_is_too_near():
    mapper = DepthMapper(rig(doffs_px=2.0), size=(4, 6))
    depth = mapper(disparities(183, 182), max_disparity_px=188)
    assert list(depth.validity[0, :2]) == [Validity.TOO_NEAR, Validity.VALID]


def test_without_a_limit_far_ends_at_one_pixel():
    depth = DepthMapper(rig(), size=(4, 6))(disparities(0.9, 1.1))
    assert list(depth.validity[0, :2]) == [Validity.TOO_FAR, Validity.VALID]


def test_without_any_far_limit_every_depth_is_finite():
    mapper = DepthMapper(rig(), size=(4, 6), options=DepthOptions(far_m=np.inf))
    depth = mapper(disparities(0, -0.0, 1e-40, -1, 1e-3))
    assert list(depth.validity[0, :5]) == [Validity.TOO_FAR] * 4 + [Validity.VALID]
    assert np.isfinite(depth.depth_m[depth.validity == 0]).all()


def test_no_call_sees_the_last_one_and_copies_stay():
    mapper = DepthMapper(rig(), size=(4, 6))
    first = mapper(disparities(np.nan)).copy()
    second = mapper(disparities(10))
    assert np.isnan(first.depth_m[0, 0])
    assert second.depth_m[0, 0] == 5
    assert second.validity[0, 0] == 0


def test_error_grows_with_the_square_of_depth():
    calibration = rig()
    depth_m = np.array([1.0, 2.0, 10.0])
    by_formula = depth_error_m(depth_m, calibration, disparity_error_px=0.25)
    disparity = 50 / depth_m
    np.testing.assert_allclose(by_formula, [0.005, 0.02, 0.5])
    np.testing.assert_allclose(by_formula[:2], (50 / (disparity - 0.25) - depth_m)[:2], rtol=0.02)


def test_refuses_raw_rigs_other_sizes_and_empty_ranges():
    lens = Eye(500, 510, 3, 2, "radtan", (0.1, 0, 0, 0))
    raw = Calibration(lens, lens, baseline_m=0.1, size=(4, 6), rectified=False)
    with pytest.raises(InputError, match="raw pictures"):
        DepthMapper(raw, size=(4, 6))
    with pytest.raises(InputError, match=r"disparity is \(2, 2\)"):
        DepthMapper(rig(), size=(4, 6))(np.ones((2, 2), np.float32))
    with pytest.raises(InputError, match="near < far"):
        DepthOptions(near_m=3, far_m=2)
    with pytest.raises(InputError, match="min_confidence"):
        DepthOptions(min_confidence=1.5)


def test_depth_png_is_millimetres(tmp_path):
    depth_m = np.array([[0.001, 1.2344, np.nan, 65.535, 65.6, 0.0001]], np.float32)
    path = write_depth_png(tmp_path / "depth.png", depth_m)
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).tolist() == [[1, 1234, 0, 65535, 0, 0]]
    np.testing.assert_allclose(
        read_depth_png(path), [[0.001, 1.234, np.nan, 65.535, np.nan, np.nan]], rtol=1e-6
    )
    codes = np.array([[0, 5, 6]], np.uint8)
    path = write_validity_png(tmp_path / "validity.png", codes)
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).tolist() == codes.tolist()
    with pytest.raises(InputError, match="16-bit grey"):
        read_depth_png(path)


def plain_numpy(disparity, confidence, image, calibration, *, across, down):
    """Return the points that have a depth and their colours, as anybody would write it first."""
    product = calibration.focal_px * calibration.baseline_m
    depth_m = product / (disparity + calibration.doffs_px)
    near = (depth_m <= product / (0.95 * 192 + calibration.doffs_px)) | (depth_m < 0.3)
    depth_m[near | (depth_m > 30) | (confidence < 0.2) | ~np.isfinite(disparity)] = np.nan
    kept = ~np.isnan(depth_m)
    return np.stack([across * depth_m, down * depth_m, depth_m], axis=2)[kept], image[kept]


@pytest.mark.alone
def test_depth_and_cloud_take_under_half_of_plain_numpy(rng):
    """Both in one run and on one core: absolute times are `benchmarks/robot_postprocess.py`'s.

    An idle core takes a quarter, one with busy neighbours a little over a third.
    """
    size = (480, 640)
    calibration = rig(doffs_px=3.0, size=size)
    mapper = DepthMapper(calibration, size=size, options=DepthOptions(0.3, 30, 0.2))
    clouds = CloudMapper(calibration, size=size)
    disparity = rng.uniform(0, 190, size).astype(np.float32)
    confidence = rng.uniform(0, 1, size).astype(np.float32)
    image = rng.integers(0, 255, (*size, 3), np.uint8)
    eye = calibration.left
    down, across = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
    rays = {"across": (across - eye.cx_px) / eye.fx_px, "down": (down - eye.cy_px) / eye.fy_px}

    def ours():
        depth = mapper(disparity, confidence=confidence, max_disparity_px=192)
        cloud = clouds(depth, image)
        return cloud.points_m, cloud.colors

    def plain():
        return plain_numpy(disparity, confidence, image, calibration, **rays)

    best_s = dict.fromkeys((ours, plain), np.inf)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for call in (ours, plain) * 50:
            start_s = time.perf_counter()
            call()
            best_s[call] = min(best_s[call], time.perf_counter() - start_s)
    finally:
        cv2.setNumThreads(threads)
    for mine, theirs in zip(ours(), plain(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)
    assert 2 * best_s[ours] < best_s[plain], [f"{1e3 * s:.2f} ms" for s in best_s.values()]
