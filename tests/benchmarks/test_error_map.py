"""Colours of the error map: where each begins, what is dark and what is black."""

import numpy as np
import pytest

from litestereo.benchmarks.error_map import ERROR_COLORS, color_error


def colors(disparity, truth, **options):
    return color_error(np.float32([disparity]), np.float32([truth]), **options)[0].tolist()


@pytest.mark.parametrize(
    ("error", "step"),
    [(0, 0), (0.18, 0), (0.1875, 1), (1.49, 3), (1.5, 4), (2.99, 4), (3, 5), (48, 9), (900, 9)],
)
def test_steps_double_the_error(error, step):
    assert colors([20 + error], [20]) == [list(ERROR_COLORS[step])]


def test_far_from_zero_five_percent_count():
    assert colors([109], [100]) == [list(ERROR_COLORS[5])]  # 9 px are 9 %: 1.8 of the limit
    assert colors([104], [100]) == [list(ERROR_COLORS[4])]


def test_unknown_is_black_and_holes_are_worst():
    red, black = list(ERROR_COLORS[9]), [0, 0, 0]
    assert colors([np.nan, 5, 5, np.inf], [5, 5, 5, np.nan])[0] == red
    assert colors([5, 5, 5, 5], [np.nan, 5, 5, 0]) == [black, *[list(ERROR_COLORS[0])] * 2, black]


def test_occluded_is_half_as_bright():
    visible = np.array([[True, False]])
    whole, half = colors([5, 5], [5, 5], visible=visible)
    assert half == [value // 2 for value in whole]


def test_sparse_truth_is_thickened_without_touching_the_known():
    truth = np.full((9, 9), np.nan, np.float32)
    truth[4, 4] = truth[4, 5] = 10
    disparity = np.full((9, 9), 10, np.float32)
    disparity[4, 4] = 90
    drawn = color_error(disparity, truth)
    assert drawn[4, 4].tolist() == list(ERROR_COLORS[9])
    assert drawn[4, 5].tolist() == list(ERROR_COLORS[0])
    assert drawn[3:6, 3:7].any(axis=2).all()
    assert not drawn[:3].any()
