"""Occlusion and speckles on scenes whose answer is known pixel by pixel."""

import numpy as np
import pytest

from litestereo.runtime.geometry.consistency import (
    OcclusionFinder,
    left_right_inconsistent,
    occluded_by_warp,
    right_disparity_of,
    speckles,
)

FAR, NEAR = 10.0, 26.0
BOX = (slice(20, 40), slice(50, 80))


@pytest.fixture
def scene():
    """Left and right disparity of a box before a wall, and what the right eye cannot see."""
    left = np.full((60, 120), FAR, np.float32)
    left[BOX] = NEAR
    right = np.full((60, 120), FAR, np.float32)
    right[20:40, 24:54] = NEAR
    hidden = np.zeros((60, 120), bool)
    hidden[:, :10] = True  # leaves the right picture
    hidden[20:40, 34:50] = True  # the wall that the box covers from the right eye
    return left, right, hidden


def test_warp_finds_what_the_box_hides(scene):
    left, _, hidden = scene
    np.testing.assert_array_equal(occluded_by_warp(left), hidden)


def test_warp_leaves_slanted_ground_alone():
    rows = np.linspace(2, 40, 60, dtype=np.float32)[:, None]
    columns = np.linspace(0, 24, 120, dtype=np.float32)[None, :]  # the right is nearer: stretched
    disparity = rows + columns
    found = occluded_by_warp(disparity)
    outside = np.rint(np.arange(120) - disparity) < 0
    assert found[~outside].mean() < 0.01


def test_left_right_finds_what_the_box_hides(scene):
    left, right, hidden = scene
    np.testing.assert_array_equal(left_right_inconsistent(left, right), hidden)


def test_left_right_finds_wrong_answers_too(scene):
    left, right, _ = scene
    left = left.copy()
    left[50:55, 90:95] = 17
    assert left_right_inconsistent(left, right)[50:55, 90:95].all()
    assert not occluded_by_warp(left)[52, 93]


def test_right_disparity_by_mirroring(rng):
    left = rng.integers(0, 256, (6, 8, 3), np.uint8)
    right = rng.integers(0, 256, (6, 8, 3), np.uint8)

    def matcher(first, second):
        """Left's red less right's green: knows which picture is which, and where."""
        assert first.flags.c_contiguous
        return first[..., 0].astype(np.float32) - second[..., 1]

    expected = right[..., 0].astype(np.float32) - left[..., 1]
    np.testing.assert_array_equal(right_disparity_of(matcher, left, right), expected)


def test_speckles_are_small_islands_only():
    disparity = np.full((40, 40), 20.0, np.float32)
    disparity[5:8, 5:8] = 35.25
    disparity[20:40, 20:40] = 30.5
    found = speckles(disparity, largest_pixels=20)
    assert found[5:8, 5:8].all()
    assert found.sum() == 9
    assert not speckles(disparity, largest_pixels=8).any()


def test_speckles_follow_slopes():
    slope = np.tile(np.linspace(5, 60, 80, dtype=np.float32), (40, 1))
    assert not speckles(slope, largest_pixels=400, step_px=1.0).any()


def test_a_finder_reuses_its_arrays_and_takes_what_is_no_number(rng):
    finder = OcclusionFinder((24, 64))
    first, second = rng.uniform(0, 20, (2, 24, 64)).astype(np.float32)
    second[5, 7] = np.nan
    for disparity_px in (first, second, first):
        given = disparity_px.copy()
        found = finder(disparity_px)
        np.testing.assert_array_equal(found, occluded_by_warp(disparity_px))
        np.testing.assert_array_equal(disparity_px, given)
    assert finder(second) is found
