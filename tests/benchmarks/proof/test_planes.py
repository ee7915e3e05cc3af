"""The pictures and figures of the engine proof, which itself needs a GPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

PROOF = Path(__file__).resolve().parents[3] / "benchmarks/proof"
sys.path.insert(0, str(PROOF))

from common import percentiles  # noqa: E402 - the scripts are no package
from planes import PLANES, plane_residual_px, rendered_plane  # noqa: E402

SIZE = (96, 640)


def truth_of(plane, size):
    """The plane by its definition; at these sizes none of PLANES has to be lowered."""
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float64)
    across, down, offset = plane
    return across * columns + down * rows + offset


def test_the_right_picture_shows_what_the_left_one_does():
    plane = (0.02, 0.01, 20.0)
    left, right = (image.astype(float) for image in rendered_plane(plane, size=SIZE, seed=0))
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    seen_at = columns - truth_of(plane, SIZE)
    inside = seen_at >= 0
    low = np.floor(seen_at[inside]).astype(int)
    part = (seen_at[inside] - low)[:, None]
    found = (1 - part) * right[rows[inside], low] + part * right[rows[inside], low + 1]
    error = np.abs(found - left[inside])
    assert error.mean() < 3, "rounding and interpolating twice cost about 2 of 255"
    shifted = np.abs(right[rows[inside], low - 2 * (low > 2)] - left[inside])
    assert shifted.mean() > 4 * error.mean(), "another disparity fits much worse"


@pytest.mark.parametrize("plane", PLANES)
def test_an_exact_plane_has_no_residual(plane):
    found = plane_residual_px(truth_of(plane, SIZE), plane, size=SIZE)
    assert found["rms_px"] < 1e-9
    assert found["share"] > 0.3
    assert found["deepest_px"] < 192


def test_steps_of_half_precision_show():
    plane = (0.01, 0.02, 140.0)
    stepped = truth_of(plane, SIZE).astype(np.float16).astype(np.float32)
    found = plane_residual_px(stepped, plane, size=SIZE)
    assert found["rms_px"] == pytest.approx(0.125 / np.sqrt(12), rel=0.05)


def test_a_plane_that_was_not_matched_is_not_judged():
    assert plane_residual_px(np.zeros(SIZE), PLANES[0], size=SIZE) is None


def test_percentiles_are_samples():
    found = percentiles([float(value) for value in range(1, 101)])
    assert (found["p50_ms"], found["p90_ms"], found["p99_ms"], found["max_ms"]) == (50, 90, 99, 100)


@pytest.mark.parametrize("path", sorted((PROOF / "results").glob("*.json")), ids=lambda p: p.stem)
def test_committed_findings_are_whole_and_tell_nothing_private(path):
    text = path.read_text()
    assert json.loads(text)["schema"] == "litestereo.proof"
    for private in ("/home/", "/root/", "/work/", "/tmp/", "/Users/", '"failed"'):
        assert private not in text
