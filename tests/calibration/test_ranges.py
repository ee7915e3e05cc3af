"""Ranges of activations against slow, plain versions."""

import numpy as np
import pytest

from litestereo.calibration.ranges import ActivationStatistics, step_of
from litestereo.errors import CalibrationError


def observed(*tensors):
    found = ActivationStatistics()
    for tensor in tensors:
        found.add(np.asarray(tensor, np.float32))
    return found


@pytest.fixture
def bell(rng):
    return rng.normal(0, 1, (1, 4, 64, 64)).astype(np.float32)


def quantised(values, threshold):
    step = threshold / 127
    return np.clip(np.rint(values / step), -127, 127) * step


def test_the_largest_value_and_the_means_are_exact(bell):
    found = observed(bell, 3 * bell + 1)
    assert found.largest == pytest.approx(float(np.abs(3 * bell + 1).max()))
    expected = (bell.mean(axis=(0, 2, 3)) + (3 * bell + 1).mean(axis=(0, 2, 3))) / 2
    assert found.channel_means == pytest.approx(expected, abs=1e-5)
    assert found.counts.sum() == 2 * bell.size
    assert found.threshold("minmax") == found.largest


def test_a_histogram_that_grew_is_that_of_all_values(bell):
    found = observed(bell / 100, bell)
    both = np.abs(np.concatenate([bell / 100, bell]))
    expected = np.histogram(both, len(found.counts), (0, found.limit))[0]
    # The first tensor was counted in finer bins, so at most a neighbouring bin differs.
    assert np.abs(np.cumsum(found.counts) - np.cumsum(expected)).max() <= 2
    assert found.limit >= found.largest > found.limit / 2


def test_percentile_leaves_one_in_ten_thousand_out(rng):
    values = np.append(rng.uniform(-1, 1, 99_999), 50.0).reshape(1, 1, 400, 250)
    found = observed(values)
    assert found.threshold("minmax") == 50
    assert found.threshold("percentile") == pytest.approx(1, abs=0.05)


def test_mse_is_as_good_as_the_best_of_a_search(bell):
    bell[0, 0, 0, 0] = 12.0  # one outlier
    found = observed(bell)
    errors = {
        threshold: np.square(quantised(bell, threshold) - bell).sum()
        for threshold in np.linspace(0.5, 12, 60)
    }
    chosen = found.threshold("mse")
    assert np.square(quantised(bell, chosen) - bell).sum() <= 1.05 * min(errors.values())


def test_entropy_clips_a_lonely_outlier_and_keeps_a_uniform_range(rng, bell):
    bell[0, 0, 0, 0] = 40.0
    assert 1 < observed(bell).threshold("entropy") < 20
    even = observed(rng.uniform(-2, 2, (1, 1, 100, 100)))
    assert even.threshold("entropy") > 1.7


def test_zeros_have_an_empty_range_and_the_smallest_step():
    found = observed(np.zeros((1, 2, 3, 3)))
    assert found.threshold("entropy") == 0
    assert step_of(0.0) == 2.0**-14


def test_a_value_that_is_no_number_is_refused(bell):
    bell[0, 1, 2, 3] = np.nan
    with pytest.raises(CalibrationError, match="not a finite number"):
        observed(bell)


def test_steps_are_half_numbers_that_clip_nothing(rng):
    thresholds = rng.uniform(1e-3, 300, 500).astype(np.float32)
    steps = step_of(thresholds)
    assert np.array_equal(steps.astype(np.float16).astype(np.float32), steps)
    assert (steps * 127 >= thresholds * (1 - 1e-6)).all()
    assert (steps * 127 <= thresholds * 1.001 + 127 * 2.0**-14).all()
