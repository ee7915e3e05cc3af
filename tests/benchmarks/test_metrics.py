"""Metrics against the benchmarks' own loops, written out naively."""

import math

import numpy as np
import pytest

from litestereo.benchmarks.metrics import (
    METRIC_NAMES,
    MetricOptions,
    RegionMetrics,
    fill_holes,
    mean_metrics,
    pooled_metrics,
    score,
    score_regions,
    scored_disparity,
)
from litestereo.errors import InputError

NAN = float("nan")


def rows(*values):
    return np.array(values, np.float32)


@pytest.fixture
def pair(rng):
    """A noisy answer with holes and its truth with unknown pixels, 20x30."""
    truth = rng.uniform(1, 120, (20, 30)).astype(np.float32)
    answer = truth + rng.normal(0, 3, truth.shape).astype(np.float32)
    answer[rng.random(truth.shape) < 0.2] = np.nan
    truth[rng.random(truth.shape) < 0.3] = np.nan
    return answer, truth


def middlebury_sdk(answer, truth, limit):
    """evaldisp.cpp: total bad percentage and average error over answered pixels."""
    total = bad = invalid = 0
    error_sum = 0.0
    for d, gt in zip(answer.ravel(), truth.ravel(), strict=True):
        if not np.isfinite(gt):
            continue
        total += 1
        if not np.isfinite(d):
            invalid += 1
            continue
        error = abs(max(0.0, float(d)) - float(gt))
        error_sum += error
        bad += error > limit
    return 100 * (bad + invalid) / total, error_sum / (total - invalid), 100 * (1 - invalid / total)


def kitti_devkit(filled, truth):
    """evaluate_scene_flow.cpp: outliers over pixels with truth, after holes are filled."""
    total = outliers = 0
    for d, gt in zip(filled.ravel(), truth.ravel(), strict=True):
        if np.isfinite(gt):
            error = abs(float(d) - float(gt))
            outliers += error > 3 and error / gt > 0.05
            total += 1
    return 100 * outliers / total


def kitti_fill(answer):
    """io_disp.h's interpolateBackground of one row, hole by hole."""
    filled = answer.copy()
    for v, row in enumerate(answer):
        known = [u for u in range(len(row)) if np.isfinite(row[u])]
        for u in range(len(row)):
            if u not in known:
                around = [max((k for k in known if k < u), default=None)]
                around.append(min((k for k in known if k > u), default=None))
                filled[v, u] = min(row[k] for k in around if k is not None)
    return filled


@pytest.mark.parametrize(
    ("limit", "name"), [(0.5, "bad_0_5"), (1, "bad_1"), (2, "bad_2"), (3, "bad_3")]
)
def test_bad_and_average_as_middleburys_sdk(pair, limit, name):
    metrics = score(*pair, options=MetricOptions(holes="bad"))
    bad, average, density = middlebury_sdk(*pair, limit)
    assert getattr(metrics, name) == pytest.approx(bad)
    assert metrics.epe == pytest.approx(average, abs=1e-5)
    assert metrics.density == pytest.approx(density)


def test_d1_as_kittis_devkit(pair):
    answer, truth = pair
    filled = kitti_fill(answer)
    np.testing.assert_array_equal(fill_holes(answer), filled)
    assert score(answer, truth).d1 == pytest.approx(kitti_devkit(np.maximum(filled, 0), truth))


def test_rms_and_quantiles_by_sorting(pair):
    answer, truth = pair
    metrics = score(answer, truth, options=MetricOptions(holes="skip"))
    error = np.abs(np.maximum(answer, 0) - truth)
    errors = sorted(float(e) for e in error[np.isfinite(error)])
    assert metrics.rms == pytest.approx(math.sqrt(sum(e * e for e in errors) / len(errors)))
    for name, share in (("median", 0.5), ("a90", 0.9), ("a99", 0.99)):
        first = next(e for i, e in enumerate(errors, 1) if i >= share * len(errors))
        assert getattr(metrics, name) == pytest.approx(first)


@pytest.mark.parametrize("limit", [0.5, 1.0, 2.0, 3.0])
def test_thresholds_are_strict(limit):
    name = {0.5: "bad_0_5"}.get(limit, f"bad_{limit:.0f}")
    truth = rows([8, 8])
    at, over = 8 + np.float32(limit), np.nextafter(np.float32(8 + limit), np.float32(99))
    assert getattr(score(rows([at, 8]), truth), name) == 0
    assert getattr(score(rows([over, 8]), truth), name) == 50


@pytest.mark.parametrize(
    ("answer", "truth", "d1"),
    [
        (13.01, 10, 100),  # over 3 px and over 5 %
        (13, 10, 0),  # exactly 3 px
        (103.5, 100, 0),  # over 3 px, under 5 %
        (105, 100, 0),  # exactly 5 %, which a float32 quotient would call more
        (105.01, 100, 100),
        (2, 1, 0),  # 100 %, but 1 px
    ],
)
def test_d1_needs_both_limits(answer, truth, d1):
    assert score(rows([answer]), rows([truth])).d1 == d1


@pytest.mark.parametrize("hole", [NAN, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("holes", "pixels", "answered", "bad", "epe"),
    [("fill", 4, 4, 25.0, 1.0), ("bad", 4, 3, 25.0, 0.0), ("skip", 3, 3, 0.0, 0.0)],
)
def test_holes(hole, holes, pixels, answered, bad, epe):
    metrics = score(
        rows([10, 14, hole, 10]), rows([10, 14, 14, 10]), options=MetricOptions(holes=holes)
    )
    assert (metrics.pixels, metrics.answered) == (pixels, answered)
    assert (metrics.bad_3, metrics.d1, metrics.epe) == (bad, bad, epe)
    assert metrics.density == 75


@pytest.mark.parametrize(("nonpositive", "density", "epe"), [("clip", 100, 2.0), ("hole", 50, 0.0)])
def test_nonpositive_answers(nonpositive, density, epe):
    options = MetricOptions(holes="skip", nonpositive=nonpositive)
    metrics = score(rows([-5, 0, 3, 3]), rows([4, 4, 3, 3]), options=options)
    assert (metrics.density, metrics.epe) == (density, epe)


def test_truth_that_is_unknown_is_not_scored():
    metrics = score(rows([1, 1, 1, 1, 1]), rows([1, 0, NAN, math.inf, -2]))
    assert metrics.pixels == 1
    assert metrics.bad_0_5 == 0


def test_no_truth_is_none_and_not_zero():
    metrics = score(rows([1, 2]), rows([NAN, 0]))
    assert metrics.pixels == 0
    assert [getattr(metrics, name) for name in METRIC_NAMES] == [None] * len(METRIC_NAMES)
    assert score_regions(rows([1]), rows([1]))["noc"] is None


@pytest.mark.parametrize("holes", ["fill", "bad"])
def test_no_answer_at_all_is_all_bad_without_an_error(holes):
    metrics = score(rows([NAN, NAN]), rows([5, 6]), options=MetricOptions(holes=holes))
    assert (metrics.bad_3, metrics.d1, metrics.density) == (100, 100, 0)
    assert (metrics.epe, metrics.rms, metrics.a99) == (None, None, None)


def test_visible_pixels_apart():
    visible = np.array([[True, True, False]])
    regions = score_regions(rows([5, 9, 50]), rows([5, 5, 5]), visible=visible)
    assert (regions["all"].pixels, regions["noc"].pixels) == (3, 2)
    assert (regions["noc"].epe, regions["noc"].bad_3) == (2.0, 50.0)


def test_sizes_are_checked():
    with pytest.raises(InputError, match="disparity is 1x2 but the ground truth is 1x3"):
        score(rows([1, 2]), rows([1, 2, 3]))
    with pytest.raises(InputError, match="visibility mask is 1x1"):
        score_regions(rows([1, 2]), rows([1, 2]), visible=np.ones((1, 1), bool))


@pytest.mark.parametrize("option", [{"holes": "guess"}, {"nonpositive": "maybe"}])
def test_unknown_options_are_refused(option):
    with pytest.raises(InputError, match="is unknown; choose one of"):
        MetricOptions(**option)


def test_filling_takes_the_background_and_the_nearest_row():
    holes = rows([NAN] * 4, [NAN, 7, NAN, 3], [NAN] * 4, [9, NAN, NAN, NAN])
    np.testing.assert_array_equal(
        fill_holes(holes), rows([7, 7, 3, 3], [7, 7, 3, 3], [7, 7, 3, 3], [9, 9, 9, 9])
    )
    assert np.isnan(fill_holes(rows([NAN, NAN]))).all()
    np.testing.assert_array_equal(scored_disparity(rows([-1, NAN, 4])), rows([0, 0, 4]))


def test_mean_weighs_scenes_and_pooled_weighs_pixels():
    small = score(rows([0, 8]), rows([8, 8]))  # 1 of 2 bad, errors 8 and 0
    large = score(rows([8] * 8), rows([8] * 8))
    mean, pooled = mean_metrics([small, large]), pooled_metrics([small, large], holes="fill")
    assert (mean.bad_3, pooled.bad_3) == (25.0, 10.0)
    assert (mean.epe, pooled.epe) == (2.0, pytest.approx(0.8))
    together = score(rows([0] + [8] * 9), rows([8] * 10))
    assert pooled.rms == pytest.approx(together.rms)
    assert (mean.pixels, pooled.pixels) == (10, 10)
    assert pooled.a99 is None  # does not follow from the parts


@pytest.mark.parametrize("holes", ["skip", "fill", "bad"])
def test_pooled_density_counts_every_pixel_with_truth(holes):
    truth = np.full((10, 10), 20, np.float32)
    sparse = truth.copy()
    sparse.ravel()[:90] = NAN
    options = MetricOptions(holes=holes)
    parts = [score(answer, truth, options=options) for answer in (truth, sparse)]
    assert pooled_metrics(parts, holes=holes).density == 55


def test_means_take_weights_and_skip_what_is_unknown():
    half, none, unknown = (
        RegionMetrics(4, 4, bad_1=50.0),
        RegionMetrics(4, 4, bad_1=0.0),
        RegionMetrics(0, 0),
    )
    assert mean_metrics([half, none, unknown]).bad_1 == 25
    assert mean_metrics([half, none], weights=[0.5, 1.0]).bad_1 == pytest.approx(50 / 3)
    assert mean_metrics([half, none]).epe is None
    assert mean_metrics([]) is None
    assert mean_metrics([unknown]) is None
    assert pooled_metrics([unknown], holes="fill") is None
    assert pooled_metrics([half, unknown], holes="fill") == half
