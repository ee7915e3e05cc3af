"""Run an engine over pairs and write what was asked for: the work behind `stereo-run`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from litestereo.errors import EngineError, InputError
from litestereo.runtime.disparity_io import (
    HIGHEST_PNG16_PX,
    write_npy,
    write_pfm,
    write_picture,
    write_png16,
)
from litestereo.runtime.doctor.pair import quick_findings
from litestereo.runtime.engine import StereoEngine
from litestereo.runtime.files import require_writable
from litestereo.runtime.geometry.metric import MetricOptions, MetricRun
from litestereo.runtime.images import StereoPair
from litestereo.runtime.pair_order import pair_order
from litestereo.runtime.pairs import PairSource
from litestereo.runtime.results import StereoResult
from litestereo.runtime.viewer.page import write_view
from litestereo.runtime.visualize import color_disparity, panel

__all__ = [
    "OutputOptions",
    "PairReport",
    "as_seen",
    "batch_summary",
    "check_order",
    "depth_notes",
    "output_targets",
    "pair_notes",
    "result_notes",
    "run_pairs",
    "with_own_metric",
    "write_outputs",
]

# From this share on, a range that ends too early is worth a word.
_CLIPPED_NOTABLE = 0.02
_FILE_SUFFIXES = frozenset({".jpg", ".jpeg", ".npy", ".pfm", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What is written where; the colour picture and the panel always are.

    Attributes:
        output: a folder, or the .png file of the colour picture of a single pair.
        png16: also KITTI's 16-bit PNG.
        pfm: also PFM.
        npy: also NPY, of disparity and of confidence.
        max_color_px: end of the colour scale; None chooses it for each pair.
        allow_swapped: run pairs whose eyes look swapped.
        metric: what is computed with a calibration; None: nothing.
        view: also a page to look at.
    """

    output: Path
    png16: bool = False
    pfm: bool = False
    npy: bool = False
    max_color_px: float | None = None
    allow_swapped: bool = False
    metric: MetricOptions | None = None
    view: bool = False

    def __post_init__(self) -> None:
        """Refuse an output that can be neither a folder nor a PNG."""
        if self.output.suffix.lower() in _FILE_SUFFIXES and not self.output.is_dir():
            raise InputError(
                f"output {self.output} is a {self.output.suffix} file; give a folder or a .png, "
                "and ask for other formats with --png16, --pfm or --npy"
            )

    def require_place(self) -> None:
        """Raise where the results cannot be written, before there are any.

        Raises:
            LiteStereoError: `output` is not a place to write to.
        """
        require_writable(self.output, folder=not self.names_a_file)

    @property
    def names_a_file(self) -> bool:
        """Whether `output` is the colour picture itself."""
        return self.output.suffix.lower() == ".png" and not self.output.is_dir()


@dataclass(frozen=True, slots=True)
class PairReport:
    """What became of one pair.

    Attributes:
        left: file of the left picture, or of both side by side.
        right: file of the right picture; None for side by side.
        facts: sizes, statistics, timings and files, ready for JSON; empty after an error.
        notes: what the user should know, in words.
        error: why there is no result; None if there is one.
    """

    left: str
    right: str | None
    facts: dict[str, Any]
    notes: tuple[str, ...] = ()
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        pair = {"left": self.left, "right": self.right}
        if self.error is not None:
            return {**pair, "error": self.error}
        return {**pair, **self.facts, "notes": list(self.notes)}

    def words(self) -> list[str]:
        """Return the report as lines for a person."""
        if self.error is not None:
            return [f"{self.left}: failed: {self.error}"]
        median_px, total_ms = (
            self.facts["disparity_px"]["median"],
            self.facts["timings"]["total_ms"],
        )
        picture = self.facts["files"]["panel"]
        done = f"{self.left}: median disparity {median_px:.1f} px, {total_ms:.0f} ms -> {picture}"
        return [*(f"{self.left}: {note}" for note in self.notes), done]


def run_pairs(
    engine: StereoEngine, sources: Sequence[PairSource], *, options: OutputOptions
) -> Iterator[PairReport]:
    """Yield the report of each pair as it is done; the files are written by then.

    A pair that fails among several is reported and the rest goes on; a single pair raises.

    Args:
        engine: is called with one pair after the other.
        sources: where the pairs are.
        options: what is written, and where.

    Raises:
        InputError: one output file for several pairs, or an output that would replace a picture.
    """
    options = with_own_metric(options, engine)
    if options.names_a_file and len(sources) > 1:
        raise InputError(
            f"output {options.output} is one file and there are {len(sources)} pairs; give a folder"
        )
    plans = [(source, output_targets(source.name, options)) for source in sources]
    _check_targets(plans)
    metric = MetricRun(options.metric, engine=engine) if options.metric else None
    for source, targets in plans:
        try:
            yield _run_pair(engine, source, targets, options=options, metric=metric)
        except (InputError, EngineError) as error:
            if len(sources) == 1:
                raise
            left, right = _texts(source)
            yield PairReport(left, right, facts={}, error=str(error))


def batch_summary(engine: StereoEngine, reports: Sequence[PairReport]) -> dict[str, Any]:
    """Return what `stereo-run` prints: what ran, every pair, and how many failed.

    Args:
        engine: that has run.
        reports: one of each pair.
    """
    manifest = engine.manifest
    return {
        "model": manifest.model,
        "weights_sha256": manifest.weights_sha256,
        "exported_by": manifest.litestereo_version,
        "pairs": [report.to_json() for report in reports],
        "failed": sum(report.error is not None for report in reports),
    }


def output_targets(name: str, options: OutputOptions) -> dict[str, Path]:
    """Return kind -> file of everything that is written for the pair called `name`.

    Args:
        name: of the pair.
        options: what is written, and where.
    """
    if options.names_a_file:
        folder, stem, color = options.output.parent, options.output.stem, options.output.name
    else:
        folder, stem = options.output, name
        color = f"{stem}_disparity.png"
    names = {"disparity": color, "panel": f"{stem}_panel.png"}
    if options.png16:
        names["png16"] = f"{stem}_disparity16.png"
    if options.pfm:
        names["pfm"] = f"{stem}_disparity.pfm"
    if options.npy:
        names["npy"] = f"{stem}_disparity.npy"
        names["confidence_npy"] = f"{stem}_confidence.npy"
    if options.view:
        names["view"] = f"{stem}_view.html"
    if options.metric:
        names.update(options.metric.targets(stem))
    return {kind: folder / name for kind, name in names.items()}


def write_outputs(
    pair: StereoPair, result: StereoResult, *, targets: dict[str, Path], options: OutputOptions
) -> None:
    """Write what the options ask for, except what is metric, to `output_targets`.

    With a calibration the page is metric, too.

    Args:
        pair: as results refer to it.
        result: of the engine.
        targets: what `output_targets` gave.
        options: what is written.
    """
    disparity_px, max_px = result.disparity_px, options.max_color_px
    write_picture(targets["disparity"], color_disparity(disparity_px, max_px=max_px))
    write_picture(
        targets["panel"], panel(pair.left, disparity_px, result.confidence, max_px=max_px)
    )
    if options.png16:
        write_png16(targets["png16"], disparity_px)
    if options.pfm:
        write_pfm(targets["pfm"], disparity_px)
    if options.npy:
        write_npy(targets["npy"], disparity_px)
        write_npy(targets["confidence_npy"], result.confidence)
    if options.view and options.metric is None:
        write_view(targets["view"], pair.left, result, max_color_px=max_px)


def with_own_metric(options: OutputOptions, engine: StereoEngine) -> OutputOptions:
    """Return options that are metric also where only the artefact has a calibration.

    Args:
        options: as asked for.
        engine: that may know its rig.
    """
    if options.metric is not None or engine.calibration is None:
        return options
    return replace(options, metric=MetricOptions())


def as_seen(engine: StereoEngine, pair: StereoPair) -> StereoPair:
    """Return the pair as results refer to it: rectified where the artefact does that.

    Args:
        engine: that gave the results.
        pair: as it was given.
    """
    left, right = engine.as_seen(pair.left, pair.right)
    return replace(pair, left=left, right=right)


def check_order(pair: StereoPair) -> None:
    """Refuse a pair whose eyes are swapped.

    Args:
        pair: rectified, or nearly so.

    Raises:
        InputError: nearly all that matches between the pictures has a negative disparity.
    """
    order = pair_order(pair.left, pair.right)
    if order.looks_swapped:
        raise InputError(
            f"the pair looks swapped: {order.negative_share:.0%} of its matches have a negative "
            "disparity; pass the left camera's picture first, or run it as it is with "
            "--allow-swapped"
        )


def pair_notes(pair: StereoPair) -> tuple[str, ...]:
    """Return what is plainly wrong with a pair: one picture twice, or one without texture.

    Args:
        pair: as it was read.
    """
    found = quick_findings(pair.left, pair.right)
    return tuple(f"{each.what}: {each.fix} (stereo-doctor looks closer)" for each in found)


def result_notes(
    engine: StereoEngine, result: StereoResult, *, options: OutputOptions
) -> dict[str, str]:
    """Return kind -> note of what the user should know of a result, in words.

    Args:
        engine: that gave the result.
        result: of a pair.
        options: what is written.
    """
    notes = {}
    asked_px = engine.scaling.max_disparity_px
    if asked_px is not None and asked_px > engine.manifest.reach_px:
        height, width = result.inference_size
        notes["size"] = (
            f"inference at {result.scale:.3g} of the size ({height}x{width}), so that "
            f"disparities up to {result.max_disparity_px:.0f} px are in range"
        )
    if result.range_clipped >= _CLIPPED_NOTABLE:
        notes["range"] = (
            f"{result.range_clipped:.0%} of the pixels lie at the end of the "
            f"{result.max_disparity_px:.0f} px range; {_farther(engine, result)}"
        )
    if beyond := _beyond_png16(result, options):
        notes["png16"] = (
            f"{beyond:.2%} of the pixels are beyond {HIGHEST_PNG16_PX:.0f} px, where the 16-bit "
            "PNG ends, and have no answer in it; take --pfm or --npy"
        )
    return notes


def depth_notes(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a note where no pixel of a pair has a depth, with the commonest reasons.

    Args:
        facts: of `MetricRun.write`.
    """
    shares = {name: share for name, share in facts["validity"].items() if share}
    if "valid" in shares:
        return ()
    ordered = sorted(shares.items(), key=lambda each: -each[1])[:3]
    reasons = ", ".join(f"{share:.0%} {name.replace('_', ' ')}" for name, share in ordered)
    return (f"no pixel has a depth: {reasons}; see --near, --far, --min-confidence, --speckle",)


def _run_pair(
    engine: StereoEngine,
    source: PairSource,
    targets: dict[str, Path],
    *,
    options: OutputOptions,
    metric: MetricRun | None,
) -> PairReport:
    pair = source.read()
    size = pair.left.shape[:2]
    pair = replace(pair, notes=(*pair.notes, *pair_notes(pair)))
    if metric is not None:
        pair = metric.prepared(pair)
    if not options.allow_swapped:
        check_order(pair)
    result = engine(pair.left, pair.right)
    pair = as_seen(engine, pair)
    write_outputs(pair, result, targets=targets, options=options)
    left, right = _texts(source)
    facts = _facts(result)
    if beyond := _beyond_png16(result, options):
        facts["beyond_png16"] = round(beyond, 4)
    if metric is not None:
        facts["metric"] = metric.write(
            pair, result, size=size, targets=targets, max_color_px=options.max_color_px
        )
        pair = replace(pair, notes=(*pair.notes, *depth_notes(facts["metric"])))
    facts["files"] = {kind: str(path) for kind, path in targets.items()}
    notes = (*pair.notes, *result_notes(engine, result, options=options).values())
    return PairReport(left, right, facts=facts, notes=notes)


def _check_targets(plans: Sequence[tuple[PairSource, dict[str, Path]]]) -> None:
    """Refuse to write over a picture that is read."""
    read = {p.resolve() for source, _ in plans for p in (source.left, source.right) if p}
    written = (path for _, targets in plans for path in targets.values())
    for path in written:
        if path.resolve() in read:
            raise InputError(f"{path} is one of the pictures to read; choose another output")


def _facts(result: StereoResult) -> dict[str, Any]:
    disparity_px = result.disparity_px
    return {
        "backend": result.backend,
        "device": result.device,
        "precision": result.precision,
        "size": list(disparity_px.shape),
        "inference_size": list(result.inference_size),
        "scale": round(result.scale, 4),
        "max_disparity_px": round(result.max_disparity_px, 2),
        "range_clipped": round(result.range_clipped, 4),
        "disparity_px": {
            "min": round(float(disparity_px.min()), 3),
            "median": round(float(np.median(disparity_px)), 3),
            "max": round(float(disparity_px.max()), 3),
        },
        "confidence_mean": round(float(result.confidence.mean()), 4),
        "timings": {name: round(ms, 2) for name, ms in asdict(result.timings).items()},
    }


def _beyond_png16(result: StereoResult, options: OutputOptions) -> float:
    """Return the share of the pixels that have no number in a 16-bit PNG that is asked for."""
    return float(np.mean(result.disparity_px > HIGHEST_PNG16_PX)) if options.png16 else 0.0


def _farther(engine: StereoEngine, result: StereoResult) -> str:
    """Return how to get a longer range than a result's."""
    if engine.calibration is not None:
        return "export the model for a smaller --height and --width, which reaches nearer"
    alone = "" if engine.scaling.scale is None else " without --scale"
    return f"try --max-disparity {2 * result.max_disparity_px:.0f}{alone}"


def _texts(source: PairSource) -> tuple[str, str | None]:
    return str(source.left), None if source.right is None else str(source.right)
