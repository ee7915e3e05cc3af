"""`stereo-export`: weights to an artefact, and to an engine."""

from __future__ import annotations

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
    with_split_size,
)
from litestereo.models.registry import REFINER_PASSES

__all__ = ["export_main"]

export_app = command_app()


@export_app.command(epilog=example("stereo-export --model las1 --height 384 --width 1248 --fp16"))
def export(
    model: Annotated[str, typer.Option(help="Which network; see --list.")] = "las1",
    weights: Annotated[
        Path | None,
        typer.Option(
            show_default="the bundled ones",
            help="Checkpoint: .pth, .pt, .safetensors, or an FP32 artefact.",
        ),
    ] = None,
    height: Annotated[
        int | None, typer.Option(show_default="dynamic", help="Fixed height, a multiple of 32.")
    ] = None,
    width: Annotated[
        int | None, typer.Option(show_default="dynamic", help="Fixed width, a multiple of 32.")
    ] = None,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Typed half precision with FP32 islands.")
    ] = False,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Explicit Q/DQ where disparities bear it; needs --calibration. With --fp16 the "
            "rest is typed half, for TensorRT 10 and later.",
        ),
    ] = False,
    calibration: Annotated[
        Path | None, typer.Option(show_default=False, help="Of --int8: stereo-calibrate's set.")
    ] = None,
    held_out: Annotated[
        list[Path] | None,
        typer.Option(
            show_default="the set's own",
            help="Of --int8: scenes that judge it, as for stereo-eval; may be given several times.",
        ),
    ] = None,
    ranges: Annotated[
        str | None,
        typer.Option(show_default="mse", help="Of --int8: minmax, percentile, entropy or mse."),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            show_default="0.7", help="Of --int8: part of the gate's limits that the search may use."
        ),
    ] = None,
    calib: Annotated[
        list[Path] | None,
        typer.Option(
            show_default=False,
            help="Of raw pictures: rectify them in the graph; twice for two files.",
        ),
    ] = None,
    camera_size: Annotated[
        tuple[int, int] | None,
        typer.Option(
            metavar="H W", show_default="the calibration's", help="Of --calib: raw size, or HxW."
        ),
    ] = None,
    baseline: Annotated[
        float | None,
        typer.Option(min=1e-4, show_default="the calibration's", help="Of --calib: in metres."),
    ] = None,
    half_weights: Annotated[
        bool,
        typer.Option(
            "--half-weights",
            help="FP32 graph, weights rounded to half; what that loses is measured, too.",
        ),
    ] = False,
    refiner_passes: Annotated[
        int,
        typer.Option(
            min=0, max=4, help="How often the weights' refiner looks, if they have one; 0: never."
        ),
    ] = REFINER_PASSES,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", show_default="e.g. las1_fp32.onnx", help="File to write."),
    ] = None,
    exporter: Annotated[str, typer.Option(help="torchscript or dynamo.")] = "torchscript",
    pair: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="LEFT RIGHT", show_default="the bundled pair", help="Pictures for the gate."
        ),
    ] = None,
    skip_gate: Annotated[
        bool, typer.Option("--skip-gate", help="Do not compare with torch; the manifest says so.")
    ] = False,
    source: Annotated[
        str | None,
        typer.Option(
            show_default="its name", help="Where the weights came from, for the manifest."
        ),
    ] = None,
    engine: Annotated[
        bool,
        typer.Option(
            "--engine", help="Also build this GPU's TensorRT engine; needs --height, --width."
        ),
    ] = False,
    engine_cache: EngineCache = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Of --int8 --engine: keep INT8 even where FP16 is as fast; it is noted."
        ),
    ] = False,
    list_models: Annotated[
        bool, typer.Option("--list", help="Print the models with parameters and GMACs.")
    ] = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Export a network to one ONNX file that was compared with torch before it was written.

    Prints the file's path on stdout.
    """
    if list_models:
        print(_model_table())
        return
    if not calib and (camera_size is not None or baseline is not None):
        raise typer.BadParameter("--camera-size and --baseline belong to --calib FILE")
    if engine and not calib and (height is None or width is None):
        raise typer.BadParameter("an engine has a size; add --height and --width to --engine")
    if int8 != (calibration is not None):
        raise typer.BadParameter("--int8 and --calibration SET go together; see stereo-calibrate")
    if not int8 and (held_out or ranges is not None or budget is not None):
        raise typer.BadParameter("--held-out, --ranges and --budget belong to --int8")
    if engine_cache is not None and not engine:
        raise typer.BadParameter(
            "--engine-cache is where --engine builds; add --engine, or drop it"
        )
    if force and not (int8 and engine):
        raise typer.BadParameter("--force decides between engines; use it with --int8 --engine")
    from litestereo.export.options import ExportOptions, Int8Options, RigOptions

    quantization = None
    if calibration is not None:
        quantization = Int8Options(
            calibration,
            tuple(held_out or ()),
            ranges=ranges or "mse",  # type: ignore[arg-type]  # checked by Int8Options
            budget=0.7 if budget is None else budget,
            half=fp16,
        )
    options = ExportOptions(
        model=model,
        weights=weights,
        weights_source=source,
        height=height,
        width=width,
        precision="int8" if int8 else "fp16" if fp16 else "fp32",
        half_weights=half_weights,
        refiner_passes=refiner_passes,
        exporter=exporter,  # type: ignore[arg-type]  # checked by ExportOptions
        pair=pair,
        gate=not skip_gate,
        int8=quantization,
        rig=RigOptions(tuple(calib), camera_size, baseline) if calib else None,
    )

    from litestereo.export import export_artifact

    output = output or Path(options.file_name)
    if engine and int8:
        from litestereo.export.int8_engine import fp16_beside

        fp16_beside(output, options)  # refuses a name in use before the search for INT8's blocks
    if engine:
        from litestereo.runtime.tensorrt.library import require_tensorrt

        require_tensorrt()
    report = export_artifact(options, output=output, progress=say)
    say(f"{report.size_bytes / 1e6:.1f} MB, {sum(report.histogram.values())} nodes")
    if not (engine and int8):
        print(report.path)
    if engine and int8:
        from litestereo.export.int8_engine import keep_faster
        from litestereo.runtime.tensorrt.options import GpuOptions

        gpu = GpuOptions(cache_dir=engine_cache, progress=say)
        print(keep_faster(report.path, options, gpu=gpu, force=force, progress=say))
    elif engine:
        _build_engine(report.path, engine_cache)


def _build_engine(artifact: Path, cache: Path | None) -> None:
    """Build the engine of an artefact on this GPU, so that its first run is quick."""
    from litestereo.runtime.tensorrt.backend import build_ahead
    from litestereo.runtime.tensorrt.options import GpuOptions

    built = build_ahead(artifact, options=GpuOptions(cache_dir=cache, progress=say))
    say(f"engine: {built.path or 'could not be kept'}")


def _model_table() -> str:
    """Return the models as a table; those whose weights are in the package are marked."""
    from litestereo.assets import bundled_models
    from litestereo.models.registry import MODEL_SPECS

    lines = [f"{'model':<8}{'parameters':>12}{'GMACs at 384x1248':>20}  weights"]
    for spec in MODEL_SPECS.values():
        weights = "bundled" if spec.name in bundled_models() else "pass --weights"
        lines.append(f"{spec.name:<8}{spec.parameters:>12,}{spec.gmacs_384x1248:>20.1f}  {weights}")
    return "\n".join(lines)


def export_main(arguments: Sequence[str] | None = None) -> int:
    """Run `stereo-export`; `arguments` replaces the command line's.

    Args:
        arguments: words that replace the command line's; None takes those of `sys.argv`.
    """
    given = with_split_size(arguments, "--camera-size")
    return run_command(export_app, name="stereo-export", arguments=given)
