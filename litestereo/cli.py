"""The stereo-* commands: read the arguments, make one library call, print.

Each command is a typer app with a `*_main` function that the entry point calls. What is heavy is
imported inside the command, so that `--help` is quick. Results go to stdout, words to stderr; an
error is one line and exit status 1 (2 for wrong usage), its traceback is shown with --debug.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from litestereo._version import __version__
from litestereo.errors import LiteStereoError

__all__ = ["bench_main", "eval_main", "export_main", "run_main", "train_main"]


def _command_app() -> typer.Typer:
    """Return an app with the settings that all commands share."""
    return typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        # Plain help text: rich's frames double the time of --help and break when it is piped.
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _example(text: str) -> str:
    """Return the end of a help text: one line to copy (the escape keeps its line breaks)."""
    return f"\b\nExample:\n  {text}"


def _main(app: typer.Typer, *, name: str, arguments: Sequence[str] | None) -> int:
    """Run `app`, turning our own errors into one line; return the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(given, prog_name=name)  # leaves by SystemExit, also when all went well
    except LiteStereoError as error:
        if "--debug" in given:
            raise
        print(f"{name}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def _print_version(asked: bool) -> None:
    if asked:
        print(f"litestereo {__version__}")
        raise typer.Exit


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)


Backend = Annotated[str, typer.Option(help="What runs the model; never replaced by another.")]
EngineCache = Annotated[
    Path | None,
    typer.Option(
        show_default="~/.cache/litestereo/engines", help="Folder of built TensorRT engines."
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all cores")]
Version = Annotated[
    bool,
    typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version."),
]

run_app = _command_app()


@run_app.command(epilog=_example("stereo-run left.png right.png -o out --pfm"))
def run(
    pictures: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="LEFT RIGHT",
            show_default=False,
            help="Two files, two folders, or two quoted patterns; with --side-by-side any number.",
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder, or the .png file for a single pair."),
    ] = Path("out"),
    model: Annotated[str, typer.Option(help="A bundled model, or an artefact's file.")] = "las1",
    backend: Backend = "onnxruntime-cpu",
    engine_cache: EngineCache = None,
    threads: Threads = None,
    max_disparity: Annotated[
        float | None,
        typer.Option(
            min=1,
            show_default="the model's",
            help="Largest disparity in pixels; above the model's range it runs at a smaller size.",
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(min=0.01, max=4, show_default="1", help="Run at this part of the size."),
    ] = None,
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", help="Each picture holds left and right.")
    ] = False,
    demo: Annotated[bool, typer.Option("--demo", help="Run on the bundled pair.")] = False,
    png16: Annotated[bool, typer.Option("--png16", help="Also KITTI's 16-bit PNG.")] = False,
    pfm: Annotated[bool, typer.Option("--pfm", help="Also PFM.")] = False,
    npy: Annotated[bool, typer.Option("--npy", help="Also NPY, with the confidence.")] = False,
    view: Annotated[
        bool,
        typer.Option(
            "--view",
            help="Also an HTML page with the pictures and a cloud to turn; of a stream "
            "view.html, always of the latest.",
        ),
    ] = False,
    max_color: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            show_default="from each pair; of a stream, from its first",
            help="Disparity of the last colour.",
        ),
    ] = None,
    allow_swapped: Annotated[
        bool, typer.Option("--allow-swapped", help="Run pairs whose eyes look swapped.")
    ] = False,
    calib: Annotated[
        list[Path] | None,
        typer.Option(
            show_default=False,
            help="Calibration (OpenCV, ROS, Kalibr, Middlebury, KITTI, K.txt, ZED); twice for two "
            "files. Raw pairs are rectified by it.",
        ),
    ] = None,
    baseline: Annotated[
        float | None,
        typer.Option(min=1e-4, show_default="the calibration's", help="In metres."),
    ] = None,
    rectified: Annotated[
        bool, typer.Option("--rectified", help="The pictures are rectified, whatever --calib is.")
    ] = False,
    depth: Annotated[
        bool, typer.Option("--depth", help="Also depth: millimetre PNG, NPY in metres, validity.")
    ] = False,
    cloud: Annotated[bool, typer.Option("--cloud", help="Also a coloured cloud, PLY.")] = False,
    near: Annotated[
        float | None, typer.Option(min=0, show_default="the range's", help="Nearest depth, m.")
    ] = None,
    far: Annotated[
        float | None,
        typer.Option(min=0.01, show_default="at 1 px", help="Farthest depth, m."),
    ] = None,
    min_confidence: Annotated[float, typer.Option(min=0, max=1, help="Less has no depth.")] = 0.0,
    speckle: Annotated[
        int, typer.Option(min=0, help="Islands of up to so many pixels have no depth.")
    ] = 0,
    second_pass: Annotated[
        bool,
        typer.Option(
            "--second-pass", help="Find occlusions by a mirrored inference: twice the time."
        ),
    ] = False,
    video: Annotated[
        list[Path] | None,
        typer.Option(show_default=False, help="Stream a side-by-side video; twice for two files."),
    ] = None,
    camera: Annotated[
        list[str] | None,
        typer.Option(
            show_default=False,
            help="Stream a side-by-side camera (number, device or URL); twice for two.",
        ),
    ] = None,
    camera_size: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="H W", show_default="the driver's", help="Of the cameras' pictures."),
    ] = None,
    camera_format: Annotated[
        str | None,
        typer.Option(show_default="the driver's", help="Of the cameras, four letters: MJPG, YUYV."),
    ] = None,
    folder: Annotated[
        list[Path] | None,
        typer.Option(
            show_default=False, help="Stream a folder with left and right in it; twice for two."
        ),
    ] = None,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Play videos at their own speed, dropping pairs.")
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(min=0.1, show_default="none", help="Deadline: results a second to keep."),
    ] = None,
    max_age: Annotated[
        float | None,
        typer.Option(min=1, show_default="two periods", help="Deadline: oldest result, in ms."),
    ] = None,
    shrink: Annotated[
        list[float] | None,
        typer.Option(
            min=0.1,
            max=0.99,
            show_default=False,
            help="Deadline: size to step down to under overload; repeat for more steps.",
        ),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, show_default="all", help="Of a stream: stop after so many.")
    ] = None,
    save_every: Annotated[
        int, typer.Option(min=0, help="Of a stream: write each so many results; 0 writes none.")
    ] = 1,
    metrics: Annotated[
        Path | None,
        typer.Option(show_default=False, help="Of a stream: keep Prometheus counters in a file."),
    ] = None,
    reconnects: Annotated[
        int, typer.Option(min=0, help="Of a stream: open a lost source so often again.")
    ] = 0,
    jitter: Annotated[
        bool,
        typer.Option("--jitter", help="Of a stream of a still scene: how much answers move."),
    ] = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Turn rectified stereo pairs into disparity: colour PNG, panel, and files on request.

    Pairs are files, or a stream (--video, --camera, --folder). Prints a summary as JSON on stdout.
    """
    streams = bool(video or camera or folder)
    if streams and (pictures or demo or side_by_side):
        raise typer.BadParameter("a stream takes its pairs from one place; give no LEFT RIGHT")
    texts = (
        [] if streams else _checked_pictures(pictures or [], demo=demo, side_by_side=side_by_side)
    )
    if not calib and (depth or cloud or second_pass or rectified or baseline is not None):
        raise typer.BadParameter("depth and clouds need a calibration; add --calib FILE")

    from litestereo.runtime.batch import OutputOptions, batch_summary, run_pairs
    from litestereo.runtime.engine import StereoEngine
    from litestereo.runtime.pairs import find_pairs, find_side_by_side
    from litestereo.runtime.tensorrt.options import GpuOptions

    metric = None
    if calib:
        from litestereo.runtime.geometry.depth import DepthOptions
        from litestereo.runtime.geometry.metric import MetricOptions

        metric = MetricOptions(
            tuple(calib),
            baseline_m=baseline,
            rectified=rectified,
            depth=depth,
            cloud=cloud,
            second_pass=second_pass,
            speckle_pixels=speckle,
            limits=DepthOptions(near, far, min_confidence),
        )
    options = OutputOptions(output, png16, pfm, npy, max_color, allow_swapped, metric, view)
    if streams:
        from litestereo.runtime.stream.command import StreamRequest, run_stream
        from litestereo.runtime.stream.opencv_sources import CameraOptions

        asked = camera_size or camera_format
        request = StreamRequest(
            tuple(video or ()),
            tuple(camera or ()),
            CameraOptions(camera_size, fourcc=camera_format) if asked else None,
            tuple(folder or ()),
            output=options,
            realtime=realtime,
            rate_hz=rate,
            max_age_ms=max_age,
            shrinks=tuple(shrink or ()),
            frames=frames,
            save_every=save_every,
            metrics=metrics,
            reconnects=reconnects,
            jitter=jitter,
        )
    elif side_by_side:
        sources = find_side_by_side(texts)
    else:
        sources = find_pairs(*texts)
    with StereoEngine.load(
        model,
        backend=backend,
        max_disparity_px=max_disparity,
        scale=scale,
        threads=threads,
        gpu=GpuOptions(cache_dir=engine_cache, progress=_say),
    ) as engine:
        if streams:
            streamed = run_stream(engine, request, progress=_say)
            print(json.dumps(streamed, indent=1))
            if not streamed["health"]["frames_out"]:
                _say("no pair gave a result")
                raise typer.Exit(1)
            return
        reports = _watched(run_pairs(engine, sources, options=options), total=len(sources))
        summary = batch_summary(engine, reports)
    print(json.dumps(summary, indent=1))
    if summary["failed"]:
        _say(f"{summary['failed']} of {len(sources)} pairs failed")
        raise typer.Exit(1)


def _checked_pictures(pictures: list[str], *, demo: bool, side_by_side: bool) -> list[str]:
    """Return what was typed, or the bundled pair; refuse a wrong number of pictures."""
    if demo:
        if pictures or side_by_side:
            raise typer.BadParameter("--demo runs the bundled pair; give no pictures with it")
        from litestereo.assets import demo_pair

        return [str(path) for path in demo_pair()]
    if side_by_side and pictures:
        return pictures
    if len(pictures) != 2:
        raise typer.BadParameter(
            f"need LEFT and RIGHT, got {len(pictures)} pictures; quote patterns ('left/*.png'), "
            "or try --demo"
        )
    return pictures


def _watched(reports: Any, *, total: int) -> list[Any]:  # noqa: ANN401 - PairReport, not loaded yet
    """Return all reports; show a bar on a terminal, else a line as each pair is done."""
    done = []
    if total > 1 and sys.stderr.isatty():
        with typer.progressbar(reports, length=total, label="pairs", file=sys.stderr) as bar:
            done = list(bar)
        for report in done:
            _say(*report.words())
        return done
    for report in reports:
        _say(*report.words())
        done.append(report)
    return done


def run_main(arguments: Sequence[str] | None = None) -> int:
    """Run `stereo-run`; `arguments` replaces the command line's."""
    return _main(run_app, name="stereo-run", arguments=arguments)


export_app = _command_app()


@export_app.command(epilog=_example("stereo-export --model las1 --height 384 --width 1248 --fp16"))
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
        str, typer.Option(help="Of --int8: minmax, percentile, entropy or mse.")
    ] = "mse",
    budget: Annotated[
        float, typer.Option(help="Of --int8: part of the gate's limits that the search may use.")
    ] = 0.7,
    half_weights: Annotated[
        bool, typer.Option("--half-weights", help="FP32 graph, weights stored in half.")
    ] = False,
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
    if engine and (height is None or width is None):
        raise typer.BadParameter("an engine has a size; add --height and --width to --engine")
    if int8 != (calibration is not None):
        raise typer.BadParameter("--int8 and --calibration SET go together; see stereo-calibrate")
    if force and not (int8 and engine):
        raise typer.BadParameter("--force decides between engines; use it with --int8 --engine")
    from litestereo.export.options import ExportOptions, Int8Options

    quantization = None
    if calibration is not None:
        quantization = Int8Options(
            calibration,
            tuple(held_out or ()),
            ranges=ranges,  # type: ignore[arg-type]  # checked by Int8Options
            budget=budget,
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
        exporter=exporter,  # type: ignore[arg-type]  # checked by ExportOptions
        pair=pair,
        gate=not skip_gate,
        int8=quantization,
    )

    from litestereo.export import export_artifact

    report = export_artifact(options, output=output or Path(options.file_name), progress=_say)
    _say(f"{report.size_bytes / 1e6:.1f} MB, {sum(report.histogram.values())} nodes")
    if not (engine and int8):
        print(report.path)
    if engine and int8:
        from litestereo.export.int8_engine import keep_faster
        from litestereo.runtime.tensorrt.options import GpuOptions

        gpu = GpuOptions(cache_dir=engine_cache, progress=_say)
        print(keep_faster(report.path, options, gpu=gpu, force=force, progress=_say))
    elif engine:
        _build_engine(report.path, engine_cache)


def _build_engine(artifact: Path, cache: Path | None) -> None:
    """Build the engine of an artefact on this GPU, so that its first run is quick."""
    from litestereo.runtime.tensorrt.backend import build_ahead
    from litestereo.runtime.tensorrt.options import GpuOptions

    built = build_ahead(artifact, options=GpuOptions(cache_dir=cache, progress=_say))
    _say(f"engine: {built.path or 'could not be kept'}")


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
    """Run `stereo-export`; `arguments` replaces the command line's."""
    return _main(export_app, name="stereo-export", arguments=arguments)


eval_app = _command_app()


@eval_app.command(epilog=_example("stereo-eval data/kitti2015 --backend torch -o out --html"))
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
    model: Annotated[str, typer.Option(help="Name of the model.")] = "las1",
    weights: Annotated[
        Path | None,
        typer.Option(show_default="bundled", help="Checkpoint, or artefact's file."),
    ] = None,
    backend: Annotated[
        str,
        typer.Option(help="One of stereo-run's, torch, or sgbm: OpenCV's StereoSGBM."),
    ] = "onnxruntime-cpu",
    device: Annotated[
        str | None, typer.Option(show_default="cpu", help="Of --backend torch, such as cuda.")
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

    from litestereo.benchmarks.command import EvaluationRequest, run_evaluation
    from litestereo.benchmarks.table import evaluation_table
    from litestereo.runtime.tensorrt.options import GpuOptions

    request = EvaluationRequest(
        tuple(data),
        model=model,
        weights=weights,
        backend=backend,
        device=device,
        gpu=GpuOptions(cache_dir=engine_cache, progress=_say),
        layout=layout,
        holes=holes,
        output=output,
        html=html,
    )
    report = run_evaluation(request, progress=_scenes_watched)
    print(
        json.dumps(report.to_json(), indent=1)
        if as_json
        else evaluation_table(report, width=_stdout_columns())
    )
    _say(*(f"{scene.name}: {scene.problem}" for scene in report.broken))
    if report.broken:
        count = len(report.broken)
        _say(f"{count} scene{'s' if count > 1 else ''} could not be scored")
        raise typer.Exit(1)


def _scenes_watched(scenes: Any) -> Iterator[Any]:  # noqa: ANN401 - Scene, not loaded yet
    """Yield the scenes; show a bar on a terminal, else a line as each one begins."""
    if sys.stderr.isatty():
        with typer.progressbar(scenes, label="scenes", file=sys.stderr) as bar:
            yield from bar
        return
    for index, scene in enumerate(scenes, start=1):
        _say(f"{index}/{len(scenes)} {scene.key}")
        yield scene


def eval_main(arguments: Sequence[str] | None = None) -> int:
    """Run `stereo-eval`; `arguments` replaces the command line's."""
    return _main(eval_app, name="stereo-eval", arguments=arguments)


bench_app = _command_app()

Iterations = Annotated[int, typer.Option(min=1, help="Timed pairs of each subject.")]
Minutes = Annotated[
    float | None, typer.Option(min=0.01, show_default="none", help="Limit of each loop.")
]


@bench_app.callback(epilog=_example("stereo-bench las1@onnxruntime-cpu las1@torch sgbm"))
def bench(version: Version = False) -> None:
    """Time subjects side by side in one run; `run` may be left out.

    A subject is MODEL@BACKEND or sgbm; `stereo-bench run --help` lists the forms.
    """


@bench_app.command(
    "run", epilog=_example("stereo-bench las1@onnxruntime-cpu las1@torch sgbm --size 480x640")
)
def bench_run(
    subjects: Annotated[
        list[str],
        typer.Argument(
            metavar="SUBJECT...",
            show_default=False,
            help="MODEL@BACKEND, MODEL a bundled model or an artefact's file, BACKEND one of "
            "stereo-run's or torch, with :autocast, :compile, :compile-autocast, :enqueue or :tf32 "
            "where it has that; or sgbm. Ratios are to the first.",
        ),
    ],
    size: Annotated[
        list[str] | None,
        typer.Option(show_default="480x640", help="HEIGHTxWIDTH; may be given several times."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", show_default="none", help="The receipt, a .json file."),
    ] = None,
    iterations: Iterations = 300,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=1000,
            show_default="none",
            help="Also an open loop: frames a second of a camera, such as 30.",
        ),
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Of that camera, for each subject.")] = 300,
    minutes: Minutes = None,
    device: Annotated[str, typer.Option(help="Of torch, such as cuda.")] = "cpu",
    threads: Threads = None,
    tensorrt_python: Annotated[
        Path | None,
        typer.Option(
            show_default="this one", help="Interpreter of the tensorrt subjects, if another has it."
        ),
    ] = None,
    tactic_sources: Annotated[
        str | None,
        typer.Option(
            show_default="its own choice", help="TensorRT's sources of kernels, with commas."
        ),
    ] = None,
    engine_cache: EngineCache = None,
    memory: Annotated[
        bool, typer.Option(help="Measure memory, each subject in a process of its own.")
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the receipt instead of a table.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Time subjects in turns: percentiles, stages, memory, power, and ratios to the first.

    Prints a table on stdout; status 1 if a subject could not be timed.
    """
    from litestereo.benchmarks.latency.command import bench_words, parse_size, time_subjects
    from litestereo.benchmarks.latency.run import BenchOptions, BenchRequest
    from litestereo.benchmarks.latency.subjects import EngineSettings

    sources = tuple(tactic_sources.split(",")) if tactic_sources else None
    request = BenchRequest(
        tuple(subjects),
        sizes=tuple(parse_size(text) for text in size or ["480x640"]),
        device=device,
        threads=threads,
        settings=EngineSettings(tensorrt_python, engine_cache, sources),
        command=" ".join(["stereo-bench", *sys.argv[1:]]),
        options=BenchOptions(
            iterations=iterations, rate_hz=rate, frames=frames, minutes=minutes, memory=memory
        ),
    )
    receipt = time_subjects(request, output=output, say=_say, progress=_turns_watched)
    print(bench_words(receipt, as_json=as_json, width=_stdout_columns()))
    if len(receipt.subjects) < len(request.subjects) * len(request.sizes):
        raise typer.Exit(1)


def _turns_watched(turns: Any) -> Iterator[Any]:  # noqa: ANN401 - Turn, not loaded yet
    """Yield the turns; show a bar on a terminal, else a line as each round begins."""
    if sys.stderr.isatty():
        with typer.progressbar(turns, label="turns", file=sys.stderr) as bar:
            yield from bar
        return
    rounds = turns[-1].round + 1
    for index, turn in enumerate(turns):
        if index == 0 or turn.round != turns[index - 1].round:
            _say(f"{turn.round + 1}/{rounds} rounds")
        yield turn


@bench_app.command("compare", epilog=_example("stereo-bench compare before.json after.json"))
def bench_compare(
    before: Annotated[Path, typer.Argument(metavar="A", show_default=False, help="A receipt.")],
    after: Annotated[Path, typer.Argument(metavar="B", show_default=False, help="Another one.")],
    bound: Annotated[
        float, typer.Option(min=0, help="Share by which a median may grow, such as 0.05.")
    ] = 0.05,
    stage: Annotated[
        str, typer.Option(help="total, compute, enqueue, host_to_device, ...")
    ] = "total",
    debug: Debug = False,
) -> None:
    """Compare B with A: ratios of medians with 95 % bootstrap intervals.

    Status 1 if a subject became slower beyond the bound, is gone, or has too few samples to tell.
    """
    from litestereo.benchmarks.latency.compare import compare_receipts, comparison_table
    from litestereo.benchmarks.latency.receipt import read_receipt

    comparison = compare_receipts(
        read_receipt(before), read_receipt(after), bound=bound, stage=stage
    )
    print(comparison_table(comparison, width=_stdout_columns()))
    _say(*(f"differs: {words}" for words in comparison.differences))
    _say(*(f"{change.key}: {change.verdict}" for change in comparison.failures))
    if comparison.failures:
        raise typer.Exit(1)


@bench_app.command("report", epilog=_example("stereo-bench report bench.json -o bench.html"))
def bench_report(
    receipt: Annotated[Path, typer.Argument(metavar="RECEIPT", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("bench.html"),
    accuracy: Annotated[
        list[Path] | None,
        typer.Option(show_default=False, help="report.json of stereo-eval; any number of times."),
    ] = None,
    profile: Annotated[
        list[Path] | None,
        typer.Option(
            show_default=False,
            help="Time per layer: ONNX Runtime's trace, or what trtexec --exportProfile writes.",
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Draw a receipt as one self-contained page, and print its path."""
    from litestereo.benchmarks.latency.page import draw_page

    print(draw_page(output, receipt, accuracy=accuracy or (), profiles=profile or ()))


@bench_app.command("readme", epilog=_example("stereo-bench readme"))
def bench_readme(
    readme: Annotated[Path, typer.Argument(help="File with markers.")] = Path("README.md"),
    results: Annotated[Path, typer.Option(help="Folder of receipts and reports.")] = Path(
        "benchmarks/results"
    ),
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; status 1 if it is out of date.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Write the tables between a file's markers anew from the committed results."""
    from litestereo.benchmarks.readme import update_readme

    changed = update_readme(readme, results=results, write=not check)
    _say(f"{readme} was {'out of date' if changed else 'up to date'}")
    if check and changed:
        raise typer.Exit(1)


def _stdout_columns() -> int | None:
    """Return the terminal's width; None where stdout is none, and nothing is cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def bench_main(arguments: Sequence[str] | None = None) -> int:
    """Run `stereo-bench`; `arguments` replaces the command line's, and `run` may be left out."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    names = {command.name for command in bench_app.registered_commands}
    if given and given[0] not in {*names, "-h", "--help", "--version"}:
        given.insert(0, "run")
    return _main(bench_app, name="stereo-bench", arguments=given)


train_app = _command_app()


@train_app.command(epilog=_example("stereo-train --textures photos -o run --steps 100000"))
def train(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the run; an interrupted one goes on.")
    ] = Path("run"),
    model: Annotated[str, typer.Option(help="Which network; see stereo-export --list.")] = "las1",
    textures: Annotated[
        Path | None,
        typer.Option(
            show_default="procedural ones alone", help="Folder of photos to cover scenes with."
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(show_default="random", help="Checkpoint to start from.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Length of the schedule.")] = 100_000,
    batch: Annotated[int, typer.Option(min=1, help="Pairs a step on each GPU.")] = 32,
    height: Annotated[int, typer.Option(help="Height of the scenes, a multiple of 32.")] = 320,
    width: Annotated[int, typer.Option(help="Width of the scenes, a multiple of 32.")] = 640,
    max_disparity: Annotated[
        float, typer.Option(min=16, max=191, help="Largest disparity in the scenes, in pixels.")
    ] = 190.0,
    learning_rate: Annotated[float, typer.Option(min=0, help="Peak of the one-cycle.")] = 5e-4,
    minutes: Annotated[
        float | None,
        typer.Option(show_default="to the end", help="Stop after so long; call again to go on."),
    ] = None,
    fit_schedule: Annotated[
        bool, typer.Option("--fit-schedule", help="Let the schedule end with --minutes.")
    ] = False,
    samples: Annotated[int, typer.Option(min=1, max=2, help="Colour samples a pixel.")] = 1,
    compile_network: Annotated[
        bool, typer.Option("--compile", help="Compile the network too, not only the renderer.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of weights and scenes.")] = 1,
    profile: Annotated[
        bool, typer.Option("--profile", help="Time the parts of a step instead of training.")
    ] = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Train a network on rendered scenes; under torchrun on several GPUs.

    Prints the last line of the log as JSON; the averaged weights are in weights.safetensors.
    """
    from litestereo.training.options import TrainOptions

    options = TrainOptions(
        output=output,
        model=model,
        textures=textures,
        weights=weights,
        steps=steps,
        batch=batch,
        height=height,
        width=width,
        max_disparity_px=max_disparity,
        peak_learning_rate=learning_rate,
        minutes=minutes,
        fit_schedule=fit_schedule,
        samples=samples,
        compile_network=compile_network,
        seed=seed,
    )

    from litestereo.training.profile import profile_training
    from litestereo.training.supervised import train as train_supervised

    print(json.dumps(profile_training(options) if profile else train_supervised(options)))


def train_main(arguments: Sequence[str] | None = None) -> int:
    """Run `stereo-train`; `arguments` replaces the command line's."""
    return _main(train_app, name="stereo-train", arguments=arguments)


plan_app = _command_app()


@plan_app.command(
    epilog=_example("stereo-plan --focal 700 --baseline 0.12 --size 720 1280 --near 0.4 --far 10")
)
def plan(
    near: Annotated[float, typer.Option(help="Nearest distance to see, in metres.")],
    far: Annotated[float, typer.Option(help="Farthest distance of interest, in metres.")],
    size: Annotated[
        tuple[int, int], typer.Option(metavar="H W", help="Of the rectified pictures.")
    ],
    focal: Annotated[
        float | None,
        typer.Option(show_default="--calib's", help="Focal length in pixels, at this size."),
    ] = None,
    baseline: Annotated[
        float | None, typer.Option(show_default="--calib's", help="In metres.")
    ] = None,
    calib: Annotated[
        list[Path] | None,
        typer.Option(show_default=False, help="Take both from a calibration; twice for two files."),
    ] = None,
    rate: Annotated[float, typer.Option(help="Pairs a second.")] = 30.0,
    disparity_error: Annotated[
        float, typer.Option(help="Expected, in pixels of what the network sees.")
    ] = 0.25,
    measured: Annotated[
        list[Path] | None,
        typer.Option(show_default=False, help="Receipts of latency: JSON files or folders."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Choose size, disparity range and model for a rig; say the depth error to expect.

    Latencies are those of the receipts that are given, or "not measured".
    """
    if not calib and (focal is None or baseline is None):
        raise typer.BadParameter("need --focal and --baseline, or --calib FILE")

    from litestereo.runtime.measurements import read_measurements
    from litestereo.runtime.plan import make_plan, plan_request
    from litestereo.runtime.plan_text import plan_text

    request = plan_request(
        calibration=tuple(calib or ()),
        focal_px=focal,
        baseline_m=baseline,
        size=size,
        near_m=near,
        far_m=far,
        rate_hz=rate,
        disparity_error_px=disparity_error,
    )
    found = make_plan(request, measurements=read_measurements(measured or []))
    print(json.dumps(found.to_json(), indent=1) if as_json else plan_text(found))


def plan_main(arguments: Sequence[str] | None = None) -> int:
    """Run `stereo-plan`; `arguments` replaces the command line's."""
    return _main(plan_app, name="stereo-plan", arguments=arguments)


doctor_app = _command_app()


@doctor_app.command(epilog=_example("stereo-doctor left.png right.png --calib calib.txt"))
def doctor(
    pictures: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[LEFT RIGHT]", show_default=False, help="A pair to look at."),
    ] = None,
    calib: Annotated[
        list[Path] | None,
        typer.Option(show_default=False, help="Its calibration; twice for two files."),
    ] = None,
    baseline: Annotated[
        float | None, typer.Option(min=1e-4, show_default="the calibration's", help="In metres.")
    ] = None,
    pair_only: Annotated[bool, typer.Option("--pair-only", help="Leave the machine out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Say what is wrong with this machine, a pair and its calibration, and what to do about it.

    Exit status 1 when there is a fault.
    """
    if pictures is not None and len(pictures) != 2:
        raise typer.BadParameter(f"need LEFT and RIGHT, or neither; got {len(pictures)} pictures")
    if calib and not pictures:
        raise typer.BadParameter("a calibration is checked against a pair; give LEFT and RIGHT")
    if pair_only and not pictures:
        raise typer.BadParameter("--pair-only needs a pair; give LEFT and RIGHT")

    from litestereo.runtime.doctor.report import examine

    pair = (pictures[0], pictures[1]) if pictures else None
    report = examine(
        pair, calibration=tuple(calib or ()), baseline_m=baseline, machine=not pair_only
    )
    print(json.dumps(report.to_json(), indent=1) if as_json else "\n".join(report.words()))
    if report.faults:
        raise typer.Exit(1)


def doctor_main(arguments: Sequence[str] | None = None) -> int:
    """Run `stereo-doctor`; `arguments` replaces the command line's."""
    return _main(doctor_app, name="stereo-doctor", arguments=arguments)


calibrate_app = _command_app()


@calibrate_app.command(epilog=_example("stereo-calibrate recordings/ -o my-set"))
def calibrate(
    pairs: Annotated[
        list[str],
        typer.Argument(
            metavar="PAIRS...",
            show_default=False,
            help="Folders of pairs, side-by-side videos, or two quoted patterns: left, right.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the set; must not exist.")
    ] = Path("calibration-set"),
    count: Annotated[int, typer.Option(help="Most pairs of the set.")] = 32,
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", help="Each picture holds left and right.")
    ] = False,
    every: Annotated[float, typer.Option(help="Of a video: seconds between frames taken.")] = 0.5,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out what cannot be read or used.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the coverage as JSON.")] = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Choose a diverse set of real pairs for INT8, and say what it covers.

    Prints the set's folder on stdout. A quarter of it is held out to judge the result.
    """
    from litestereo.calibration.make import make_set
    from litestereo.calibration.options import CalibrateOptions

    options = CalibrateOptions(count, side_by_side, every, skip_broken)
    made, coverage = make_set(pairs, output=output, options=options, progress=_say)
    _say(*coverage.words())
    print(json.dumps(coverage.to_json(), indent=1) if as_json else made.folder)


def calibrate_main(arguments: Sequence[str] | None = None) -> int:
    """Run `stereo-calibrate`; `arguments` replaces the command line's."""
    return _main(calibrate_app, name="stereo-calibrate", arguments=arguments)
