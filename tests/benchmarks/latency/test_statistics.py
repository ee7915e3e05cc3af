"""Percentiles against NumPy, the limits of what few samples say, and intervals that cover."""

import numpy as np
import pytest

from litestereo.benchmarks.latency.statistics import (
    Interval,
    format_ms,
    median_interval,
    percentile,
    ratio_interval,
    summarize,
)


@pytest.mark.parametrize("count", [10, 11, 30, 60, 99, 100, 101, 300, 999, 1000])
@pytest.mark.parametrize("percent", [50, 90, 95, 99])
def test_percentiles_are_numpys_inverted_cdf(rng, count, percent):
    samples = rng.gamma(2, 5, count)
    got = percentile(list(samples), percent)
    if percent > 50 and count * (100 - percent) // 100 < 3:
        assert got is None
    else:
        # In NumPy 0.95 * 300 is above 285; the rule is in whole numbers, and asks for sample 285.
        exact = np.float64(percent) / 100 - 1e-9
        assert got == np.quantile(samples, exact, method="inverted_cdf")
        assert got in samples


def test_known_samples():
    samples = list(range(1000, 0, -1))
    assert [percentile(samples, percent) for percent in (50, 90, 95, 99)] == [500, 900, 950, 990]
    # trtexec: sorted[n - 1 - floor((1 - p) n)]
    assert percentile(list(range(1, 302)), 99) == 301 - 3


@pytest.mark.parametrize(
    ("count", "told"),
    [(9, ""), (10, "p50"), (29, "p50"), (30, "p50 p90"), (60, "p50 p90 p95"), (299, "p50 p90 p95")],
)
def test_few_samples_tell_few_percentiles(count, told):
    summary = summarize(list(range(1, count + 1)), block=10)
    names = ("p50", "p90", "p95", "p99")
    assert " ".join(name for name in names if getattr(summary, f"{name}_ms")) == told
    assert summary.max_ms == count


def test_summary_of_known_samples():
    summary = summarize([1.0, 3.0] * 50, block=10)
    assert (summary.samples, summary.mean_ms, summary.p50_ms) == (100, 2.0, 1.0)
    assert summary.variation == pytest.approx(np.std([1.0, 3.0] * 50, ddof=1) / 2)


def test_interval_of_the_median_covers_the_truth_about_95_times_of_100():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(100):
        interval = median_interval(list(rng.normal(10, 1, 200)), block=5)
        covered += interval.low <= 10 <= interval.high
    assert 88 <= covered <= 100


def test_blocks_that_drift_widen_the_interval():
    rng = np.random.default_rng(5)
    steady = rng.normal(10, 0.1, 200)
    drifting = steady + np.repeat(rng.normal(0, 1, 20), 10)
    calm, wild = (median_interval(list(values), block=10) for values in (steady, drifting))
    assert wild.high - wild.low > 5 * (calm.high - calm.low)


def test_few_blocks_have_no_interval():
    assert median_interval([1.0] * 40, block=10) is None
    assert median_interval([1.0] * 50, block=10) == Interval(1.0, 1.0)


def test_noise_is_called_noise():
    rng = np.random.default_rng(1)
    assert summarize(list(rng.uniform(1, 20, 60)), block=10).noisy
    assert not summarize(list(rng.normal(10, 0.1, 600)), block=10).noisy


def test_paired_ratios_cancel_drift():
    rng = np.random.default_rng(2)
    drift = np.repeat(rng.uniform(0.5, 2, 30), 10)
    one, two = 10 * drift * rng.normal(1, 0.01, 300), 20 * drift * rng.normal(1, 0.01, 300)
    paired, free = (
        ratio_interval(list(two), list(one), block=10, paired=paired) for paired in (True, False)
    )
    assert paired.low < 2 < paired.high
    assert (paired.high - paired.low) < (free.high - free.low) / 3


@pytest.mark.parametrize(
    ("value", "uncertainty", "text"),
    [
        (None, None, "-"),
        (12.3456, None, "12"),
        (12.3456, 0.001, "12.3"),
        (12.3456, 0.4, "12.3"),
        (12.3456, 2.0, "12"),
        (12.0, 0.65, "12"),  # over 5 %: noise has two digits
        (123.456, 20.0, "120"),
        (0.012345, 0.00001, "0.0123"),
        (1234.5, 0.5, "1230"),
        (5.0, 70.0, "0"),
        (0.0, None, "0"),
    ],
)
def test_no_more_digits_than_are_known(value, uncertainty, text):
    assert format_ms(value, uncertainty_ms=uncertainty) == text
