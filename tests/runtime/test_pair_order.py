import cv2
import numpy as np
import pytest

from litestereo.runtime.images import read_pair
from litestereo.runtime.pair_order import pair_order


def texture(rng, height, width):
    small = rng.integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("disparity", [6, 20, 60])
def test_shifts_of_either_sign_are_told_apart(rng, disparity):
    wide = texture(rng, 240, 400)
    left, right = wide[:, :320], wide[:, disparity : disparity + 320]
    straight, swapped = pair_order(left, right), pair_order(right, left)
    assert straight.negative_share < 0.05
    assert not straight.looks_swapped
    assert swapped.negative_share > 0.95
    assert swapped.looks_swapped


def test_exposure_does_not_matter(rng):
    wide = texture(rng, 240, 400)
    darker = (wide * 0.5 + 20).astype(np.uint8)
    assert pair_order(wide[:, 20:340], darker[:, :320]).looks_swapped
    assert not pair_order(wide[:, :320], darker[:, 20:340]).looks_swapped


@pytest.mark.parametrize("size", [(32, 32), (32, 400), (400, 32), (240, 320)])
def test_pictures_without_disparity_raise_no_alarm(rng, size):
    noise = rng.integers(0, 256, (2, *size, 3), np.uint8)
    blank = np.full((*size, 3), 90, np.uint8)
    assert not pair_order(noise[0], noise[0]).looks_swapped
    assert not pair_order(noise[0], noise[1]).looks_swapped
    assert not pair_order(blank, blank).looks_swapped


def test_shared_pairs_are_judged_rightly(shared):
    folders = sorted(path.parent for path in shared.glob("*/*/*/left.png"))
    assert len(folders) >= 70
    for folder in folders[::6]:  # every sixth, so that it takes seconds; all 72 were tried
        pair = read_pair(folder / "left.png", folder / "right.png")
        assert not pair_order(pair.left, pair.right).looks_swapped, folder
        assert pair_order(pair.right, pair.left).looks_swapped, folder
