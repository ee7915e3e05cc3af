import numpy as np
import pytest

from litestereo.errors import InputError
from litestereo.runtime.visualize import (
    color_confidence,
    color_disparity,
    panel,
    robust_maximum_px,
)


def test_no_answer_is_black_and_answers_are_not():
    disparity = np.array([[np.nan, -1, np.inf, 0, 50, 100]], np.float32)
    colors = color_disparity(disparity, max_px=100)
    assert (colors[0, :3] == 0).all()
    assert (colors[0, 3:].sum(axis=1) > 0).all()
    assert colors.shape == (1, 6, 3)
    assert colors.dtype == np.uint8


def test_near_is_red_far_is_blue():
    far, near = color_disparity(np.array([[5, 95]], np.float32), max_px=100)[0].astype(int)
    assert far[2] > far[0]
    assert near[0] > near[2] + 100


def test_a_fixed_scale_does_not_depend_on_the_rest():
    one = color_disparity(np.array([[10, 20]], np.float32), max_px=64)
    other = color_disparity(np.array([[10, 60]], np.float32), max_px=64)
    np.testing.assert_array_equal(one[0, 0], other[0, 0])


def test_outliers_do_not_stretch_the_scale():
    disparity = np.full((100, 100), 40, np.float32)
    disparity[0, :20] = 180
    disparity[1, 0] = np.nan
    assert robust_maximum_px(disparity) == pytest.approx(42)
    assert robust_maximum_px(np.full((3, 3), np.nan, np.float32)) == 1


@pytest.mark.parametrize("wrong", [0, -5, float("nan")])
def test_a_scale_without_extent_is_refused(wrong):
    with pytest.raises(InputError, match="must be above 0"):
        color_disparity(np.zeros((2, 2), np.float32), max_px=wrong)


def test_confidence_brightens():
    colors = color_confidence(np.array([[0, 0.5, 1, np.nan]], np.float32))[0]
    brightness = colors.astype(int).sum(axis=1)
    assert brightness[0] < brightness[1] < brightness[2]
    assert brightness[3] == 0


def test_the_panel_holds_three_labelled_pictures(rng):
    left = rng.integers(0, 256, (60, 200, 3), np.uint8)
    disparity = (rng.random((60, 200)) * 50).astype(np.float32)
    confidence = rng.random((60, 200), dtype=np.float32)
    picture = panel(left, disparity, confidence, max_px=50)
    assert picture.shape == (84, 608, 3)
    np.testing.assert_array_equal(picture[24:, :200], left)
    np.testing.assert_array_equal(picture[24:, 204:404], color_disparity(disparity, max_px=50))
    np.testing.assert_array_equal(picture[24:, 408:], color_confidence(confidence))
    for start in (0, 204, 408):
        assert picture[:24, start : start + 200].max() > 150
