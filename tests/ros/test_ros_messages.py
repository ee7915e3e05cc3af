"""Messages to arrays and back, against what the .msg files say."""

from array import array

import numpy as np
import pytest

from litestereo.errors import InputError
from litestereo.ros.messages import (
    calibration_from_infos,
    cloud_fields,
    depth_fields,
    disparity_fields,
    image_from_fields,
    stamp_s,
)
from litestereo.runtime.geometry.cloud import CloudMapper
from litestereo.runtime.geometry.depth import DepthMapper
from litestereo.runtime.results import StereoResult, Timings

HEADER = {"stamp": {"sec": 7, "nanosec": 250_000_000}, "frame_id": "left_optical"}
SIZE = (4, 6)


def info(*, shift=0.0, size=(480, 640), cx=320.0, k_cx=320.0, **changes):
    """Return the fields of a rectified camera's info: 400 px focal length."""
    k = [400.0, 0, k_cx, 0, 400.0, 240.0, 0, 0, 1]
    p = [400.0, 0, cx, shift, 0, 400.0, 240.0, 0, 0, 0, 1, 0]
    fields = {
        "height": size[0], "width": size[1], "distortion_model": "plumb_bob",
        "d": [0.0] * 5, "k": k, "r": np.eye(3).ravel().tolist(), "p": p,
        "binning_x": 0, "binning_y": 0,
        "roi": {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0},
    }  # fmt: skip
    return {**fields, **changes}


def rig(**left):
    return calibration_from_infos(info(**left), info(shift=-48.0), size=(480, 640), rectified=True)


def image(pixels, encoding, *, padding=0):
    rows = pixels.reshape(pixels.shape[0], -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    data = array("B", rows.tobytes())
    height, width = pixels.shape[:2]
    return {
        "height": height, "width": width, "encoding": encoding, "step": rows.shape[1],
        "data": data, "header": HEADER,
    }  # fmt: skip


def result(disparity_px):
    disparity_px = np.asarray(disparity_px, np.float32)
    return StereoResult(
        disparity_px, np.ones_like(disparity_px), Timings(0, 0, 0, 0), "none", "none", "fp32",
        1.0, disparity_px.shape, 192.0, 0.0,
    )  # fmt: skip


def pixels_of(fields, dtype):
    assert fields["step"] == fields["width"] * np.dtype(dtype).itemsize
    return np.frombuffer(fields["data"], dtype).reshape(fields["height"], fields["width"])


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("8UC3", [2, 1, 0]), ("rgba8", [0, 1, 2]),
     ("bgra8", [2, 1, 0]), ("8UC4", [2, 1, 0])],
)  # fmt: skip
def test_colours_come_out_as_rgb(rng, encoding, order, padding):
    channels = 4 if encoding in ("rgba8", "bgra8", "8UC4") else 3
    pixels = rng.integers(0, 256, (*SIZE, channels), dtype=np.uint8)
    taken = image_from_fields(image(pixels, encoding, padding=padding))
    np.testing.assert_array_equal(taken, pixels[:, :, order])


def test_grey_stays_grey_and_is_a_copy(rng):
    pixels = rng.integers(0, 256, SIZE, dtype=np.uint8)
    fields = image(pixels, "mono8", padding=2)
    taken = image_from_fields(fields)
    fields["data"][0] = 255 - fields["data"][0]
    np.testing.assert_array_equal(taken, pixels)


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"encoding": "bayer_rggb8"}, "image_proc"), ({"step": 3}, "step"),
     ({"height": 40}, "bytes"), ({"encoding": "16UC1"}, "need one of")],
)  # fmt: skip
def test_images_that_cannot_be_used_say_why(changes, match):
    fields = {**image(np.zeros(SIZE, np.uint8), "mono8"), **changes}
    with pytest.raises(InputError, match=match):
        image_from_fields(fields)


def test_a_stamp_is_seconds():
    assert stamp_s(HEADER) == 7.25


def test_infos_of_rectified_pictures_are_the_rig():
    calibration = rig()
    assert calibration.rectified
    assert calibration.focal_px == 400
    assert calibration.baseline_m == pytest.approx(0.12)


def test_binned_pictures_scale_the_infos():
    binned = calibration_from_infos(info(), info(shift=-48.0), size=(240, 320), rectified=True)
    assert binned.focal_px == pytest.approx(200)
    assert binned.baseline_m == pytest.approx(0.12)


@pytest.mark.parametrize(
    ("left", "right", "match"),
    [
        ({"shift": -48.0}, {}, "swapped"),
        ({}, {}, "baseline"),
        ({"k": [0.0] * 9}, {"shift": -48.0}, "not calibrated"),
        ({"roi": {"x_offset": 8, "y_offset": 0, "height": 400, "width": 600}},
         {"shift": -48.0}, "part of its sensor"),
    ],
)  # fmt: skip
def test_infos_that_are_no_rig_say_why(left, right, match):
    with pytest.raises(InputError, match=match):
        calibration_from_infos(info(**left), info(**right), size=(480, 640), rectified=True)


def test_the_disparity_message_gives_depth_by_its_own_formula(rng):
    calibration = rig(cx=310.0, k_cx=310.0)  # verged: the principal points are 10 px apart
    disparity_px = rng.uniform(5, 100, (480, 640)).astype(np.float32)
    depth = DepthMapper(calibration, size=(480, 640))(disparity_px)
    fields = disparity_fields(result(disparity_px), calibration, header=HEADER)
    z_m = fields["f"] * fields["t"] / pixels_of(fields["image"], np.float32)
    assert calibration.doffs_px == pytest.approx(10)
    np.testing.assert_allclose(z_m, depth.depth_m, rtol=1e-6)
    assert fields["max_disparity"] == pytest.approx(202)


def test_invalid_disparities_are_below_the_minimum():
    disparity_px = np.full((480, 640), 20, np.float32)
    validity = np.zeros((480, 640), np.uint8)
    validity[10, 20] = 5
    given = result(disparity_px)
    fields = disparity_fields(given, rig(), header=HEADER, validity=validity)
    sent = pixels_of(fields["image"], np.float32)
    below = sent < fields["min_disparity"]
    np.testing.assert_array_equal(np.argwhere(below), [[10, 20]])
    assert given.disparity_px[10, 20] == 20, "the result's own array was written to"


def test_depth_is_metres_or_millimetres():
    depth_m = np.array([[np.nan, 1.2345, 65.535, 65.536, 0.0004]], np.float32)
    metres = depth_fields(depth_m, header=HEADER)
    assert metres["encoding"] == "32FC1"
    np.testing.assert_array_equal(pixels_of(metres, np.float32), depth_m)
    millimetres = depth_fields(depth_m, header=HEADER, encoding="16UC1")
    assert pixels_of(millimetres, np.uint16).tolist() == [[0, 1234, 65535, 0, 0]]


@pytest.mark.parametrize("grey", [False, True])
def test_a_cloud_has_points_and_packed_colours(rng, grey):
    shape = (480, 640) if grey else (480, 640, 3)
    picture = rng.integers(0, 256, shape, dtype=np.uint8)
    disparity_px = rng.uniform(5, 100, (480, 640)).astype(np.float32)
    calibration = rig()
    depth = DepthMapper(calibration, size=(480, 640))(disparity_px, max_disparity_px=90.0)
    points_m = CloudMapper(calibration, size=(480, 640)).organized(depth)
    fields = cloud_fields(points_m, picture, header=HEADER)
    types = {7: "f4"}
    layout = np.dtype({
        "names": [field["name"] for field in fields["fields"]],
        "formats": [types[field["datatype"]] for field in fields["fields"]],
        "offsets": [field["offset"] for field in fields["fields"]],
        "itemsize": fields["point_step"],
    })  # fmt: skip
    points = np.frombuffer(fields["data"], layout).reshape(480, 640)
    assert fields["row_step"] == 640 * fields["point_step"]
    for index, axis in enumerate("xyz"):
        np.testing.assert_array_equal(points[axis], points_m[:, :, index])
    packed = np.ascontiguousarray(points["rgb"]).view(np.uint32)
    unpacked = np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=2)
    np.testing.assert_array_equal(unpacked, picture[:, :, None].repeat(3, 2) if grey else picture)
    assert np.isnan(points["z"]).any()
    assert not fields["is_dense"]
