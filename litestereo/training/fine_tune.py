"""Adapting a model to a user's own rig, and saying by how much it got better there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from litestereo.assets import bundled_artifact, bundled_models, no_weights_for
from litestereo.benchmarks.datasets import Found
from litestereo.benchmarks.evaluate import evaluate
from litestereo.benchmarks.matchers import TorchMatcher
from litestereo.benchmarks.metrics import mean_metrics
from litestereo.benchmarks.scenes import Scene
from litestereo.errors import TrainingError
from litestereo.models import save_weights
from litestereo.training.group import joined_group
from litestereo.training.labels import consistent, flipped_pair
from litestereo.training.options import TrainOptions
from litestereo.training.pairs import find_training_pairs
from litestereo.training.split import held_out
from litestereo.training.stages import make_self_run, make_truth_run, start_network
from litestereo.training.validate import exact_float32

if TYPE_CHECKING:
    from litestereo.models.las import StereoNetwork

__all__ = ["FineTuneResult", "agrees_better", "fine_tune", "matched_views"]

_MINIMUM_PAIRS = 3
_Watch = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class FineTuneResult:
    """What adapting gave.

    Attributes:
        method: "ground truth" or "self-distillation".
        weights: the file to export: the adapted weights, or the old ones if they are better.
        kept: which of the two, "adapted" or "old".
        trained_on: number of pairs.
        held_out: names of the pairs that judged and were not trained on.
        before: figures of the old weights on the pairs held out.
        after: figures of the adapted weights there.
        decided_by: the figure that decided: EPE with ground truth; else left-right consistency,
            which alone would praise a flat answer, with the photometric error as its witness.
    """

    method: str
    weights: Path
    kept: str
    trained_on: int
    held_out: tuple[str, ...]
    before: dict[str, float]
    after: dict[str, float]
    decided_by: str

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dumps` takes."""
        return {**asdict(self), "weights": str(self.weights)}


def fine_tune(
    options: TrainOptions, folder: Path, *, watch: _Watch = lambda _: None
) -> FineTuneResult:
    """Adapt `options.weights` (None: the bundled ones) to the pairs below `folder`.

    With ground truth where every pair has it, else by self-distillation. Under torchrun all
    processes train and judge; the first one writes. `weights.safetensors` in the output folder is
    what is kept.

    Args:
        options: of the run.
        folder: of pairs, as `find_training_pairs` takes it.
        watch: is told each line that is written.

    Raises:
        TrainingError: fewer than three pairs, or all of one scene, or one that is held out cannot
            be scored; no weights are given or bundled; something that needs ground truth is asked
            for where not all pairs have it.
        LiteStereoError: weights or pictures cannot be used.
    """
    scenes = find_training_pairs(folder)
    if len(scenes) < _MINIMUM_PAIRS:
        raise TrainingError(
            f"{folder} holds {len(scenes)} pairs; fine-tuning needs at least {_MINIMUM_PAIRS}, as "
            "a fifth is held out to judge"
        )
    if options.weights is None and options.model not in bundled_models():
        raise TrainingError(
            f"{no_weights_for(options.model)}; give its checkpoint with --weights FILE"
        )
    options = replace(options, weights=options.weights or bundled_artifact(options.model))
    known = all(scene.truth is not None for scene in scenes)
    asked = {
        "--edge-weight": options.edge_weight != 1,
        "--distribution-weight": options.distribution_weight != 0,
        "--refiner": options.refiner is not None,
    }
    for name, is_asked in asked.items():
        if is_asked and not known:
            raise TrainingError(
                f"{name} needs known disparities, and not all pairs of {folder} have them; "
                "leave it out"
            )
    trained, judges = held_out(scenes)
    with joined_group() as group:
        old = start_network(options.model, options.weights).to(group.device).eval()

        def judged(network: StereoNetwork) -> dict[str, float]:
            with exact_float32():
                if known:
                    return _with_truth(network, judges)
                return _without_truth(network, judges, old=old)

        before = judged(old)  # first, as training may take hours and a judge be unreadable
        make = make_truth_run if known else make_self_run
        run = make(options, trained, group=group, watch=watch)
        run.go()
        new = run.average.network(run.network)
        after = judged(new)
        better = after["epe"] < before["epe"] if known else agrees_better(before, after)
        path = options.output / "weights.safetensors"
        if group.rank == 0:
            shutil.copyfile(path, options.output / "adapted.safetensors")
            save_weights(new if better else old, path, half=True)
    return FineTuneResult(
        method="ground truth" if known else "self-distillation",
        weights=path,
        kept="adapted" if better else "old",
        trained_on=len(trained),
        held_out=tuple(scene.key for scene in judges),
        before=before,
        after=after,
        decided_by="epe" if known else "consistent, with photometric not worse",
    )


def _with_truth(network: StereoNetwork, scenes: Sequence[Scene]) -> dict[str, float]:
    """Return the means over scenes of EPE (px), bad-2 and D1 (%), as `stereo-eval` has them.

    Raises:
        TrainingError: a scene cannot be scored.
    """
    report = evaluate(TorchMatcher(network), Found(tuple(scenes), ()))
    parts = [part for scene in report.scenes if (part := scene.regions["all"]) is not None]
    mean = mean_metrics(parts) if parts else None
    if report.broken:
        first = report.broken[0]
        raise TrainingError(
            f"{len(report.broken)} pairs that are held out cannot be scored ({first.name}: "
            f"{first.problem}); mend or remove them"
        )
    if mean is None or mean.epe is None or mean.bad_2 is None or mean.d1 is None:
        raise TrainingError(
            "no pair that is held out has a known disparity; give pairs whose last fifth has some"
        )
    return {"epe": round(mean.epe, 4), "bad_2": round(mean.bad_2, 3), "d1": round(mean.d1, 3)}


def _without_truth(
    network: StereoNetwork, scenes: Sequence[Scene], *, old: StereoNetwork
) -> dict[str, float]:
    """Return means over scenes of what can be measured without ground truth.

    consistent: share of pixels where both views agree within 1 px, %; photometric: mean
    difference between the left picture and the right one brought over, 0..255; from_old: mean
    difference to the old weights' disparity, px.
    """
    matcher, reference = TorchMatcher(network), TorchMatcher(old)
    rows = []
    for scene in scenes:
        left, right = scene.load_pair()
        disparity, *figures = matched_views(matcher, left, right)
        moved = np.abs(disparity - reference(left, right).disparity_px)
        rows.append((*figures, float(moved.mean())))
    names = ("consistent", "photometric", "from_old_px")
    means = np.mean(rows, axis=0)
    return {name: round(float(value), 3) for name, value in zip(names, means, strict=True)}


class _Matched(Protocol):
    @property
    def disparity_px(self) -> NDArray[np.float32]: ...


def matched_views(
    match: Callable[[NDArray[np.uint8], NDArray[np.uint8]], _Matched],
    left: NDArray[np.uint8],
    right: NDArray[np.uint8],
) -> tuple[NDArray[np.float32], float, float]:
    """Match a pair and its mirror image; say how far the two agree.

    Args:
        match: matches a pair, such as a `StereoEngine`.
        left: (H, W, 3) uint8 RGB, rectified.
        right: same of the right camera.

    Returns:
        The left view's disparity (H, W) in pixels; the share of its pixels on which both views
        agree within 1 px, %; the mean difference, 0..255, between the left picture and the right
        one brought over.
    """
    disparity = match(left, right).disparity_px
    of_right = match(*flipped_pair(left, right)).disparity_px[:, ::-1]
    agreeing = 100 * float(consistent(disparity, of_right).mean())
    return disparity, agreeing, _photometric(left, right, disparity)


def _photometric(
    left: NDArray[np.uint8], right: NDArray[np.uint8], disparity_px: NDArray[np.float32]
) -> float:
    """Return the mean difference of brightness, each picture's own mean taken away."""
    bright_left, bright_right = (picture.mean(2, dtype=np.float32) for picture in (left, right))
    width = left.shape[1]
    column = np.arange(width, dtype=np.float32) - disparity_px
    inside = (column >= 0) & (column <= width - 1)
    low = np.clip(np.floor(column), 0, width - 2).astype(np.int64)
    share = np.clip(column - low, 0, 1)
    near, far = (np.take_along_axis(bright_right, low + i, axis=1) for i in (0, 1))
    brought = near + (far - near) * share - bright_right.mean()
    difference = np.abs(brought - (bright_left - bright_left.mean()))
    return float(difference[inside].mean()) if inside.any() else 255.0


def agrees_better(before: dict[str, float], after: dict[str, float]) -> bool:
    """Tell whether more pixels agree between the views, and explain the left picture as well.

    Args:
        before: figures of the old weights.
        after: figures of the new ones.
    """
    return (
        after["consistent"] > before["consistent"] and after["photometric"] <= before["photometric"]
    )
