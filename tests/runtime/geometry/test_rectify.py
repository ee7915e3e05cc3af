"""Rectification, judged by pictures: dots in space, drawn through a raw rig, found again."""

import cv2
import numpy as np
import pytest
import rigs

from litestereo.errors import InputError
from litestereo.runtime.geometry.calibration import rotation_matrix
from litestereo.runtime.geometry.depth import DepthMapper
from litestereo.runtime.geometry.read import read_calibration
from litestereo.runtime.geometry.rectify import (
    Rectifier,
    rectification_of,
    rectified_calibration,
)
from litestereo.runtime.preprocess import frame_for, padded_pair

DOT_SIGMA_PX = 2.5
WINDOW_PX = 8
BAR_PX = 0.1


@pytest.fixture(params=["opencv", "opencv with P1 P2", "ros", "kalibr", "fisheye", "kitti raw"])
def calibration(request, tmp_path):
    """The rig of rigs.py through each file that can hold it."""
    path = tmp_path / "rig.yaml"
    if request.param.startswith("opencv"):
        path = rigs.opencv_files(tmp_path, rectification="P1" in request.param)
    elif request.param == "ros":
        for side in ("left", "right"):
            (tmp_path / f"{side}.yaml").write_text(rigs.camera_info(side))
        path = tmp_path / "left.yaml"
    elif request.param == "kitti raw":
        path.write_text(rigs.kitti_raw())
    else:
        lens = "equidistant" if request.param == "fisheye" else "radtan"
        path.write_text(rigs.kalibr(lens=lens))
    return read_calibration(path, size=rigs.SIZE)


def raw_pixels(points, eye, turn, step):
    """Project (N, 3) points of the left camera's frame through a lens, by OpenCV."""
    coefficients = np.array(eye.coefficients)
    rotation, step = cv2.Rodrigues(turn)[0], np.asarray(step, np.float64)
    if eye.distortion == "equidistant":
        project = cv2.fisheye.projectPoints
        found = project(points[:, None], rotation, step[:, None], eye.matrix, coefficients)[0]
    else:
        found = cv2.projectPoints(points, rotation, step, eye.matrix, coefficients)[0]
    return found.reshape(-1, 2)


def drawn(pixels):
    """Return a picture with a soft dot at each (x, y)."""
    height, width = rigs.SIZE
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.zeros(rigs.SIZE)
    for x, y in pixels:
        near = (slice(int(y) - 12, int(y) + 13), slice(int(x) - 12, int(x) + 13))
        distance = (columns[near] - x) ** 2 + (rows[near] - y) ** 2
        image[near] += 250 * np.exp(-distance / (2 * DOT_SIGMA_PX**2))
    return image.round().astype(np.uint8)


def center_near(image, x, y):
    """Return the (x, y) of a dot's centre of mass, iterated from a guess."""
    for _ in range(6):
        top, left = round(y) - WINDOW_PX, round(x) - WINDOW_PX
        patch = image[top : top + 2 * WINDOW_PX + 1, left : left + 2 * WINDOW_PX + 1]
        weights = patch.astype(np.float64)
        rows, columns = np.mgrid[0 : patch.shape[0], 0 : patch.shape[1]]
        x, y = (
            left + float((weights * columns).sum() / weights.sum()),
            top + float((weights * rows).sum() / weights.sum()),
        )
    return x, y


def scattered(calibration, rng):
    """Return points that both eyes see, apart from each other, and the pixels of both."""
    turn = rotation_matrix(calibration.rotation)
    points, kept = np.empty((0, 3)), []
    depth = rng.uniform(1.0, 6.0, 1500)
    around = rng.uniform([-0.62, -0.46], [0.62, 0.46], (1500, 2))
    points = np.column_stack([around * depth[:, None], depth])
    left = raw_pixels(points, calibration.left, np.eye(3), np.zeros(3))
    right = raw_pixels(points, calibration.right, turn, calibration.translation_m)
    height, width = rigs.SIZE
    for index, both in enumerate(np.hstack([left, right])):
        inside = all(20 < both[i] < width - 20 and 20 < both[i + 1] < height - 20 for i in (0, 2))
        apart = all(
            min(np.hypot(*(both[:2] - o[:2])), np.hypot(*(both[2:] - o[2:]))) > 24
            for o in np.hstack([left, right])[kept]
        )
        if inside and apart:
            kept.append(index)
    return points[kept], left[kept], right[kept]


def test_raw_pairs_come_back_rectified(calibration, rng):
    points, left, right = scattered(calibration, rng)
    assert len(points) > 60
    rectifier = Rectifier(calibration)
    images = rectifier(drawn(left), drawn(right))
    plan = rectification_of(calibration)
    turned = points @ rotation_matrix(plan.left_rotation).T
    eye = rectifier.calibration.left
    x = eye.fx_px * turned[:, 0] / turned[:, 2] + eye.cx_px
    y = eye.fy_px * turned[:, 1] / turned[:, 2] + eye.cy_px
    disparity = eye.fx_px * calibration.baseline_m / turned[:, 2] - rectifier.calibration.doffs_px
    height, width = rectifier.size
    margin = 14
    errors = []
    for u, v, d in zip(x, y, disparity, strict=True):
        if not (margin + d < u < width - margin and margin < v < height - margin):
            continue
        seen = np.array([center_near(images[0], u, v), center_near(images[1], u - d, v)])
        errors.append([*(seen[0] - (u, v)), *(seen[1] - (u - d, v)), seen[0, 1] - seen[1, 1]])
    assert len(errors) > 40
    worst = np.abs(errors).max(axis=0)
    assert worst.max() <= BAR_PX, worst


def test_the_bar_would_notice_a_wrong_lens(calibration, rng):
    """The same measure, with the right eye's principal point off by one pixel."""
    import dataclasses

    points, left, right = scattered(calibration, rng)
    wrong = dataclasses.replace(calibration.right, cy_px=calibration.right.cy_px + 1)
    spoilt = dataclasses.replace(calibration, right=wrong, given=rectification_of(calibration))
    first, second = Rectifier(spoilt)(drawn(left), drawn(right))
    plan = rectification_of(calibration)
    turned = points @ rotation_matrix(plan.left_rotation).T
    eye = plan.left
    x = eye.fx_px * turned[:, 0] / turned[:, 2] + eye.cx_px
    y = eye.fy_px * turned[:, 1] / turned[:, 2] + eye.cy_px
    inside = (x > 150) & (x < 560) & (y > 60) & (y < 380)
    d = eye.fx_px * calibration.baseline_m / turned[:, 2] - (plan.right.cx_px - eye.cx_px)
    rows = [
        center_near(first, u, v)[1] - center_near(second, u - w, v)[1]
        for u, v, w in zip(x[inside], y[inside], d[inside], strict=True)
    ]
    assert abs(np.median(rows)) > 0.5


def test_depth_of_a_rectified_pair_is_metric(calibration):
    rectified = rectified_calibration(calibration)
    mapper = DepthMapper(rectified, size=rectified.size)
    disparity = np.full(rectified.size, 25.0, np.float32)
    expected = rectified.focal_px * rigs.BASELINE_M / (25.0 + rectified.doffs_px)
    np.testing.assert_allclose(mapper(disparity).depth_m, expected, rtol=1e-5)


def test_refuses_pictures_of_another_size(calibration):
    rectifier = Rectifier(calibration)
    image = np.zeros((100, 100), np.uint8)
    with pytest.raises(InputError, match=r"left image is 100x100 but the maps are for 480x640"):
        rectifier(image, image)


def test_refuses_what_is_rectified_and_what_has_no_size(calibration, tmp_path):
    with pytest.raises(InputError, match="nothing to rectify"):
        Rectifier(rectified_calibration(calibration))
    unsized = read_calibration(rigs.opencv_files(tmp_path, suffix="xml"))
    with pytest.raises(InputError, match="does not say its size"):
        Rectifier(unsized)


def test_half_size_pictures_are_rectified_by_the_scaled_calibration(tmp_path):
    full = read_calibration(rigs.opencv_files(tmp_path), size=rigs.SIZE)
    half = full.for_size((240, 320))
    wide, narrow = Rectifier(full).calibration, Rectifier(half).calibration
    assert narrow.focal_px == pytest.approx(wide.focal_px / 2, rel=0.01)


@pytest.mark.parametrize("scale", [1.0, 0.75])
def test_one_pass_of_the_sampling_maps_rectifies_resizes_and_pads(calibration, scale):
    height, width = rigs.SIZE
    rows, columns = np.mgrid[:height, :width]
    waves = np.sin(columns / 23) + np.sin(rows / 31) + np.sin((rows + columns) / 41)
    raw = np.repeat((128 + 40 * waves).round().astype(np.uint8)[..., None], 3, axis=2)
    rectifier = Rectifier(calibration)
    *padded, frame = padded_pair(*rectifier(raw, raw), scale=scale, multiple_of=64)
    for picture, maps in zip(padded, rectifier.sampling_maps(frame), strict=True):
        assert maps.shape == (*frame.padded_size, 2)
        once = cv2.remap(raw, maps, None, cv2.INTER_LINEAR)
        difference = np.abs(once.astype(int) - picture)
        # Where a fisheye's picture ends, one way averages with black and the other does not.
        assert np.percentile(difference, 99) <= 2
        assert difference.mean() < 0.6


def test_sampling_maps_refuse_a_frame_of_another_size(calibration):
    with pytest.raises(InputError, match="frame is for"):
        Rectifier(calibration).sampling_maps(frame_for((64, 96)))
