"""Metric depth of real scenes whose calibration is known, against their ground truth."""

import json

import cv2
import numpy as np
import pytest

from litestereo.assets import bundled_models
from litestereo.cli import run_main
from litestereo.runtime.disparity_io import read_pfm
from litestereo.runtime.geometry.calibration import Calibration, Eye
from litestereo.runtime.geometry.depth import DepthMapper, DepthOptions, depth_error_m
from litestereo.runtime.geometry.depth_io import read_depth_png
from litestereo.runtime.geometry.read import read_calibration

# Distances that the scenes' makers publish or that are plain: a tabletop at 2 to 3 m, streets.
SCENES = {
    "kitti2012/000000": (4, 80),
    "kitti2012/000001": (2, 90),
    "kitti2012/000151": (3, 90),
    "kitti2015/000000": (3, 90),
    "kitti2015/000001": (3, 90),
    "middlebury2003/Teddy_H": (1.2, 2.2),
    "middlebury2014/motorcycle": (2, 6.5),
}


def truth_of(folder, meta):
    path, encoding = folder / meta["files"]["gt"], meta["gt_encoding"]
    if encoding["kind"] == "pfm":
        disparity = read_pfm(path)
    elif encoding["kind"] == "npz":
        with np.load(path) as stored:
            disparity = stored[stored.files[0]].astype(np.float32)
    else:
        disparity = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float32)
        disparity /= encoding["scale"]
    return np.where(np.isfinite(disparity) & (disparity > 0), disparity, np.nan)


@pytest.fixture(params=SCENES)
def scene(request, shared):
    """Return (calibration, left, right, true disparity, depth range) of a scene."""
    folder = shared / "eval" / request.param
    meta = json.loads((folder / "meta.json").read_text())
    left, right = (cv2.imread(str(folder / meta["files"][side])) for side in ("left", "right"))
    size = left.shape[:2]
    if (folder / "calib.txt").is_file():
        calibration = read_calibration(folder / "calib.txt", size=size)
    else:
        middle = (size[1] - 1) / 2, (size[0] - 1) / 2
        eye = Eye(meta["fx_px"], meta["fx_px"], *middle)
        other = Eye(meta["fx_px"], meta["fx_px"], middle[0] + meta.get("doffs_px", 0), middle[1])
        baseline_m = meta.get("baseline_m") or meta["baseline_mm"] / 1000
        calibration = Calibration(eye, other, baseline_m=baseline_m, size=size)
    return calibration, left, right, truth_of(folder, meta), SCENES[request.param]


def estimated(left, right, truth):
    """Return OpenCV's disparity: the errors of a real matcher."""
    count = int(np.ceil((np.nanmax(truth) + 8) / 16) * 16)
    matcher = cv2.StereoSGBM_create(0, count, 5, 200, 800, 1, 63, 10, 100, 2)
    disparity = matcher.compute(left, right).astype(np.float32) / 16
    return np.where(disparity > 0, disparity, np.nan)


def test_depth_is_within_what_the_disparity_error_explains(scene):
    calibration, left, right, truth, (near_m, far_m) = scene
    mapper = DepthMapper(calibration, size=truth.shape, options=DepthOptions(far_m=1e6))
    true_m = mapper(truth).copy().depth_m
    found = estimated(left, right, truth)
    found_m = mapper(found).copy().depth_m
    both = np.isfinite(true_m) & np.isfinite(found_m)
    assert both.sum() > 10_000
    inside = (true_m[both] > near_m) & (true_m[both] < far_m)
    assert inside.mean() > 0.97, np.percentile(true_m[both], [1, 50, 99])
    error_px = np.abs(found - truth)[both]
    error_m = np.abs(found_m - true_m)[both]
    allowed_m = depth_error_m(true_m[both], calibration, disparity_error_px=1.0) * error_px
    # To first order where the error is small beside the disparity, and exactly everywhere.
    small = error_px < 0.02 * truth[both]
    assert small.mean() > 0.3
    assert (error_m[small] <= 1.03 * allowed_m[small] + 1e-4).all()
    exactly_m = allowed_m * found_m[both] / true_m[both]
    np.testing.assert_allclose(error_m, exactly_m, rtol=2e-3, atol=2e-3)


def test_depth_stays_when_the_picture_is_resized(scene):
    """At half the size disparities halve, and with focal length and doffs scaled nothing moves."""
    calibration, _, _, truth, _ = scene
    size = truth.shape[0] // 2, truth.shape[1] // 2
    even = truth[: 2 * size[0], : 2 * size[1]]
    ratio = size[1] / truth.shape[1]
    half = DepthMapper(calibration, size=size)(even[::2, ::2] * np.float32(ratio))
    full = DepthMapper(calibration, size=truth.shape)(truth)
    expected_m = full.depth_m[: 2 * size[0] : 2, : 2 * size[1] : 2]
    both = np.isfinite(half.depth_m) & np.isfinite(expected_m)
    assert both.sum() > 3000
    np.testing.assert_allclose(half.depth_m[both], expected_m[both], rtol=1e-4)


def test_the_bundled_model_gives_metres_from_files_to_files(shared, tmp_path, capsys):
    """A street through `stereo-run --calib --depth`, against the laser's depth."""
    if "las1" not in bundled_models():
        pytest.skip("the package has no weights of las1")
    folder = shared / "eval/kitti2012/000000"
    arguments = [folder / "left.png", folder / "right.png", "--calib", folder / "calib.txt"]
    with pytest.raises(SystemExit) as leaving:
        run_main([*map(str, arguments), "--depth", "-o", str(tmp_path)])
    assert not leaving.value.code, capsys.readouterr().err
    found_m = read_depth_png(tmp_path / "left_depth_mm.png")
    truth = truth_of(folder, json.loads((folder / "meta.json").read_text()))
    calibration = read_calibration(folder / "calib.txt", size=truth.shape)
    true_m = DepthMapper(calibration, size=truth.shape)(truth).depth_m
    both = np.isfinite(found_m) & np.isfinite(true_m)
    assert both.sum() > 100_000
    # 1.9 % with the weights of version 0.1.0; a wrong unit or focal length would be far above.
    assert np.median(np.abs(found_m - true_m)[both] / true_m[both]) < 0.04
