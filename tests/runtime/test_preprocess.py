from pathlib import Path

import cv2
import numpy as np
import pytest

from litestereo.errors import InputError
from litestereo.runtime.preprocess import (
    ScaleOptions,
    disparity_from_padded,
    frame_for,
    map_from_padded,
    padded_pair,
    rgb_pair,
)


def image(rng, *shape):
    return rng.integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("size", [(32, 32), (33, 32), (75, 101), (47, 190), (95, 65), (40, 50)])
def test_pictures_are_padded_below_and_on_the_right(rng, size):
    left, right = image(rng, *size, 3), image(rng, *size, 3)
    padded_left, padded_right, frame = padded_pair(left, right)
    assert frame.padded_size == tuple(side + -side % 32 for side in size)
    assert frame.scaled_size == size
    around = [(0, -size[0] % 32), (0, -size[1] % 32), (0, 0)]
    for padded, original in ((padded_left, left), (padded_right, right)):
        np.testing.assert_array_equal(padded, np.pad(original, around, mode="edge"))
        assert padded.flags.c_contiguous
        assert padded.dtype == np.uint8


@pytest.mark.parametrize("size", [(64, 66), (94, 130), (80, 380)])
def test_what_is_resized_anyway_is_stretched_by_up_to_a_tenth_and_padded_beyond(rng, size):
    left = image(rng, *size, 3)
    padded, _, frame = padded_pair(left, left, scale=0.5)
    halves = [side // 2 for side in size]
    whole = [side + -side % 32 for side in halves]
    scaled = tuple(w if w <= 1.1 * s else s for s, w in zip(halves, whole, strict=True))
    assert (frame.padded_size, frame.scaled_size) == (tuple(whole), scaled)
    resized = cv2.resize(left, scaled[::-1], interpolation=cv2.INTER_AREA)
    around = [(0, w - s) for s, w in zip(scaled, whole, strict=True)]
    np.testing.assert_array_equal(padded, np.pad(resized, [*around, (0, 0)], mode="edge"))


def test_what_is_whole_or_padded_comes_back_as_it_was(rng):
    for size in ((64, 96), (40, 50)):
        left = image(rng, *size, 3)
        padded, _, frame = padded_pair(left, left)
        back = map_from_padded(padded[..., 0].astype(np.float32), frame)
        np.testing.assert_array_equal(back, left[..., 0])


@pytest.mark.parametrize("size", [(375, 1242), (370, 417), (720, 1280), (90, 210)])
@pytest.mark.parametrize("scale", [0.7, 1.25])
def test_a_resized_picture_keeps_its_disparities(size, scale):
    """A network that finds every match gives, through the frame, what the pictures have."""
    height, width = size
    frame = frame_for(size, scale=scale)
    true_px = np.linspace(3.0, 30.0, width, dtype=np.float32) * np.ones((height, 1), np.float32)
    rows, columns = frame.scaled_size
    ratio = columns / width
    seen = np.zeros(frame.padded_size, np.float32)
    seen[:rows, :columns] = cv2.resize(
        true_px * ratio, (columns, rows), interpolation=cv2.INTER_LINEAR
    )
    found = disparity_from_padded(seen, frame)
    assert found.shape == size
    assert np.abs(found - true_px).max() < 0.1


@pytest.mark.parametrize("scale", [0.5, 1.25])
def test_no_disparity_lies_between_two_surfaces(scale):
    frame = frame_for((64, 128), scale=scale)
    seen = np.full(frame.padded_size, 5.0, np.float32)
    seen[:, frame.scaled_size[1] // 3 :] = 20.0
    found = disparity_from_padded(seen, frame) * frame.width_ratio
    assert sorted(set(found.ravel().round(3).tolist())) == [5.0, 20.0]
    confidence = map_from_padded(seen, frame)
    assert ((confidence > 5.1) & (confidence < 19.9)).any()


def test_a_width_is_not_stretched_beyond_the_range_that_is_asked_for():
    assert frame_for((300, 993), scale=1.25).scaled_size == (384, 1248)
    assert frame_for((300, 993), scale=1.25, largest_ratio=1.25).scaled_size == (384, 1241)


def test_a_fixed_size_is_padded_up_to_unless_the_picture_is_resized_anyway(rng):
    left = image(rng, 50, 70, 3)
    padded, _, frame = padded_pair(left, left, fixed_size=(96, 128))
    np.testing.assert_array_equal(padded, np.pad(left, [(0, 46), (0, 58), (0, 0)], mode="edge"))
    assert frame.scaled_size == (50, 70)
    assert frame_for((90, 120), fixed_size=(96, 128)).scaled_size == (90, 120)
    assert frame_for((180, 240), scale=0.5, fixed_size=(96, 128)).scaled_size == (96, 128)


def test_a_picture_above_the_fixed_size_says_what_to_do(rng):
    left = image(rng, 100, 128, 3)
    with pytest.raises(InputError, match=r"fixed size 96x128; use a scale of at most 0\.96"):
        padded_pair(left, left, fixed_size=(96, 128))
    padded_pair(left, left, fixed_size=(96, 128), scale=0.96)


@pytest.mark.parametrize("scale", [0.6, 0.34, 1.9])
def test_scaling_divides_disparity_by_the_width_ratio(rng, scale):
    left = image(rng, 120, 201, 3)
    padded, _, frame = padded_pair(left, left, scale=scale)
    assert frame.scaled_size[0] in (int(120 * scale), frame.padded_size[0])
    assert frame.scaled_size[1] in (int(201 * scale), frame.padded_size[1])
    assert padded.shape[:2] == frame.padded_size
    constant = np.full(frame.padded_size, 10.0, np.float32)
    disparity = disparity_from_padded(constant, frame)
    assert disparity.shape == (120, 201)
    np.testing.assert_allclose(disparity, 10.0 * 201 / frame.scaled_size[1], rtol=1e-6)


def test_downscaling_averages_areas():
    left = np.zeros((64, 64, 3), np.uint8)
    left[:, ::2] = 200
    padded, _, _ = padded_pair(left, left, scale=0.5)
    assert (padded == 100).all()


def test_maps_are_copies(rng):
    left = image(rng, 64, 64, 3)
    frame = padded_pair(left, left)[2]
    buffer = np.ones((64, 64), np.float32)
    disparity = disparity_from_padded(buffer, frame)
    buffer[:] = 5
    assert (disparity == 1).all()


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 1)])
def test_grey_is_repeated_and_may_meet_colour(rng, shape):
    grey, color = image(rng, *shape), image(rng, 40, 50, 3)
    left, right = rgb_pair(grey, color)
    np.testing.assert_array_equal(left, np.repeat(grey.reshape(40, 50, 1), 3, axis=2))
    np.testing.assert_array_equal(right, color)


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        ((40, 50, 3), (40, 51, 3), "left image is 40x50 and right image is 40x51"),
        ((31, 50, 3), (31, 50, 3), "31x50 .* at least 32"),
        ((40, 50, 4), (40, 50, 4), "alpha"),
        ((2, 40, 50, 3), (2, 40, 50, 3), "one pair at a time"),
    ],
)
def test_shapes_that_are_no_pair_are_refused(left, right, message):
    with pytest.raises(InputError, match=message):
        rgb_pair(np.zeros(left, np.uint8), np.zeros(right, np.uint8))


@pytest.mark.parametrize(
    "wrong", [np.zeros((40, 50, 3)), np.zeros((40, 50), np.uint16), "left.png"]
)
def test_other_types_are_refused(wrong):
    with pytest.raises(InputError, match=r"right image is .* uint8"):
        rgb_pair(np.zeros((40, 50), np.uint8), wrong)


@pytest.mark.parametrize(
    "options",
    [
        {"scale": 0},
        {"scale": 5},
        {"scale": float("nan")},
        {"scale": 0.5, "fit_within": (100, 100)},
        {"fit_within": (20, 100)},
        {"max_disparity_px": 0},
        {"max_disparity_px": float("inf")},
    ],
)
def test_scale_options_are_checked(options):
    with pytest.raises(InputError):
        ScaleOptions(**options)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, 1.0),
        ({"scale": 0.7}, 0.7),
        ({"scale": 2.0}, 2.0),
        ({"max_disparity_px": 100}, 1.0),
        ({"max_disparity_px": 192}, 1.0),
        ({"max_disparity_px": 256}, 0.75),
        ({"fit_within": (240, 640)}, 0.5),
        ({"fit_within": (2000, 2000)}, 1.0),
        ({"fit_within": (240, 640), "max_disparity_px": 768}, 0.25),
    ],
)
def test_the_scale_follows_from_range_and_size(options, wanted):
    assert ScaleOptions(**options).scale_for((480, 640), range_px=192) == pytest.approx(wanted)


def test_the_chosen_scale_never_exceeds_the_range():
    for max_px in (193, 200, 250, 300.5):
        options = ScaleOptions(max_disparity_px=max_px)
        scale = options.scale_for((121, 333), range_px=192)
        ratio = options.largest_ratio(range_px=192)
        frame = frame_for((121, 333), scale=scale, largest_ratio=ratio)
        assert max_px * frame.width_ratio <= 192 + 1e-3


def test_a_picture_that_becomes_too_small_is_refused(rng):
    left = image(rng, 64, 64, 3)
    with pytest.raises(InputError, match=r"become 25x25 at scale 0\.4"):
        padded_pair(left, left, scale=0.4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, r"left image is None: the file was not read \(cv2.imread gives None"),
        ("left.png", r"left image is the name 'left\.png'; pass its pixels"),
        (Path("left.png"), r"left image is the name 'left\.png'; pass its pixels"),
    ],
)
def test_what_is_no_picture_yet_is_said(given, words):
    with pytest.raises(InputError, match=words):
        rgb_pair(given, np.zeros((40, 50), np.uint8))
