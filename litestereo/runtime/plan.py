"""The range chooser: from a rig and its distances to size, range, model and expected error.

Everything here follows from the geometry, apart from latencies: those come from measurements only.
A disparity error is thought of in pixels of what the network sees, so running at half the size
doubles it in the picture, and z^2 / (f b) turns it into metres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from litestereo.errors import InputError
from litestereo.runtime.measurements import Measurement
from litestereo.runtime.preprocess import ScaleOptions, frame_for
from litestereo.runtime.reach import CLIPPED_FROM, REACH_PX

__all__ = [
    "DepthExpectation",
    "Plan",
    "PlanRequest",
    "SizeOption",
    "make_plan",
    "plan_request",
]

_SMALLEST_PX = 64
# The engine calls answers from here on clipped, so the nearest distance is kept below it.
_USABLE_PX = CLIPPED_FROM * REACH_PX
_SCALES = (1.0, 0.75, 0.5, 0.375, 0.25)
_DISTANCES = 6
_USEFUL_ERROR_SHARE = 0.05
_POSITIVE = ("focal_px", "baseline_m", "near_m", "far_m", "rate_hz", "disparity_error_px")
_MOST = 1e6  # of each of these, and one over it the least: more than any rig has


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What is known about a rig and wanted from it.

    Attributes:
        focal_px: focal length of the rectified pictures, at `size`.
        baseline_m: distance of the eyes.
        size: (height, width) of the pictures.
        near_m: nearest distance that must be seen.
        far_m: farthest distance of interest.
        rate_hz: pairs a second.
        disparity_error_px: error to expect, in pixels of what the network sees.
        doffs_px: right principal column less the left one.
    """

    focal_px: float
    baseline_m: float
    size: tuple[int, int]
    near_m: float
    far_m: float
    rate_hz: float
    disparity_error_px: float = 0.25
    doffs_px: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no rig can have."""
        for name in _POSITIVE:
            value = getattr(self, name)
            if not 1 / _MOST <= value <= _MOST:
                raise InputError(f"{name} is {value:g}; it must be from {1 / _MOST:g} to {_MOST:g}")
        if not self.near_m < self.far_m:
            raise InputError(
                f"the distances run from {self.near_m:g} to {self.far_m:g} m; need near < far"
            )
        if min(self.size) < _SMALLEST_PX:
            raise InputError(
                f"pictures of {self.size[0]}x{self.size[1]} are too small; need {_SMALLEST_PX} px "
                "a side"
            )
        if self.baseline_m > 5:
            raise InputError(
                f"a baseline of {self.baseline_m:g} m is longer than any rig; give metres "
                f"({self.baseline_m / 1000:g}?)"
            )

    def disparity_px(self, distance_m: float) -> float:
        """Return the disparity, in pixels of the pictures, of something so far away.

        Args:
            distance_m: along the optical axis, metres.
        """
        return self.focal_px * self.baseline_m / distance_m - self.doffs_px

    def depth_error_m(self, distance_m: float, *, scale: float) -> float:
        """Return the expected error of the depth when the network runs at `scale`.

        Args:
            distance_m: along the optical axis, metres.
            scale: of the pictures that the network sees, 0 to 1.
        """
        product = self.focal_px * self.baseline_m
        return distance_m**2 / product * self.disparity_error_px / scale


@dataclass(frozen=True, slots=True)
class SizeOption:
    """One size that the network could run at.

    Attributes:
        scale: of the pictures.
        inference_size: (height, width) that the network sees.
        width_ratio: width that it sees of the pictures over theirs: `scale` in whole pixels, or
            stretched to a multiple. Disparities follow it.
        nearest_m: nearest distance inside its range.
        far_error_m: expected error at the farthest distance.
        gmacs: model -> 1e9 multiply-adds of one pair.
        measured: model -> what receipts of one device say at this size; without: not measured.
    """

    scale: float
    inference_size: tuple[int, int]
    width_ratio: float
    nearest_m: float
    far_error_m: float
    gmacs: dict[str, float]
    measured: dict[str, Measurement]


@dataclass(frozen=True, slots=True)
class DepthExpectation:
    """What to expect at one distance.

    Attributes:
        distance_m: along the optical axis, metres.
        disparity_px: in the pictures' pixels.
        error_m: of the depth, metres.
        error_share: of the depth, 0 to 1.
    """

    distance_m: float
    disparity_px: float
    error_m: float
    error_share: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer.

    Attributes:
        request: what was asked.
        max_disparity_px: largest disparity, in pixels of the pictures: `--max-disparity`.
        option: the size to run at.
        model: the model to take.
        why: how the model was chosen.
        expected: by distance, at that size.
        options: all sizes that reach the nearest distance.
        notes: what to know.
    """

    request: PlanRequest
    max_disparity_px: float
    option: SizeOption
    model: str
    why: str
    expected: tuple[DepthExpectation, ...]
    options: tuple[SizeOption, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the plan as a JSON object; what was not measured is null."""
        found = asdict(self)
        measured = self.option.measured.get(self.model)
        found["latency"] = None if measured is None else asdict(measured)
        return found


def make_plan(request: PlanRequest, *, measurements: Sequence[Measurement] = ()) -> Plan:
    """Return the plan for a rig.

    Of measured models the costliest that keeps the rate at its 99th percentile is taken, at the
    largest size where one does; where what was measured is too slow, the next smaller size, which
    is to be timed; without measurements "las1" at the largest size.

    Measurements of several devices are not mixed: those of the one that does most count.

    Args:
        request: the rig and what it must see.
        measurements: latencies that `stereo-bench` took.

    Raises:
        InputError: no size of at least 64 px reaches the nearest distance.
    """
    options, (option, model, why) = _best_of_devices(request, measurements)
    ratio = (request.far_m / request.near_m) ** (1 / (_DISTANCES - 1))
    distances = [request.near_m * ratio**step for step in range(_DISTANCES)]
    return Plan(
        request,
        max_disparity_px=_max_disparity_px(request),
        option=option,
        model=model,
        why=why,
        expected=tuple(
            _expectation(request, distance, option.width_ratio) for distance in distances
        ),
        options=options,
        notes=(
            *_notes(request, option),
            *_device_notes(measurements, option, model),
            *_weights_notes(model),
        ),
    )


def plan_request(
    *,
    calibration: tuple[Path, ...],
    focal_px: float | None,
    baseline_m: float | None,
    size: tuple[int, int],
    near_m: float,
    far_m: float,
    rate_hz: float,
    disparity_error_px: float,
) -> PlanRequest:
    """Return a request from a calibration's files, or from focal length and baseline.

    Args:
        calibration: the file or both files; empty: none.
        focal_px: overrides the calibration's.
        baseline_m: same.
        size: (height, width) of the pictures.
        near_m: as in `PlanRequest`, like the rest.
        far_m: same.
        rate_hz: same.
        disparity_error_px: same.

    Raises:
        InputError: the calibration cannot be used, or a value is impossible.
    """
    doffs_px = 0.0
    if calibration:
        from litestereo.runtime.geometry.read import read_calibration
        from litestereo.runtime.geometry.rectify import rectified_calibration

        read = read_calibration(calibration, size=size, baseline_m=baseline_m)
        rig = rectified_calibration(read)
        focal_px = focal_px or rig.focal_px
        baseline_m, doffs_px, size = rig.baseline_m, rig.doffs_px, rig.size or size
    if focal_px is None or baseline_m is None:
        raise InputError("the plan needs focal length and baseline; give them or a calibration")
    return PlanRequest(
        focal_px, baseline_m, size, near_m, far_m, rate_hz, disparity_error_px, doffs_px
    )


def _max_disparity_px(request: PlanRequest) -> float:
    """Return what is asked of the engine, in whole pixels of the pictures."""
    return float(math.ceil(request.disparity_px(request.near_m) * REACH_PX / _USABLE_PX))


def _options(request: PlanRequest, measurements: Sequence[Measurement]) -> tuple[SizeOption, ...]:
    """Return the sizes that reach the nearest distance, the largest first."""
    nearest_px = request.disparity_px(request.near_m)
    if nearest_px <= 0:
        raise InputError(
            f"at {request.near_m:g} m the disparity is {nearest_px:.1f} px; doffs, "
            f"{request.doffs_px:g} px, is more than focal length and baseline give: look at the "
            "calibration"
        )
    reach = min(1.0, REACH_PX / _max_disparity_px(request))
    scales = sorted({reach, *(scale for scale in _SCALES if scale < reach)}, reverse=True)
    options = tuple(
        _option(request, scale, measurements)
        for scale in scales
        if min(request.size) * scale >= _SMALLEST_PX
    )
    if not options:
        raise InputError(
            f"at {request.near_m:g} m the disparity is {nearest_px:.0f} px: {REACH_PX:g} px reach "
            f"it only at {reach:.2g} of the size, which is too small; use a shorter baseline, or "
            "keep farther away"
        )
    return options


def _option(request: PlanRequest, scale: float, measurements: Sequence[Measurement]) -> SizeOption:
    from litestereo.models.registry import MODEL_SPECS

    # As the engine does it, so that what was planned for is what runs.
    asked = ScaleOptions(scale=scale, max_disparity_px=_max_disparity_px(request))
    largest_ratio = asked.largest_ratio(range_px=REACH_PX)
    frame = frame_for(request.size, scale=scale, largest_ratio=largest_ratio)
    height, width = frame.padded_size
    ratio = frame.width_ratio
    product = request.focal_px * request.baseline_m
    fitting = [m for m in measurements if m.inference_size == (height, width)]
    return SizeOption(
        scale=scale,
        inference_size=(height, width),
        width_ratio=ratio,
        nearest_m=product / (_USABLE_PX / ratio + request.doffs_px),
        far_error_m=request.depth_error_m(request.far_m, scale=ratio),
        gmacs={
            spec.name: round(spec.gmacs_384x1248 * height * width / (384 * 1248), 2)
            for spec in MODEL_SPECS.values()
        },
        # Of several backends and precisions the one that keeps the highest rate would be run.
        measured={m.model: m for m in sorted(fitting, key=lambda m: -m.p99_ms)},
    )


def _best_of_devices(
    request: PlanRequest, measurements: Sequence[Measurement]
) -> tuple[tuple[SizeOption, ...], tuple[SizeOption, str, str]]:
    """Return the sizes and the choice for the device that does most; none knows of another."""
    tried = []
    for device in dict.fromkeys(m.device for m in measurements) or {"": None}:
        options = _options(request, [m for m in measurements if m.device == device])
        tried.append((options, _choice(request, options)))
    return max(tried, key=lambda each: _merit(request, each[0], *each[1][:2]))


def _merit(
    request: PlanRequest, options: Sequence[SizeOption], option: SizeOption, model: str
) -> tuple[bool, bool, float, float]:
    """Return what a choice is compared by: the rate first, then the size, then the model."""
    measured = option.measured.get(model)
    keeps = measured is not None and measured.p99_ms <= 1000 / request.rate_hz
    known = any(option.measured for option in options)
    return keeps, known, option.scale, option.gmacs.get(model, 0.0)


def _device_notes(
    measurements: Sequence[Measurement], option: SizeOption, model: str
) -> tuple[str, ...]:
    measured, count = option.measured.get(model), len({m.device for m in measurements})
    if measured is None or count < 2:
        return ()
    return (
        f"the measurements are of {count} devices and the plan is for {measured.device}; for "
        "another one give its receipts alone",
    )


def _weights_notes(model: str) -> tuple[str, ...]:
    from litestereo.assets import bundled_models, no_weights_for

    if model in bundled_models():
        return ()
    return (f"{no_weights_for(model)}; without weights of your own give receipts of these alone",)


def _choice(request: PlanRequest, options: Sequence[SizeOption]) -> tuple[SizeOption, str, str]:
    period_ms = 1000 / request.rate_hz
    for option in options:
        quick = [m for m in option.measured.values() if m.p99_ms <= period_ms]
        if quick:
            best = max(quick, key=lambda m: option.gmacs.get(m.model, 0.0))
            why = (
                f"the costliest measured model within {period_ms:.1f} ms at this size: p99 "
                f"{best.p99_ms:.1f} ms on {best.device} ({best.backend}, {best.precision})"
            )
            return option, best.model, why
    measured = [option for option in options if option.measured]
    if measured:
        return _too_slow(options, measured[-1], period_ms)
    return options[0], "las1", "not measured at these sizes: time it on your device first"


def _too_slow(
    options: Sequence[SizeOption], smallest: SizeOption, period_ms: float
) -> tuple[SizeOption, str, str]:
    """Return the choice where what was measured, down to the smallest such size, is too slow."""
    best = min(smallest.measured.values(), key=lambda m: m.p99_ms)
    took = (
        f"at {_text(smallest)}, the smallest size that was measured, the quickest takes p99 "
        f"{best.p99_ms:.1f} ms on {best.device} ({best.model}, {best.backend}, {best.precision}), "
        f"more than {period_ms:.1f} ms"
    )
    smaller = [option for option in options if option.scale < smallest.scale]
    if not smaller:
        return smallest, best.model, f"{took}; lower the rate"
    sizes = " ".join(f"--size {_text(option)}" for option in smaller)
    return (
        smaller[0],
        best.model,
        f"{took}; how long smaller sizes take is not known: time them with stereo-bench "
        f"{best.model}@{best.backend} {sizes}",
    )


def _text(option: SizeOption) -> str:
    return f"{option.inference_size[0]}x{option.inference_size[1]}"


def _expectation(request: PlanRequest, distance_m: float, scale: float) -> DepthExpectation:
    error_m = request.depth_error_m(distance_m, scale=scale)
    return DepthExpectation(
        distance_m, request.disparity_px(distance_m), error_m, error_m / distance_m
    )


def _notes(request: PlanRequest, option: SizeOption) -> list[str]:
    notes = []
    if option.scale < 1:
        notes.append(
            f"runs at {option.scale:.3g} of the size: errors in the picture's pixels are "
            f"{1 / option.width_ratio:.3g} times those of the network"
        )
    if request.disparity_px(request.far_m) <= 0:
        end_m = request.focal_px * request.baseline_m / request.doffs_px
        notes.append(
            f"from {end_m:.3g} m on the disparity is negative (doffs {request.doffs_px:g} px), "
            "which no network answers: shift the right picture by doffs"
        )
    error_share = option.far_error_m / request.far_m
    if error_share > _USEFUL_ERROR_SHARE:
        longer_m = request.baseline_m * error_share / _USEFUL_ERROR_SHARE
        notes.append(
            f"at {request.far_m:g} m the expected error is {error_share:.0%} of the distance; for "
            f"{_USEFUL_ERROR_SHARE:.0%} the baseline would have to be {longer_m:.3g} m at this "
            "focal length"
        )
    return notes
