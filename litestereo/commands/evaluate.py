"""`stereo-eval`: accuracy on data sets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from litestereo.commands.shared import (
    Debug,
    EngineCache,
    Version,
    command_app,
    example,
    run_command,
    say,
    scenes_watched,
    stdout_columns,
)

__all__ = ["eval_main"]

eval_app = command_app()


@eval_app.command(epilog=example("stereo-eval data/kitti2015 --backend torch -o out --html"))
def evaluate(
    data: Annotated[
        list[Path],
        typer.Argument(metavar="DATA...", show_default=False, help="Scenes, data sets or both."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", show_default="none", help="Folder for report.json and error maps."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            show_default="las1; an artefact's own, but of torch", help="Name of the model."
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(show_default="bundled", help="Checkpoint, artefact's file or bundled name."),
    ] = None,
    backend: Annotated[
        str,
        typer.Option(help="One of stereo-run's, torch, or sgbm: OpenCV's StereoSGBM."),
    ] = "onnxruntime-cpu",
    device: Annotated[
        str | None, typer.Option(show_default="cpu", help="Of --backend torch, such as cuda.")
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(min=0.01, max=4, show_default="1", help="Run at this multiple of the size."),
    ] = None,
    engine_cache: EngineCache = None,
    layout: Annotated[
        str | None,
        typer.Option(show_default="recognised", help="Layout of DATA, such as kitti2015."),
    ] = None,
    holes: Annotated[
        str, typer.Option(help="Where there is no answer: fill, bad (count as bad) or skip.")
    ] = "fill",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON instead of a table.")
    ] = False,
    html: Annotated[
        bool, typer.Option("--html", help="Also write a page to look at; needs -o.")
    ] = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Score a model on stereo data sets: Middlebury, KITTI, ETH3D, SceneFlow, DrivingStereo.

    The layout on disk is recognised; other scenes are described by a meta.json. Prints a table per
    scene and per set on stdout.
    """
    if html and output is None:
        raise typer.BadParameter("--html needs a folder to write to; add -o DIR")

    from litestereo.assets import named_file
    from litestereo.benchmarks.command import EvaluationRequest, run_evaluation
    from litestereo.benchmarks.table import evaluation_table
    from litestereo.runtime.tensorrt.options import GpuOptions

    request = EvaluationRequest(
        tuple(data),
        model=model,
        weights=named_file(weights) if weights else None,
        backend=backend,
        device=device,
        scale=scale,
        gpu=GpuOptions(cache_dir=engine_cache, progress=say),
        layout=layout,
        holes=holes,
        output=output,
        html=html,
    )
    report = run_evaluation(request, progress=scenes_watched)
    print(
        json.dumps(report.to_json(), indent=1)
        if as_json
        else evaluation_table(report, width=stdout_columns())
    )
    say(f"of {report.matcher}")
    say(*(f"{scene.name}: {scene.problem}" for scene in report.broken))
    if report.broken:
        count = len(report.broken)
        say(f"{count} scene{'s' if count > 1 else ''} could not be scored")
        raise typer.Exit(1)


def eval_main(arguments: Sequence[str] | None = None) -> int:
    """Run `stereo-eval`; `arguments` replaces the command line's.

    Args:
        arguments: words that replace the command line's; None takes those of `sys.argv`.
    """
    return run_command(eval_app, name="stereo-eval", arguments=arguments)
