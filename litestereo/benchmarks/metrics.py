"""Disparity error metrics by the benchmarks' own definitions.

Sources, read line by line:

* Middlebury stereo SDK, `evaldisp.cpp` (version of 2015-01-27): strict `>` against the bad
  threshold, answers below 0 clipped to 0, unanswered pixels counted in the "total bad" percentage
  and left out of the average error; the mask value 255 alone means visible.
* KITTI 2012 devkit, `evaluate_stereo.cpp`, and KITTI 2015 devkit, `evaluate_scene_flow.cpp`:
  holes are filled from the background before scoring; D1 = error over 3 px and over 5 % of the
  truth, both strict; density = answered share of the ground-truth pixels.
* Middlebury online evaluation, version 3: A50, A90 and A99 are quantiles of the absolute error.

**Convention**: errors are float32 as in both tools, sums float64; percentages run 0..100; a metric
without any pixel to measure is None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from litestereo.errors import InputError

__all__ = [
    "BAD_THRESHOLDS_PX",
    "D1_INVERSE_SHARE",
    "D1_PX",
    "METRIC_NAMES",
    "Holes",
    "MetricOptions",
    "RegionMetrics",
    "fill_holes",
    "mean_metrics",
    "pooled_metrics",
    "score",
    "score_regions",
    "scored_disparity",
]

FloatMap = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

BAD_THRESHOLDS_PX = (0.5, 1.0, 2.0, 3.0)
D1_PX = 3.0
D1_INVERSE_SHARE = 20

Holes = Literal["fill", "bad", "skip"]
Nonpositive = Literal["clip", "hole"]


@dataclass(frozen=True, slots=True)
class MetricOptions:
    """How pixels without a usable answer are treated.

    Attributes:
        holes: what happens where the matcher gives no finite answer. "fill" takes the smaller
            neighbour in the row first (KITTI); "bad" counts them in every bad-n and in D1 and
            leaves them out of the errors in pixels (Middlebury "total bad"); "skip" scores answered
            pixels only (KITTI "est" columns).
        nonpositive: answers <= 0 are moved to 0 ("clip", Middlebury) or are holes ("hole", as in
            a KITTI PNG).
    """

    holes: Holes = "fill"
    nonpositive: Nonpositive = "clip"

    def __post_init__(self) -> None:
        """Refuse words that mean nothing here."""
        for name, allowed in (("holes", get_args(Holes)), ("nonpositive", get_args(Nonpositive))):
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"metric option {name}={getattr(self, name)!r} is unknown; "
                    f"choose one of {', '.join(allowed)}"
                )


@dataclass(frozen=True, slots=True)
class RegionMetrics:
    """Metrics over one region of one scene, or over several scenes.

    Attributes:
        pixels: scored pixels: the denominator of bad-n and D1.
        answered: those of them with a finite answer: the denominator of the errors in pixels.
        density: answered share of the region's ground-truth pixels, before filling, percent.
        epe: mean absolute error, px.
        rms: root of the mean squared error, px.
        median: median absolute error (A50), px.
        a90: error that 90 % of the pixels do not exceed, px.
        a99: error that 99 % of the pixels do not exceed, px.
        bad_0_5: share of pixels with an error over 0.5 px, percent.
        bad_1: likewise over 1 px.
        bad_2: likewise over 2 px.
        bad_3: likewise over 3 px.
        d1: share of pixels with an error over 3 px and over 5 % of the truth, percent.
    """

    pixels: int
    answered: int
    density: float | None = None
    epe: float | None = None
    rms: float | None = None
    median: float | None = None
    a90: float | None = None
    a99: float | None = None
    bad_0_5: float | None = None
    bad_1: float | None = None
    bad_2: float | None = None
    bad_3: float | None = None
    d1: float | None = None


METRIC_NAMES = tuple(field.name for field in fields(RegionMetrics))[2:]


def score_regions(
    disparity_px: FloatMap,
    truth_px: FloatMap,
    *,
    visible: Mask | None = None,
    options: MetricOptions | None = None,
) -> dict[str, RegionMetrics | None]:
    """Score a disparity map over all ground-truth pixels and over the non-occluded ones.

    Args:
        disparity_px: (H, W) float32; NaN or inf where the matcher has no answer.
        truth_px: (H, W) float32; NaN, inf or <= 0 where the truth is unknown.
        visible: (H, W) bool, True where the right camera sees the point too; None if unknown.
        options: treatment of holes; the default fills them.

    Returns:
        `{"all": ..., "noc": ...}`; "noc" is None if `visible` is.

    Raises:
        InputError: the maps differ in size.
    """
    known = np.isfinite(truth_px) & (truth_px > 0)
    _check_sizes(disparity_px, truth_px, visible)
    options = options or MetricOptions()
    answered = np.isfinite(_answer(disparity_px, options))
    filled = scored_disparity(disparity_px, options=options)
    scored = known & answered if options.holes == "skip" else known

    def region(mask: Mask) -> RegionMetrics:
        inside = known & mask
        share = _percent(int((answered & inside).sum()), int(inside.sum()))
        return _measure(filled[scored & mask], truth_px[scored & mask], density=share)

    return {
        "all": region(np.ones_like(known)),
        "noc": None if visible is None else region(visible),
    }


def score(
    disparity_px: FloatMap, truth_px: FloatMap, *, options: MetricOptions | None = None
) -> RegionMetrics:
    """Score a disparity map over all ground-truth pixels; see `score_regions`.

    Args:
        disparity_px: (H, W) float32; NaN is a hole.
        truth_px: (H, W) float32; NaN is unknown.
        options: how holes and the range are treated; None is the default.
    """
    metrics = score_regions(disparity_px, truth_px, options=options)["all"]
    assert metrics is not None
    return metrics


def scored_disparity(disparity_px: FloatMap, *, options: MetricOptions | None = None) -> FloatMap:
    """Return what is scored: clipped and, if asked for, filled; NaN in the holes that stay.

    Args:
        disparity_px: (H, W) float32; NaN is a hole.
        options: how holes and the range are treated; None is the default.
    """
    options = options or MetricOptions()
    answer = _answer(disparity_px, options)
    return fill_holes(answer) if options.holes == "fill" else answer


def fill_holes(disparity_px: FloatMap) -> FloatMap:
    """Fill holes from the background: the smaller of the next answers left and right in the row.

    At the row's ends there is one such answer; rows without any take the nearest answered row
    above, or else below. Within a row with an answer that is KITTI's `interpolateBackground`.

    Args:
        disparity_px: (H, W) float32; NaN or inf in holes.

    Returns:
        (H, W) float32 without holes; unchanged where no pixel has an answer.
    """
    valid = np.isfinite(disparity_px)
    if valid.all() or not valid.any():
        return disparity_px
    before = _last_answer(disparity_px, valid)
    after = _last_answer(disparity_px[:, ::-1], valid[:, ::-1])[:, ::-1]
    filled = np.where(valid, disparity_px, np.fmin(before, after))
    rows = np.flatnonzero(valid.any(axis=1))
    nearest = np.clip(np.searchsorted(rows, np.arange(len(filled)), side="right") - 1, 0, None)
    return np.asarray(filled[rows[nearest]], np.float32)


def mean_metrics(
    parts: Iterable[RegionMetrics], *, weights: Iterable[float] | None = None
) -> RegionMetrics | None:
    """Average scenes, as Middlebury, ETH3D and KITTI 2012 do; None if no scene has a pixel.

    Args:
        parts: one per scene. A scene without a metric (no answer: no EPE) leaves that mean alone.
        weights: one per scene, as Middlebury's; None weighs all alike.
    """
    given = list(parts)
    factors = [1.0] * len(given) if weights is None else list(weights)
    pairs = [(scene, factor) for scene, factor in zip(given, factors, strict=True) if scene.pixels]
    if not pairs:
        return None
    means: dict[str, float] = {}
    for name in METRIC_NAMES:
        values = [
            (value, factor)
            for scene, factor in pairs
            if (value := getattr(scene, name)) is not None
        ]
        if values:
            total = sum(value * factor for value, factor in values)
            means[name] = total / sum(factor for _, factor in values)
    scenes = [scene for scene, _ in pairs]
    return RegionMetrics(
        sum(scene.pixels for scene in scenes), sum(scene.answered for scene in scenes), **means
    )


def pooled_metrics(parts: Iterable[RegionMetrics], *, holes: Holes) -> RegionMetrics | None:
    """Average over the pixels of all scenes together, as KITTI 2015 does; None if there are none.

    Quantiles of the union do not follow from those of its parts, so they are None unless there is
    one scene only.

    Args:
        parts: one of each scene; without a scored pixel it is left out, of the density too.
        holes: how they were scored; "skip" counts other pixels than the density does.
    """
    scenes = [scene for scene in parts if scene.pixels]
    if len(scenes) <= 1:
        return scenes[0] if scenes else None
    pooled: dict[str, float | None] = {
        name: _weighted(scenes, name, by="pixels") for name in METRIC_NAMES if _is_share(name)
    }
    if holes == "skip":
        pooled["density"] = _pooled_density(scenes)
    pooled["epe"] = _weighted(scenes, "epe", by="answered")
    square = _weighted(scenes, "rms", by="answered", power=2)
    pooled["rms"] = None if square is None else float(np.sqrt(square))
    return RegionMetrics(
        sum(scene.pixels for scene in scenes), sum(scene.answered for scene in scenes), **pooled
    )


def _measure(answer_px: FloatMap, truth_px: FloatMap, *, density: float | None) -> RegionMetrics:
    """Measure scored pixels, (N,) float32 each; NaN answers count as bad."""
    total = len(truth_px)
    error = np.abs(answer_px - truth_px)
    holes = ~np.isfinite(error)
    # Exact: a float32 times 20 fits a float64. The devkit's C++ compares a float32 quotient with a
    # float64 0.05, so that errors of exactly 5 %, which are not over 5 %, count there as well.
    d1 = (error > D1_PX) & (error.astype(np.float64) * D1_INVERSE_SHARE > truth_px)
    over = {limit: int((holes | (error > limit)).sum()) for limit in BAD_THRESHOLDS_PX}
    measured = RegionMetrics(
        total,
        total - int(holes.sum()),
        density,
        bad_0_5=_percent(over[0.5], total),
        bad_1=_percent(over[1.0], total),
        bad_2=_percent(over[2.0], total),
        bad_3=_percent(over[3.0], total),
        d1=_percent(int((holes | d1).sum()), total),
    )
    if not measured.answered:
        return measured
    return _with_errors(measured, error[~holes].astype(np.float64))


def _with_errors(measured: RegionMetrics, error: npt.NDArray[np.float64]) -> RegionMetrics:
    """Add the errors in pixels; a quantile is the smallest error that the share does not exceed."""
    median, a90, a99 = np.quantile(error, (0.5, 0.9, 0.99), method="inverted_cdf")
    return replace(
        measured,
        epe=float(error.mean()),
        rms=float(np.sqrt(np.square(error).mean())),
        median=float(median),
        a90=float(a90),
        a99=float(a99),
    )


def _answer(disparity_px: FloatMap, options: MetricOptions) -> FloatMap:
    """Mark everything that is no answer with NaN and bring the rest to 0 or more."""
    answer: FloatMap = np.where(np.isfinite(disparity_px), disparity_px, np.nan).astype(np.float32)
    if options.nonpositive == "hole":
        answer[answer <= 0] = np.nan
        return answer
    answer[answer < 0] = 0
    return answer


def _last_answer(disparity_px: FloatMap, valid: Mask) -> FloatMap:
    """Return for each pixel the nearest answer at or left of it, NaN where there is none."""
    column = np.where(valid, np.arange(disparity_px.shape[1]), -1)
    column = np.maximum.accumulate(column, axis=1)
    nearest = np.take_along_axis(disparity_px, np.maximum(column, 0), axis=1)
    nearest[column < 0] = np.nan
    return np.asarray(nearest, np.float32)


def _weighted(scenes: list[RegionMetrics], name: str, *, by: str, power: int = 1) -> float | None:
    """Average a metric over scenes, weighted by a pixel count; None where no scene has it."""
    total, weight = 0.0, 0
    for scene in scenes:
        value = getattr(scene, name)
        if value is not None:
            total += value**power * getattr(scene, by)
            weight += getattr(scene, by)
    return total / weight if weight else None


def _pooled_density(scenes: list[RegionMetrics]) -> float | None:
    """Return the answered share of all ground-truth pixels, where only answered ones are scored."""
    known = [(scene.pixels, scene.density) for scene in scenes if scene.density]
    truth = sum(round(100 * pixels / density) for pixels, density in known)
    return _percent(sum(pixels for pixels, _ in known), truth)


def _is_share(name: str) -> bool:
    return name in ("density", "d1") or name.startswith("bad_")


def _percent(part: int, whole: int) -> float | None:
    return 100.0 * part / whole if whole else None


def _check_sizes(disparity_px: FloatMap, truth_px: FloatMap, visible: Mask | None) -> None:
    """Refuse maps of unequal size."""
    for name, array in (("disparity", disparity_px), ("visibility mask", visible)):
        if array is not None and array.shape != truth_px.shape:
            raise InputError(
                f"{name} is {_size(array.shape)} but the ground truth is {_size(truth_px.shape)}; "
                "both need the size of the left picture"
            )


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
