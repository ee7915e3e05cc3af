"""Crops of real pairs."""

import numpy as np
import pytest

from litestereo.training.pairs import _cropped


@pytest.mark.parametrize("seed", range(4))
def test_truth_lies_on_the_picture_after_scaling(seed):
    """The picture's value is the column that a pixel came from, and so is the truth."""
    column = np.broadcast_to(np.arange(512, dtype=np.float32), (64, 512))
    picture = column[..., None].repeat(3, 2)  # in float32, so that nothing is rounded
    came_from, _, truth = _cropped(
        np.random.default_rng(seed), picture, picture, column.copy(), size=(32, 256)
    )
    scale = round(512 * 2 ** np.random.default_rng(seed).uniform(-0.5, 0.5)) / 512
    off = truth / scale - came_from[..., 0]
    assert abs(off[:, 5:-5].mean()) < 0.05
    assert abs(off).max() < 1.01
