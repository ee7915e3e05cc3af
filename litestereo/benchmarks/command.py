"""The work behind `stereo-eval`: find, match, score, write."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from litestereo.assets import named_file
from litestereo.benchmarks.datasets import find_scenes
from litestereo.benchmarks.evaluate import evaluate
from litestereo.benchmarks.latency.subjects import file_sha256
from litestereo.benchmarks.matchers import DEFAULT_MODEL, open_matcher
from litestereo.benchmarks.metrics import Holes, MetricOptions
from litestereo.benchmarks.page import PictureWriter, write_page
from litestereo.benchmarks.report import EvaluationReport
from litestereo.benchmarks.scenes import Scene
from litestereo.runtime.files import require_writable, write_atomic
from litestereo.runtime.tensorrt.options import GpuOptions

__all__ = ["EvaluationRequest", "run_evaluation"]


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What is scored, how, and where the results go.

    Attributes:
        data: folders of data sets.
        model: name of the model; None is las1, or with the runtime's backends the
            one whose artefact `weights` is.
        weights: checkpoint or artefact; None takes the bundled one.
        backend: one of `matchers.BACKENDS`.
        device: of the torch backend; None is the CPU.
        scale: inference size over picture size, of the runtime's backends; None is 1.
        gpu: of the runtime's GPU backends; None: their defaults.
        layout: one of `datasets.LAYOUT_NAMES`; None recognises it.
        holes: treatment of pixels without an answer.
        output: folder for `report.json` and `errors/`; None writes nothing.
        html: also write `report.html` there.
    """

    data: tuple[Path, ...]
    model: str | None = None
    weights: Path | None = None
    backend: str = "onnxruntime-cpu"
    device: str | None = None
    scale: float | None = None
    gpu: GpuOptions | None = None
    layout: str | None = None
    holes: str = "fill"
    output: Path | None = None
    html: bool = False


def run_evaluation(
    request: EvaluationRequest,
    *,
    progress: Callable[[Iterable[Scene]], Iterable[Scene]] = iter,
) -> EvaluationReport:
    """Score a matcher on data sets and write what was asked for.

    Args:
        request: what, how and where to.
        progress: wraps the scenes, as a progress bar does.

    Raises:
        LiteStereoError: no scene is found, or the matcher cannot be opened or fails.
    """
    options = MetricOptions(holes=cast(Holes, request.holes))  # which refuses other words
    found = find_scenes(*request.data, layout=request.layout)
    pictures = None
    if request.output is not None:
        require_writable(request.output, folder=True)
        pictures = PictureWriter(request.output, options=options, page=request.html)
    with open_matcher(
        request.backend,
        model=request.model,
        weights=request.weights,
        device=request.device,
        scale=request.scale,
        gpu=request.gpu,
    ) as matcher:
        report = evaluate(
            matcher, found, options=options, confidence=True, watch=pictures, progress=progress
        )
    report = replace(
        report, artifact_sha256=_sha256_of_weights(request), scale=request.scale or 1.0
    )
    if request.output is not None and pictures is not None:
        text = json.dumps(report.to_json(), indent=1) + "\n"
        write_atomic(request.output / "report.json", text.encode())
        if request.html:
            write_page(request.output / "report.html", report, pictures=pictures)
    return report


def _sha256_of_weights(request: EvaluationRequest) -> str | None:
    """Return the hash of the file that a matcher was opened from, as receipts have it."""
    if request.backend == "sgbm":
        return None
    return file_sha256(named_file(request.weights or request.model or DEFAULT_MODEL))
