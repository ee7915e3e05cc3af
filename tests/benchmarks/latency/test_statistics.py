"""Percentiles against NumPy, the limits of what few samples say, and intervals that cover."""

import numpy as np
import pytest

from litestereo.benchmarks.latency.statistics import (
    Interval,
    even_turns,
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
    summary = summarize(list(range(1, count + 1)), turns=even_turns(count, block=10))
    names = ("p50", "p90", "p95", "p99")
    assert " ".join(name for name in names if getattr(summary, f"{name}_ms")) == told
    assert summary.max_ms == count


def test_summary_of_known_samples():
    summary = summarize([1.0, 3.0] * 50, turns=[10] * 10)
    assert (summary.samples, summary.mean_ms, summary.p50_ms) == (100, 2.0, 1.0)
    assert summary.variation == pytest.approx(np.std([1.0, 3.0] * 50, ddof=1) / 2)


def test_interval_of_the_median_covers_the_truth_about_95_times_of_100():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(100):
        interval = median_interval(list(rng.normal(10, 1, 200)), turns=[5] * 40)
        covered += interval.low <= 10 <= interval.high
    assert 88 <= covered <= 100


def test_blocks_that_drift_widen_the_interval():
    rng = np.random.default_rng(5)
    steady = rng.normal(10, 0.1, 200)
    drifting = steady + np.repeat(rng.normal(0, 1, 20), 10)
    calm, wild = (median_interval(list(values), turns=[10] * 20) for values in (steady, drifting))
    assert wild.high - wild.low > 5 * (calm.high - calm.low)


def test_turns_of_unequal_length_are_resampled_whole():
    rng = np.random.default_rng(7)
    lengths = rng.integers(40, 61, 12)  # an open loop's turns; some frames were dropped
    level = 10 * (1 + np.repeat(rng.normal(0, 0.08, 12), lengths))
    samples = list(level + rng.normal(0, 0.05, len(level)))
    turns, tens = (
        median_interval(samples, turns=parts)
        for parts in (lengths, even_turns(len(samples), block=10))
    )
    assert turns.low <= 10 <= turns.high
    assert turns.high - turns.low > 1.7 * (tens.high - tens.low)


def test_unequal_turns_are_drawn_as_they_are():
    samples, lengths = [*[1.0] * 30, *[2.0] * 3, 3.0, *[4.0] * 2, 5.0], (30, 3, 1, 2, 1)
    pieces = [[1.0] * 30, [2.0] * 3, [3.0], [4.0] * 2, [5.0]]
    draws = np.random.default_rng(1).integers(0, 5, (2000, 5))
    naive = [
        np.quantile(np.concatenate([pieces[turn] for turn in draw]), 0.5, method="inverted_cdf")
        for draw in draws
    ]
    low, high = np.percentile(naive, [2.5, 97.5], method="inverted_cdf")
    assert median_interval(samples, turns=lengths) == Interval(low, high)


def test_few_turns_have_no_interval():
    assert median_interval([1.0] * 40, turns=[10] * 4) is None
    assert median_interval([1.0] * 50, turns=[10] * 5) == Interval(1.0, 1.0)


def test_noise_is_called_noise():
    rng = np.random.default_rng(1)
    assert summarize(list(rng.uniform(1, 20, 60)), turns=[10] * 6).noisy
    assert not summarize(list(rng.normal(10, 0.1, 600)), turns=[10] * 60).noisy


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
