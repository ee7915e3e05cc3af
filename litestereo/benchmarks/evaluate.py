"""Score a matcher on stereo data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from litestereo.benchmarks.datasets import BrokenScene, Found, find_scenes
from litestereo.benchmarks.matchers import Match, Matcher, TorchMatcher
from litestereo.benchmarks.metrics import MetricOptions, score_regions
from litestereo.benchmarks.report import EvaluationReport, SceneResult, group_results
from litestereo.benchmarks.scenes import GroundTruth, Scene
from litestereo.benchmarks.sparsification import Sparsification, sparsification
from litestereo.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["evaluate", "evaluate_torch_model", "score_scene"]

Watcher = Callable[[Scene, Match, GroundTruth | None, SceneResult], None]


def evaluate(
    matcher: Matcher,
    found: Found,
    *,
    options: MetricOptions | None = None,
    confidence: bool = False,
    watch: Watcher | None = None,
    progress: Callable[[Iterable[Scene]], Iterable[Scene]] = iter,
) -> EvaluationReport:
    """Run a matcher over scenes and score it; a broken scene is reported and the rest goes on.

    Args:
        matcher: what is scored.
        found: scenes, as `find_scenes` gives them.
        options: treatment of holes.
        confidence: also score how well the matcher's confidence sorts its errors.
        watch: called after each scene with its disparity, to draw pictures.
        progress: wraps the scenes, as a progress bar does.

    Returns:
        The report; the same for the same inputs, whatever the order of the files on disk.

    Raises:
        LiteStereoError: the matcher itself fails, which no other scene would mend.
    """
    options = options or MetricOptions()
    results: list[SceneResult] = []
    broken = list(found.broken)
    for scene in progress(found.scenes):
        try:
            match, truth, result = score_scene(
                matcher, scene, options=options, confidence=confidence
            )
        except InputError as error:
            broken.append(BrokenScene(scene.key, str(error)))
            continue
        results.append(result)
        if watch is not None:
            watch(scene, match, truth, result)
    return EvaluationReport(
        matcher.name,
        options,
        tuple(results),
        group_results(results, holes=options.holes),
        tuple(broken),
    )


def score_scene(
    matcher: Matcher,
    scene: Scene,
    *,
    options: MetricOptions | None = None,
    confidence: bool = False,
) -> tuple[Match, GroundTruth | None, SceneResult]:
    """Match and score one scene.

    Args:
        matcher: answers for the pair.
        scene: pictures, and ground truth where it is known.
        options: how holes and the range are treated; None is the default.
        confidence: also measure what is left when unsure pixels are dropped.

    Raises:
        InputError: a file is broken, or sizes disagree.
    """
    left, right = scene.load_pair()
    truth = scene.load_truth()
    match = matcher(left, right, largest_px=truth.largest_px if truth else None)
    if match.disparity_px.shape != left.shape[:2]:
        raise InputError(
            f"disparity is {_size(match.disparity_px)} but the left picture is {_size(left)}; "
            "a matcher answers for every pixel of the left picture"
        )
    height, width = left.shape[:2]
    if truth is None:
        unknown = dict.fromkeys(("all", "noc"))
        return match, None, SceneResult(scene.set, scene.name, height, width, unknown)
    regions = score_regions(
        match.disparity_px, truth.disparity_px, visible=truth.visible, options=options
    )
    curves = _curves(match, truth.disparity_px) if confidence else None
    return match, truth, SceneResult(scene.set, scene.name, height, width, regions, curves)


def evaluate_torch_model(
    model: torch.nn.Module,
    *roots: Path | str,
    device: str | None = None,
    confidence: bool = False,
) -> EvaluationReport:
    """Score a torch network, in training or not, on every scene below `roots`.

    The model keeps its mode and weights. Example:

        report = evaluate_torch_model(model, "data/eval", device="cuda")
        report.group("middlebury").metric("bad_2"), report.group("kitti").metric("d1")

    Args:
        model: forward(left, right) on float32 RGB 0..255 (B, 3, H, W).
        roots: folders of data sets.
        device: where to run; None leaves the model where it is.
        confidence: also score the confidence.

    Raises:
        InputError: a root holds no scene.
    """
    matcher = TorchMatcher(model, device=device)
    return evaluate(matcher, find_scenes(*roots), confidence=confidence)


def _curves(match: Match, truth_px: npt.NDArray[np.float32]) -> Sparsification | None:
    if match.confidence is None:
        return None
    error = np.abs(match.disparity_px - truth_px)
    return sparsification(error, match.confidence)


def _size(image: npt.NDArray[Any]) -> str:
    return "x".join(map(str, image.shape[:2]))
