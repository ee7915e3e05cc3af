"""Choose a diverse part of many pairs: near-duplicates go first, then k-centre picks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from litestereo.calibration.statistics import PairStatistics

__all__ = ["drop_near_duplicates", "pick_diverse"]

NEAR_DUPLICATE_LEVELS = 3.0
"""Mean difference of two thumbnails, in grey levels, below which they show the same. Frames of a
camera that stands still differ by its noise, under 1; other places of one drive by more than 10."""


def drop_near_duplicates(pairs: Sequence[PairStatistics]) -> list[int]:
    """Return the indices of the pairs that show something that no earlier one shows.

    Args:
        pairs: what was measured of each pair.
    """
    kept: list[int] = []
    seen: list[NDArray[np.float32]] = []
    for index, pair in enumerate(pairs):
        if seen:
            difference = np.abs(np.stack(seen) - pair.thumbnail).mean(axis=(1, 2))
            if difference.min() < NEAR_DUPLICATE_LEVELS:
                continue
        kept.append(index)
        seen.append(pair.thumbnail)
    return kept


def pick_diverse(pairs: Sequence[PairStatistics], *, count: int) -> list[int]:
    """Return up to `count` indices, each as far as possible from those before it.

    This is Gonzalez's k-centre: no point ends up farther from a picked one than twice the best
    possible. The first is the one nearest to the middle, so that the order begins with what is
    ordinary and goes on with what is not.

    Args:
        pairs: what was measured of each pair.
        count: how many are wanted.
    """
    if not pairs:
        return []
    points = _points(pairs)
    first = int(np.linalg.norm(points - points.mean(axis=0), axis=1).argmin())
    picked = [first]
    distance = np.linalg.norm(points - points[first], axis=1)
    while len(picked) < min(count, len(pairs)):
        farthest = int(distance.argmax())
        if farthest in picked:  # all that is left lies on picked points
            farthest = next(index for index in range(len(pairs)) if index not in picked)
        picked.append(farthest)
        distance = np.minimum(distance, np.linalg.norm(points - points[farthest], axis=1))
    return picked


def _points(pairs: Sequence[PairStatistics]) -> NDArray[np.float64]:
    """Return (N, D) points; each group of features weighs the same in a distance."""
    groups = zip(*(pair.features() for pair in pairs), strict=True)
    scaled = []
    for group in groups:
        values = np.stack(group)
        spread = np.sqrt(np.square(values - values.mean(axis=0)).sum(axis=1).mean())
        scaled.append(values / spread if spread > 0 else values * 0)
    return np.concatenate(scaled, axis=1)
