"""Say what a calibration set covers, and refuse one that covers too little."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from litestereo.calibration.options import MINIMUM_PAIRS
from litestereo.calibration.statistics import DISPARITY_BINS, PairStatistics
from litestereo.errors import CalibrationError
from litestereo.models.registry import MAX_DISPARITY_PX

__all__ = ["Coverage", "cover", "require_enough"]

# A channel that is clipped on so many pixels says little about what the camera saw.
_SATURATED_SHARE = 0.2
_BIN_PX = MAX_DISPARITY_PX // DISPARITY_BINS
_FAR_SHARE = 0.001
_CHANNELS = ("red", "green", "blue")


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a set covers.

    Attributes:
        candidates: pairs that were looked at.
        unusable: those of them that could not be read or used, each with the reason.
        near_duplicates: those that show what another one shows; dropped.
        pairs: pairs in the set, those held out included.
        held_out: of these, kept from the ranges to judge the result.
        sizes: "HEIGHTxWIDTH" -> number of pairs.
        grey: pairs whose pictures are grey.
        brightness: lowest, median and highest mean level of a pair, 0..1.
        contrast: likewise, of the standard deviation of its levels.
        disparity_histogram: share, 0..1, of the matched pixels in bins of 16 px, by a classic
            matcher at a small size.
        matched: median share of a pair's pixels that this matcher answers.
        saturated_channels: "red", "green", "blue" -> pairs of which over a fifth of the pixels of
            that channel is 0 or 255.
    """

    candidates: int
    unusable: tuple[str, ...]
    near_duplicates: int
    pairs: int
    held_out: int
    sizes: dict[str, int]
    grey: int
    brightness: tuple[float, float, float]
    contrast: tuple[float, float, float]
    disparity_histogram: tuple[float, ...]
    matched: float
    saturated_channels: dict[str, int]

    def to_json(self) -> dict[str, object]:
        """Return the report as JSON values."""
        return asdict(self)

    def words(self) -> list[str]:
        """Return the report in a few lines, warnings last."""
        sizes = _most(self.sizes)
        farthest = self._farthest_px()
        lines = [
            f"{self.pairs} pairs of {self.candidates} ({self.held_out} held out, "
            f"{self.near_duplicates} near-duplicates dropped, {len(self.unusable)} unusable): "
            f"{sizes}",
            f"brightness {self.brightness[0]:.2f} to {self.brightness[2]:.2f}, contrast "
            f"{self.contrast[0]:.2f} to {self.contrast[2]:.2f}, {self.grey} grey; disparities up "
            f"to {farthest} px",
        ]
        return lines + [f"warning: {warning}" for warning in self.warnings()]

    def warnings(self) -> list[str]:
        """Return what a user should know before trusting the set."""
        found = []
        if 0 < self.grey < self.pairs:
            found.append(
                f"{self.grey} pairs are grey and {self.pairs - self.grey} in colour; the ranges "
                "will hold both. Calibrate with what your cameras give, if that is one of them"
            )
        if self.brightness[0] > 0.25:
            found.append("no pair is dark; add some if the cameras will see the night")
        if self._farthest_px() < MAX_DISPARITY_PX / 4:
            found.append(
                f"nothing is nearer than {self._farthest_px()} px of disparity; add pairs with "
                "near objects if there will be any"
            )
        clipped = [f"{count} {name}" for name, count in self.saturated_channels.items() if count]
        if clipped:
            found.append(f"pairs with a saturated channel: {', '.join(clipped)}")
        return found

    def _farthest_px(self) -> int:
        """Return the end of the last bin of disparities that is not as good as empty."""
        filled = [i for i, share in enumerate(self.disparity_histogram) if share > _FAR_SHARE]
        return (max(filled) + 1) * _BIN_PX if filled else 0


def cover(
    pairs: Sequence[PairStatistics],
    *,
    candidates: int,
    unusable: Sequence[str],
    near_duplicates: int,
    held_out: int,
) -> Coverage:
    """Return what the chosen `pairs` cover.

    Args:
        pairs: what was measured of them.
        candidates: how many pairs came.
        unusable: names and reasons of those that could not be used.
        near_duplicates: how many show what others show.
        held_out: how many of the chosen ones judge.
    """
    weights = np.array([pair.matched for pair in pairs])
    shares = np.stack([pair.disparities for pair in pairs])
    histogram = weights @ shares / max(weights.sum(), 1e-9)
    saturated = np.array([pair.saturated for pair in pairs]) > _SATURATED_SHARE
    return Coverage(
        candidates=candidates,
        unusable=tuple(unusable),
        near_duplicates=near_duplicates,
        pairs=len(pairs),
        held_out=held_out,
        sizes=dict(Counter(f"{pair.size[0]}x{pair.size[1]}" for pair in pairs)),
        grey=sum(all(pair.is_grey) for pair in pairs),
        brightness=_spread([pair.brightness for pair in pairs]),
        contrast=_spread([pair.contrast for pair in pairs]),
        disparity_histogram=tuple(round(float(share), 4) for share in histogram),
        matched=round(float(np.median(weights)), 4),
        saturated_channels={
            name: int(count) for name, count in zip(_CHANNELS, saturated.sum(axis=0), strict=True)
        },
    )


def require_enough(distinct: int, *, candidates: int, near_duplicates: int, unusable: int) -> None:
    """Refuse a set of too few different pairs.

    Args:
        distinct: how many different pairs there are.
        candidates: how many came.
        near_duplicates: how many show what others show.
        unusable: how many could not be used.

    Raises:
        CalibrationError: saying how many there are, why, and what to do.
    """
    if distinct >= MINIMUM_PAIRS:
        return
    lost = [f"{near_duplicates} of {candidates} show what others show"] if near_duplicates else []
    lost += [f"{unusable} cannot be used"] if unusable else []
    because = f" ({', '.join(lost)})" if lost else ""
    advice = (
        "drive or carry the cameras through the place, and take frames further apart"
        if near_duplicates > distinct
        else "record more pairs where the robot will work: light and dark, near and far"
    )
    raise CalibrationError(
        f"{distinct} different pair{'s' if distinct != 1 else ''} came{because}; a calibration set "
        f"needs at least {MINIMUM_PAIRS}, and some 30 do well: {advice}. Random or repeated "
        "pictures would give ranges that fit nothing, so none are made up"
    )


def _most(sizes: Mapping[str, int]) -> str:
    """Return the three most frequent sizes in words."""
    ordered = sorted(sizes.items(), key=lambda item: -item[1])
    others = f", {len(ordered) - 3} other sizes" if len(ordered) > 3 else ""
    return ", ".join(f"{count} of {size}" for size, count in ordered[:3]) + others


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = np.quantile(values, (0, 0.5, 1))
    return round(float(low), 4), round(float(middle), 4), round(float(high), 4)
