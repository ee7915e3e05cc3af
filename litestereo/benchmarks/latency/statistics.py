"""What a list of latencies says: percentiles by one rule, spread, and how far to believe them.

**The percentile rule**: the p-th percentile is the smallest sample that at least p % of all samples
do not exceed: sorted[ceil(p n / 100) - 1], a sample that occurred, never an interpolation. It is
trtexec's rule, sorted[n - 1 - floor((1 - p/100) n)], in exact arithmetic, and NumPy's
`method="inverted_cdf"`. The median follows it too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NOISY",
    "PERCENTILES",
    "Interval",
    "Summary",
    "even_turns",
    "format_ms",
    "median_interval",
    "percentile",
    "ratio_interval",
    "summarize",
]

PERCENTILES = (50, 90, 95, 99)
# A percentile is told when so many samples lie beyond it: with fewer it is all but the maximum.
_SAMPLES_BEYOND = 3
_FEWEST = 10
# Half the width of the median's interval, of the median, above which a latency is called noisy.
NOISY = 0.05
_RESAMPLES = 2000
_CONFIDENCE_PERCENT = 95


@dataclass(frozen=True, slots=True)
class Interval:
    """A bootstrap interval; `low` and `high` are quantiles of the resampled values.

    Attributes:
        low: its lower end.
        high: its upper end.
    """

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What the samples of one stage say, in milliseconds; None is what they are too few to say.

    Attributes:
        samples: how many.
        mean_ms: their mean.
        p50_ms: needs 10 samples, as the following need enough that 3 lie beyond them:
        p90_ms: 30,
        p95_ms: 60,
        p99_ms: 300.
        max_ms: the largest.
        variation: standard deviation over mean (n - 1 in the denominator); needs 10.
        median_95: 95 % interval of the median, resampling whole turns; needs 5 turns.
    """

    samples: int
    mean_ms: float
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float
    variation: float | None
    median_95: Interval | None

    @property
    def uncertainty(self) -> float | None:
        """Half the width of the median's interval, as a part of the median; None if unknown."""
        if self.median_95 is None or not self.p50_ms:
            return None
        return (self.median_95.high - self.median_95.low) / 2 / self.p50_ms

    @property
    def noisy(self) -> bool:
        """Whether the median is known worse than to 5 %."""
        return self.uncertainty is not None and self.uncertainty > NOISY


def percentile(samples: Sequence[float], percent: int) -> float | None:
    """Return a percentile by the rule above; None if too few samples lie beyond it.

    Args:
        samples: in any order.
        percent: 1 to 99.
    """
    count = len(samples)
    beyond = count * (100 - percent) // 100
    if count < _FEWEST or (percent > 50 and beyond < _SAMPLES_BEYOND):
        return None
    return float(sorted(samples)[_rank(count, percent) - 1])


def even_turns(count: int, *, block: int) -> tuple[int, ...]:
    """Return the lengths of the whole turns of `block` iterations in `count`.

    Args:
        count: of samples.
        block: iterations of a turn.
    """
    return (block,) * (count // block)


def summarize(samples: Sequence[float], *, turns: Sequence[int]) -> Summary:
    """Return the summary of one stage's samples.

    Args:
        samples: milliseconds in the order of measuring, at least one.
        turns: how many of them were measured in a row, before another subject's turn.
    """
    values = np.asarray(samples, np.float64)
    mean = float(values.mean())
    enough = len(values) >= _FEWEST
    p50, p90, p95, p99 = (percentile(samples, percent) for percent in PERCENTILES)
    return Summary(
        samples=len(values),
        mean_ms=mean,
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        max_ms=float(values.max()),
        variation=float(values.std(ddof=1) / mean) if enough and mean > 0 else None,
        median_95=median_interval(samples, turns=turns),
    )


def median_interval(samples: Sequence[float], *, turns: Sequence[int]) -> Interval | None:
    """Return the 95 % interval of the median; None with fewer than 5 turns or 10 samples.

    Whole turns are resampled: neighbours share clocks and temperature, and count as one.

    Args:
        samples: in the order in which they were taken.
        turns: how many neighbours are resampled together, turn by turn; samples after them are
            left out.
    """
    medians = _resampled_medians(samples, turns=turns, seed=1)
    return None if medians is None else _interval(medians)


def ratio_interval(
    samples: Sequence[float], reference: Sequence[float], *, block: int, paired: bool
) -> Interval | None:
    """Return the 95 % interval of median(samples) / median(reference); None with too few.

    Args:
        samples: of one subject.
        reference: of what it is divided by.
        block: samples measured in a row.
        paired: both are of one interleaved run, so that block i of one ran beside block i of the
            other; they are then resampled together, and drift cancels.

    Raises:
        ValueError: paired samples differ in number.
    """
    if paired and len(samples) != len(reference):
        raise ValueError(f"paired samples differ in number: {len(samples)}, {len(reference)}")
    above, below = (
        _resampled_medians(values, turns=even_turns(len(values), block=block), seed=seed)
        for values, seed in ((samples, 1), (reference, 1 if paired else 2))
    )
    if above is None or below is None:
        return None
    return _interval(above / below)


def format_ms(value: float | None, *, uncertainty_ms: float | None = None) -> str:
    """Return a latency in no more digits than it is known to: at most three, of noise two.

    Args:
        value: milliseconds; None is "-".
        uncertainty_ms: half of its interval, whose first digit is the last shown; None shows two.
    """
    if value is None:
        return "-"
    if value <= 0:
        return "0"
    lead = math.floor(math.log10(value))
    quiet = uncertainty_ms is not None and uncertainty_ms <= NOISY * value
    known = lead - 2 if quiet else lead - 1
    if uncertainty_ms:
        known = max(known, math.floor(math.log10(uncertainty_ms)))
    rounded = round(value, -known)
    return f"{rounded:.{max(-known, 0)}f}"


def _rank(count: int, percent: int) -> int:
    """Return ceil(percent * count / 100) in whole numbers."""
    return -(-percent * count // 100)


def _resampled_medians(
    samples: Sequence[float], *, turns: Sequence[int], seed: int
) -> NDArray[np.float64] | None:
    """Return medians of draws of whole turns with replacement."""
    if len(turns) < 5 or len(samples) < _FEWEST:
        return None
    lengths = np.asarray(turns)
    # One row a turn; what a shorter one leaves of it is infinite, beyond every rank asked for.
    whole = np.full((len(lengths), lengths.max()), np.inf)
    whole[np.arange(lengths.max()) < lengths[:, None]] = samples[: lengths.sum()]
    draws = np.random.default_rng(seed).integers(0, len(turns), (_RESAMPLES, len(turns)))
    medians = np.empty(_RESAMPLES)
    for index, draw in enumerate(draws):
        rank = _rank(int(lengths[draw].sum()), 50) - 1
        medians[index] = np.partition(whole[draw].ravel(), rank)[rank]
    return medians


def _interval(values: NDArray[np.float64]) -> Interval:
    tail = (100 - _CONFIDENCE_PERCENT) / 2
    low, high = np.percentile(values, [tail, 100 - tail], method="inverted_cdf")
    return Interval(float(low), float(high))
