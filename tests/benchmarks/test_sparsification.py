"""Sparsification curves against removal written out, and on confidences with known areas."""

import numpy as np
import pytest

from litestereo.benchmarks.sparsification import sparsification
from litestereo.errors import InputError


@pytest.fixture
def error(rng):
    return rng.exponential(1.0, (40, 50)).astype(np.float32)


def removed_one_by_one(error, confidence, share):
    """Mean error of what is left when the least confident `share` is gone, over that of all."""
    order = np.argsort(-confidence.ravel(), kind="stable")
    kept = order[: max(1, int(np.ceil(error.size * (1 - share))))]
    return error.ravel()[kept].astype(np.float64).mean() / error.astype(np.float64).mean()


def test_curves_follow_from_removal(error, rng):
    confidence = rng.random(error.shape).astype(np.float32)  # without ties
    curves = sparsification(error, confidence)
    for index in (0, 1, 37, 99):
        share = curves.removed[index]
        by_confidence = removed_one_by_one(error, confidence, share)
        assert curves.by_confidence[index] == pytest.approx(by_confidence)
        assert curves.by_error[index] == pytest.approx(removed_one_by_one(error, -error, share))
    assert (curves.by_confidence[0], curves.by_error[0]) == (pytest.approx(1), pytest.approx(1))


def test_perfect_useless_and_inverted_confidence(error):
    perfect = sparsification(error, 1 / (1 + error))
    useless = sparsification(error, np.full_like(error, 0.5))
    inverted = sparsification(error, error)
    assert perfect.ause == pytest.approx(0, abs=1e-6)
    assert useless.ause == pytest.approx(useless.ause_random)  # ties count as random order
    assert inverted.ause > inverted.ause_random > 0.5


def test_noise_scores_like_random_removal(rng):
    error = rng.exponential(1.0, (300, 300)).astype(np.float32)
    curves = sparsification(error, rng.random(error.shape).astype(np.float32))
    assert curves.ause == pytest.approx(curves.ause_random, abs=0.01)


def test_oracle_area_of_two_values():
    # Half of the pixels is wrong by 2: the oracle falls to 0 as (1 - 2 r) / (1 - r).
    error = np.array([0, 2] * 5000, np.float32)
    curves = sparsification(error, np.zeros_like(error))
    shares = np.linspace(0, 0.5, 10_001)
    falling = (1 - 2 * shares) / (1 - shares)
    area = 1 - ((falling[1:] + falling[:-1]) / 2).sum() * (shares[1] - shares[0])
    assert curves.ause_random == pytest.approx(area, abs=1e-3)


def test_unscored_pixels_do_not_count(error, rng):
    confidence = rng.random(error.shape).astype(np.float32)
    wider = np.hstack([error, np.full_like(error, np.nan)])
    trusted = np.hstack([confidence, np.full_like(error, np.nan)])
    assert sparsification(wider, trusted) == sparsification(error, confidence)


def test_nothing_to_sort_is_none():
    assert sparsification(np.full(5, np.nan, np.float32), np.ones(5, np.float32)) is None
    assert sparsification(np.zeros(5, np.float32), np.ones(5, np.float32)) is None


def test_wrong_maps_are_refused(error):
    with pytest.raises(InputError, match="confidence is"):
        sparsification(error, np.ones((2, 2), np.float32))
    with pytest.raises(InputError, match="confidence is NaN"):
        sparsification(error, np.full_like(error, np.nan))
