"""Labels of teachers: what is asked of them and what is kept."""

import cv2
import numpy as np
import pytest

from litestereo.benchmarks.scenes import DisparityFile, Scene
from litestereo.training.labels import label_pairs
from litestereo.training.teacher import ForeignTeacher


def resized_teacher(size, seen):
    """Return a foreign teacher of a fixed size that keeps what it is shown."""
    teacher = object.__new__(ForeignTeacher)
    teacher._size = size

    def run(left, right):
        seen.append(left)
        return np.full(left.shape[:2], 2.0, np.float32)

    teacher._run = run
    return teacher


@pytest.mark.parametrize("size", [(64, 192), (64, 48), (16, 192), (16, 48), (32, 96)])
def test_pictures_are_grown_smoothly_and_shrunk_by_areas(size):
    """Each side by its own kind: no blocks where it grows, no aliasing where it shrinks."""
    seen = []
    ramp = np.arange(96, dtype=np.uint8)[None, :, None].repeat(32, 0).repeat(3, 2)
    disparity = resized_teacher(size, seen)(ramp, ramp)
    assert disparity.shape == (32, 96)
    assert np.allclose(disparity, 2.0 * 96 / size[1])
    steps = np.diff(seen[0][0, 2:-2, 0].astype(int))
    assert steps.max() <= max(1, 96 // size[1])
    stripes = np.tile(np.array([0, 200], np.uint8), 48)[None, :, None].repeat(32, 0).repeat(3, 2)
    resized_teacher(size, seen)(stripes, stripes)
    if size[1] == 48:
        assert (seen[-1] == 100).all()


def test_growing_by_fractions_makes_no_blocks():
    """By areas a pixel that is grown threefold is repeated."""
    seen = []
    step = np.zeros((32, 64, 3), np.uint8)
    step[:, 32:] = 240
    resized_teacher((96, 192), seen)(step, step)
    assert len(np.unique(seen[0])) > 2


def test_sky_is_known_and_what_is_below_0_is_sky(tmp_path):
    def teacher(left, right):
        return np.full(left.shape[:2], -0.4, np.float32)

    paths = [tmp_path / f"{side}.png" for side in ("left", "right")]
    for path in paths:
        cv2.imwrite(str(path), np.zeros((64, 96, 3), np.uint8))
    scene = Scene("a", "rig", *paths)
    (labelled,) = label_pairs(teacher, [scene], sha256="x", folder=tmp_path / "labels")
    assert (labelled.load_truth().disparity_px == 0).all()


def test_0_is_known_only_where_the_file_is_ours(tmp_path):
    stored = np.array([[0.0, -2.0, 3.0, np.nan, np.inf]], np.float32)
    np.savez(tmp_path / "map.npz", disparity_px=stored)
    ours = DisparityFile(tmp_path / "map.npz", zero_known=True).read()
    np.testing.assert_array_equal(ours, [[0, 0, 3, np.nan, np.nan]])
    others = DisparityFile(tmp_path / "map.npz").read()
    np.testing.assert_array_equal(others, [[np.nan, 2, 3, np.nan, np.nan]])
