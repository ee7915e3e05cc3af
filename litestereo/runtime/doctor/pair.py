"""The checks of one pair: swapped, tilted, dim, blurred, turned, unrelated, out of range.

The limits were set on 72 real and rendered pairs (Middlebury, KITTI, ETH3D, EuRoC, SceneFlow,
phones and cameras of the trade): behind each stands the worst value seen in a sound one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.runtime.doctor.findings import Finding
from litestereo.runtime.doctor.matching import PairMatches, match_pair
from litestereo.runtime.doctor.photometry import Photometry, extreme_shares, photometry
from litestereo.runtime.pair_order import PairOrder, pair_order
from litestereo.runtime.preprocess import rgb_pair
from litestereo.runtime.reach import CLIPPED_FROM, REACH_PX

__all__ = ["PairDiagnosis", "check_pair", "quick_findings", "rows_agree"]

Image = NDArray[np.uint8]

# Worst in sound pairs: 0.58 px (0.43 of which the data set itself states), 0.087 deg, 0.28 %.
_OFFSET_PX = 1.0
_ROLL_DEGREES = 0.2
_ZOOM_PERCENT = 0.7
# 0.62 in sound pairs, below 0.2 in unrelated ones.
_RELATED_FROM = 0.4
_MATCHES_FROM = 30
_COARSE_PX = 256
# 1.17 and 1.36 in sound pairs.
_GAIN_RATIO = 1.35
_FOCUS_RATIO = 1.6
# 0.29 in the softest sound picture.
_DETAIL_FROM = 0.2
_CORRELATION_FROM = 0.0
_EXTREME_SHARE = 0.5
_SAME_PICTURE = 0.5
# Grey levels; a wall without texture has its noise, a covered lens not even that.
_FLAT_BELOW = 2.0
_NEGATIVE_PX = 2.0
_NEGATIVE_SHARE = 0.05
_BEYOND_SHARE = 0.01
_BEYOND_MATCHES = 5

_TURNS: dict[str, tuple[slice, slice]] = {
    "turned by 180 degrees": (slice(None, None, -1), slice(None, None, -1)),
    "mirrored left to right": (slice(None), slice(None, None, -1)),
    "mirrored top to bottom": (slice(None, None, -1), slice(None)),
}


@dataclass(frozen=True, slots=True, eq=False)
class PairDiagnosis:
    """What was measured on a pair and what follows from it.

    Attributes:
        findings: faults first.
        matches: of the pair.
        light: None where too little matches.
        order: from the eyes' dense comparison.
    """

    findings: tuple[Finding, ...]
    matches: PairMatches
    light: Photometry | None
    order: PairOrder | None

    @property
    def is_sound(self) -> bool:
        """Whether no fault was found."""
        return all(finding.level != "fault" for finding in self.findings)

    def measures(self) -> dict[str, Any]:
        """Return every measured number, ready for JSON."""
        found: dict[str, Any] = {
            "matches": len(self.matches.left_xy),
            "agreeing_share": self.matches.agreeing_share,
            "vertical_offset_px": self.matches.offset_px,
            "roll_degrees": self.matches.roll_degrees,
            "zoom_percent": self.matches.zoom_percent,
            "row_residual_px": self.matches.residual_px,
        }
        if len(self.matches.left_xy):
            ends = np.percentile(self.matches.disparities_px, [1, 50, 99])
            found["disparity_px"] = [round(float(end), 2) for end in ends]
        if self.light is not None:
            found |= asdict(self.light)
        if self.order is not None:
            found["negative_share"] = self.order.negative_share
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in found.items()
        }


def rows_agree(left: Image, right: Image) -> bool | None:
    """Return whether the rows of a pair agree, as a rectified pair's do; None: too few matches.

    Args:
        left: (H, W, 3) uint8 RGB.
        right: same of the right camera.
    """
    matches = match_pair(*rgb_pair(left, right))
    return not any(_row_findings(matches)) if _is_related(matches) else None


def quick_findings(left: Image, right: Image) -> tuple[Finding, ...]:
    """Return what is plainly wrong with a pair, in some milliseconds and without matching it.

    Args:
        left: (H, W, 3) uint8 RGB.
        right: same size.
    """
    flat = tuple(_flat_findings(left, right))
    same = None if flat else _same_picture(left, right)
    return flat if same is None else (same,)


def check_pair(left: Image, right: Image, *, range_px: float = REACH_PX) -> PairDiagnosis:
    """Return what is wrong with a pair; takes some 0.3 s for a megapixel on one core.

    Args:
        left: (H, W, 3) uint8 RGB or (H, W) grey, thought to be rectified.
        right: same size.
        range_px: how far the network reaches.

    Raises:
        InputError: the two are no pair of pictures at all (size, type).
    """
    left, right = rgb_pair(left, right)
    same = _same_picture(left, right)
    matches = match_pair(left, right)
    if same is not None:
        return PairDiagnosis((same,), matches, light=None, order=None)
    if not _is_related(matches):
        # One eye far out of focus still matches where both are small.
        coarse = match_pair(left, right, side_px=_COARSE_PX)
        if not _is_related(coarse):
            findings = tuple(_unmatched(left, right, matches))
            return PairDiagnosis(findings, matches, light=None, order=None)
        matches = coarse
    order = pair_order(left, right)
    light = photometry(left, right, matches=matches)
    findings = (
        *_order_findings(matches, order),
        *_row_findings(matches),
        *_light_findings(light),
        *_range_findings(matches, range_px),
    )
    return PairDiagnosis(
        tuple(sorted(findings, key=lambda finding: finding.level)), matches, light, order
    )


def _same_picture(left: Image, right: Image) -> Finding | None:
    difference = float(np.mean(np.abs(left.astype(np.int16) - right)))
    if difference >= _SAME_PICTURE:
        return None
    return Finding(
        "same picture",
        "fault",
        difference,
        "grey levels",
        _SAME_PICTURE,
        f"left and right differ by {difference:.2g} grey levels on average: one picture twice",
        "give the other eye's picture; check the camera indices or the file names",
    )


def _flat_findings(left: Image, right: Image) -> Iterator[Finding]:
    for name, image in (("left", left), ("right", right)):
        contrast = float(np.std(image[::2, ::2]))
        if contrast < _FLAT_BELOW:
            yield Finding(
                "flat picture",
                "fault",
                contrast,
                "grey levels",
                _FLAT_BELOW,
                f"the {name} picture has no texture (its values deviate by {contrast:.2g} of 255)",
                "look at it: a covered lens, darkness, or another file than was meant",
            )


def _is_related(matches: PairMatches) -> bool:
    return (
        matches.agreeing_share >= _RELATED_FROM
        and len(matches.left_xy) >= _MATCHES_FROM
        and matches.is_in_order
    )


def _unmatched(left: Image, right: Image, matches: PairMatches) -> Iterator[Finding]:
    """Return why hardly anything matches: one eye turned or mirrored, or no pair at all."""
    yield from _extreme_findings(*extreme_shares(left, right))
    share = matches.agreeing_share
    for how, turn in _TURNS.items():
        turned = match_pair(left, np.ascontiguousarray(right[turn]))
        if _is_related(turned):
            yield Finding(
                "turned eye",
                "fault",
                share,
                "",
                _RELATED_FROM,
                f"one eye is {how}: {share:.0%} of the matches agree as given, "
                f"{turned.agreeing_share:.0%} with the right picture turned back",
                "switch off flipping in one camera's driver, or turn that picture back",
            )
            return
    if matches.candidates < _MATCHES_FROM:
        yield Finding(
            "featureless",
            "fault",
            float(matches.candidates),
            "matches",
            float(_MATCHES_FROM),
            f"only {matches.candidates} points match between the pictures",
            "look at them: a covered lens, a blank wall, darkness, heavy blur, or two strangers",
        )
        return
    yield Finding(
        "unrelated",
        "fault",
        share,
        "",
        _RELATED_FROM,
        f"only {share:.0%} of the matches agree on how the eyes stand to each other",
        "pair frames of the same moment; if they are, rectify the pictures first (--calib)",
    )


def _order_findings(matches: PairMatches, order: PairOrder) -> Iterator[Finding]:
    disparities = matches.disparities_px
    moving = disparities[np.abs(disparities) > 1]
    backwards = float(np.mean(moving < 0)) if moving.size else 0.0
    if order.looks_swapped or backwards > 0.75:
        share = max(order.negative_share, backwards)
        yield Finding(
            "swapped eyes",
            "fault",
            share,
            "",
            0.75,
            f"{share:.0%} of what matches has a negative disparity",
            "pass the left camera's picture first; if it is, the rig hangs upside down (turn both "
            "by 180 degrees) or one eye was shifted (undo it)",
        )
        return
    negative = float(np.mean(disparities < -_NEGATIVE_PX))
    if negative > _NEGATIVE_SHARE:
        lowest = float(np.percentile(disparities, 1))
        yield Finding(
            "negative disparity",
            "fault",
            negative,
            "",
            _NEGATIVE_SHARE,
            f"{negative:.0%} of the matches have a negative disparity, down to {lowest:.0f} px",
            "undo the cropping or shift of one eye, or rectify with zero disparity at infinity: "
            "networks answer 0 and more only",
        )


def _row_findings(matches: PairMatches) -> Iterator[Finding]:
    offset, roll, zoom = matches.offset_px, matches.roll_degrees, matches.zoom_percent
    mend = "rectify with a fresh calibration (--calib); check that both lenses sit tight"
    if abs(offset) > _OFFSET_PX:
        yield Finding(
            "vertical offset",
            "fault",
            offset,
            "px",
            _OFFSET_PX,
            f"the right picture is {abs(offset):.1f} px {'lower' if offset > 0 else 'higher'}",
            mend,
        )
    if abs(roll) > _ROLL_DEGREES:
        yield Finding(
            "rotation",
            "fault",
            roll,
            "deg",
            _ROLL_DEGREES,
            f"the right picture is turned by {roll:.2f} degrees against the left one",
            mend,
        )
    if abs(zoom) > _ZOOM_PERCENT:
        yield Finding(
            "zoom",
            "fault",
            zoom,
            "%",
            _ZOOM_PERCENT,
            f"the right picture is {abs(zoom):.1f} % {'larger' if zoom > 0 else 'smaller'}",
            "use the same lens, focus and resize for both eyes, then calibrate again",
        )


def _light_findings(light: Photometry) -> Iterator[Finding]:
    if not 1 / _GAIN_RATIO < light.gain < _GAIN_RATIO:
        yield Finding(
            "exposure",
            "fault",
            light.gain,
            "",
            _GAIN_RATIO,
            f"the right eye is {light.gain:.2f} times as bright as the left one",
            "give both cameras one exposure and gain (automatic exposure off, or shared)",
        )
    if not 1 / _FOCUS_RATIO < light.focus < _FOCUS_RATIO:
        eye = "right" if light.focus < 1 else "left"
        yield Finding(
            "blur",
            "fault",
            light.focus,
            "",
            _FOCUS_RATIO,
            f"the {eye} eye has {min(light.focus, 1 / light.focus):.2f} times the fine detail of "
            "the other",
            f"clean and focus the {eye} lens; check for one-sided scaling or compression",
        )
    elif max(light.left_detail, light.right_detail) < _DETAIL_FROM:
        yield Finding(
            "soft pictures",
            "fault",
            max(light.left_detail, light.right_detail),
            "",
            _DETAIL_FROM,
            "both eyes are blurred, or were enlarged",
            "focus both lenses, shorten the exposure, or give the pictures at their real size",
        )
    correlation = light.color_correlation
    if correlation is not None and correlation < _CORRELATION_FROM:
        yield Finding(
            "channel order",
            "fault",
            correlation,
            "",
            _CORRELATION_FROM,
            f"red less blue of the eyes correlates by {correlation:.2f}: one is BGR, one RGB",
            "convert one eye (image[..., ::-1]) so that both are RGB",
        )
    yield from _extreme_findings(light.bright_share, light.dark_share)


def _extreme_findings(bright_share: float, dark_share: float) -> Iterator[Finding]:
    for name, share, why in (
        ("overexposed", bright_share, "shorten the exposure"),
        ("underexposed", dark_share, "lengthen the exposure or add light"),
    ):
        if share > _EXTREME_SHARE:
            yield Finding(
                name,
                "fault",
                share,
                "",
                _EXTREME_SHARE,
                f"{share:.0%} of the pixels of one eye are at the end of the range",
                why,
            )


def _range_findings(matches: PairMatches, range_px: float) -> Iterator[Finding]:
    disparities = matches.disparities_px
    beyond = disparities > CLIPPED_FROM * range_px
    if np.count_nonzero(beyond) < max(_BEYOND_MATCHES, _BEYOND_SHARE * len(disparities)):
        return
    highest = float(np.percentile(disparities[beyond], 90))
    ask = 16 * int(np.ceil(1.15 * highest / 16))
    yield Finding(
        "range",
        "fault",
        highest,
        "px",
        range_px,
        f"{np.mean(beyond):.0%} of the matches lie at or beyond the end of the {range_px:.0f} px "
        f"range, up to {highest:.0f} px",
        f"run with --max-disparity {ask} (a smaller inference size), or see stereo-plan",
    )
