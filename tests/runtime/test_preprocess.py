import numpy as np
import pytest

from litestereo.errors import InputError
from litestereo.runtime.preprocess import (
    ScaleOptions,
    disparity_from_padded,
    map_from_padded,
    padded_pair,
    rgb_pair,
)


def image(rng, *shape):
    return rng.integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("size", [(32, 32), (33, 32), (64, 96), (75, 101), (47, 190), (95, 65)])
def test_padding_repeats_the_edge_half_and_half(rng, size):
    left, right = image(rng, *size, 3), image(rng, *size, 3)
    padded_left, padded_right, frame = padded_pair(left, right)
    extra = [-side % 32 for side in size]
    widths = [(e // 2, e - e // 2) for e in extra]
    for padded, original in ((padded_left, left), (padded_right, right)):
        np.testing.assert_array_equal(padded, np.pad(original, [*widths, (0, 0)], mode="edge"))
        assert padded.flags.c_contiguous
        assert padded.dtype == np.uint8
    assert frame.padded_size == padded_left.shape[:2]
    np.testing.assert_array_equal(
        map_from_padded(padded_left[..., 0].astype(np.float32), frame), left[..., 0]
    )


def test_a_fixed_size_is_padded_up_to(rng):
    left = image(rng, 50, 70, 3)
    padded, _, frame = padded_pair(left, left, fixed_size=(96, 128))
    np.testing.assert_array_equal(padded, np.pad(left, [(23, 23), (29, 29), (0, 0)], mode="edge"))
    assert (frame.top, frame.left) == (23, 29)


def test_a_picture_above_the_fixed_size_says_what_to_do(rng):
    left = image(rng, 100, 128, 3)
    with pytest.raises(InputError, match=r"fixed size 96x128; use a scale of at most 0\.96"):
        padded_pair(left, left, fixed_size=(96, 128))
    padded_pair(left, left, fixed_size=(96, 128), scale=0.96)


@pytest.mark.parametrize("scale", [0.5, 0.37, 2.0])
def test_scaling_keeps_the_aspect_and_divides_disparity_by_the_width_ratio(rng, scale):
    left = image(rng, 120, 201, 3)
    padded, _, frame = padded_pair(left, left, scale=scale)
    assert frame.scaled_size == (int(120 * scale), int(201 * scale))
    assert padded.shape[:2] == frame.padded_size
    constant = np.full(frame.padded_size, 10.0, np.float32)
    disparity = disparity_from_padded(constant, frame)
    assert disparity.shape == (120, 201)
    np.testing.assert_allclose(disparity, 10.0 * 201 / int(201 * scale), rtol=1e-6)


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


def test_the_chosen_scale_never_exceeds_the_range(rng):
    left = image(rng, 121, 333, 3)
    for max_px in (193, 200, 250, 300.5):
        scale = ScaleOptions(max_disparity_px=max_px).scale_for((121, 333), range_px=192)
        frame = padded_pair(left, left, scale=scale)[2]
        assert max_px * frame.width_ratio <= 192 + 1e-3


def test_a_picture_that_becomes_too_small_is_refused(rng):
    left = image(rng, 64, 64, 3)
    with pytest.raises(InputError, match=r"become 25x25 at scale 0\.4"):
        padded_pair(left, left, scale=0.4)
