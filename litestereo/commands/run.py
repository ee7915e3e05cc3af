"""`stereo-run`: pairs to disparity, depth and clouds."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from litestereo.assets import bundled_models
from litestereo.commands.shared import (
    Backend,
    Debug,
    EngineCache,
    Threads,
    Version,
    command_app,
    example,
    run_command,
    say,
    with_split_size,
)

__all__ = ["run_main"]

run_app = command_app()


@run_app.command(epilog=example("stereo-run left.png right.png -o out --pfm"))
def run(
    pictures: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="LEFT RIGHT",
            show_default=False,
            help="Two files, two folders, or two quoted patterns; with --side-by-side a file, "
            "folders or patterns.",
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder, or the .png file for a single pair."),
    ] = Path("out"),
    model: Annotated[
        str, typer.Option("--model", "-m", help="A bundled model, or an artefact's file.")
    ] = "las1",
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
        typer.Option(min=0.01, max=4, show_default="1", help="Run at this multiple of the size."),
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
    exr: Annotated[
        bool, typer.Option("--exr", help="Also depth in metres as EXR, channel Z.")
    ] = False,
    cloud: Annotated[bool, typer.Option("--cloud", help="Also a coloured cloud, PLY.")] = False,
    near: Annotated[
        float | None, typer.Option(min=0, show_default="the range's", help="Nearest depth, m.")
    ] = None,
    far: Annotated[
        float | None,
        typer.Option(min=0.01, show_default="at 1 px", help="Farthest depth, m."),
    ] = None,
    min_confidence: Annotated[
        float, typer.Option(min=0, max=1, help="Pixels of less have no depth.")
    ] = 0.0,
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
        typer.Option(
            metavar="H W", show_default="the driver's", help="Or HxW, of the cameras' pictures."
        ),
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
        int | None,
        typer.Option(
            min=0,
            show_default="1; of cameras 30",
            help="Of a stream: write each so many results; 0 writes none.",
        ),
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(show_default=False, help="Of a stream: keep Prometheus counters in a file."),
    ] = None,
    reconnects: Annotated[
        int, typer.Option(min=0, help="Of a stream: open a lost source so often in a row again.")
    ] = 0,
    jitter: Annotated[
        bool,
        typer.Option("--jitter", help="Of a stream of a still scene: how much answers move."),
    ] = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Turn rectified stereo pairs into disparity: colour PNG, panel, and files on request.

    Models that were exported with a calibration take raw pairs and need no --calib.

    Pairs are files, or a stream (--video, --camera, --folder). Prints a summary as JSON on stdout.
    """
    streams = bool(video or camera or folder)
    if streams and (pictures or demo or side_by_side):
        raise typer.BadParameter("a stream takes its pairs from one place; give no LEFT RIGHT")
    if not streams:
        _refuse_unused(
            {
                "--rate": rate,
                "--max-age": max_age,
                "--shrink": shrink,
                "--frames": frames,
                "--jitter": jitter,
                "--metrics": metrics,
                "--save-every": save_every is not None,
                "--reconnects": reconnects,
                "--realtime": realtime,
                "--camera-size": camera_size,
                "--camera-format": camera_format,
            },
            "belongs to a stream; add --camera, --video or --folder, or leave it out",
        )
    texts = (
        [] if streams else _checked_pictures(pictures or [], demo=demo, side_by_side=side_by_side)
    )
    metric_only = depth or exr or cloud or second_pass or rectified or baseline is not None
    metric_only = bool(metric_only or near or far or min_confidence or speckle)
    if metric_only and not calib and model in bundled_models():
        raise typer.BadParameter(
            "depth, its limits and clouds need a calibration; add --calib FILE"
        )

    from litestereo.runtime.batch import OutputOptions, batch_summary, run_pairs
    from litestereo.runtime.engine import StereoEngine
    from litestereo.runtime.pairs import find_pairs, find_side_by_side
    from litestereo.runtime.tensorrt.options import GpuOptions

    metric = None
    if calib or metric_only:
        from litestereo.runtime.geometry.depth import DepthOptions
        from litestereo.runtime.geometry.metric import MetricOptions

        metric = MetricOptions(
            tuple(calib or ()),
            baseline_m=baseline,
            rectified=rectified,
            depth=depth,
            exr=exr,
            cloud=cloud,
            second_pass=second_pass,
            speckle_pixels=speckle,
            limits=DepthOptions(near, far, min_confidence),
        )
    options = OutputOptions(output, png16, pfm, npy, max_color, allow_swapped, metric, view)
    if save_every != 0:
        options.require_place()
    if streams:
        from litestereo.runtime.stream.camera_sources import CameraOptions
        from litestereo.runtime.stream.command import StreamRequest, run_stream

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
        gpu=GpuOptions(cache_dir=engine_cache, progress=say),
    ) as engine:
        if streams:
            streamed = run_stream(engine, request, progress=say, stopped=_print_json)
            _print_json(streamed)
            if not streamed["health"]["frames_out"]:
                say("no pair gave a result")
                raise typer.Exit(1)
            return
        running = run_pairs(engine, sources, options=options)
        reports = list(running) if demo else _watched(running, total=len(sources))
        summary = batch_summary(engine, reports)
    _print_json(summary)
    if demo:  # where the picture is comes last, for a person to find
        say(*(line for report in reports for line in report.words()))
    if summary["failed"]:
        say(f"{summary['failed']} of {len(sources)} pairs failed")
        raise typer.Exit(1)


def _checked_pictures(pictures: list[str], *, demo: bool, side_by_side: bool) -> list[str]:
    """Return what was typed, or the bundled pair; refuse a wrong number of pictures."""
    if demo:
        if pictures or side_by_side:
            raise typer.BadParameter("--demo runs the bundled pair; give no pictures with it")
        from litestereo.assets import demo_pair

        return [str(path) for path in demo_pair()]
    if side_by_side and len(pictures) == 2 and all(Path(text).is_file() for text in pictures):
        raise typer.BadParameter(
            f"with --side-by-side each picture holds both eyes, and {pictures[0]} and "
            f"{pictures[1]} are two: leave it out if they are left and right, else give their "
            "folder or a quoted pattern"
        )
    if side_by_side and pictures:
        return pictures
    if len(pictures) != 2:
        raise typer.BadParameter(_not_a_pair(pictures))
    return pictures


def _not_a_pair(pictures: list[str]) -> str:
    """Return what to say where LEFT and RIGHT are not two."""
    if len(pictures) != 1:
        return (
            f"need LEFT and RIGHT, got {len(pictures)}; quote patterns ('left/*.png'), "
            "or try --demo"
        )
    from litestereo.calibration.sources import VIDEO_SUFFIXES

    (given,) = pictures
    if Path(given).is_dir():
        advice = f"for a folder with left and right in it: --folder {given}"
    elif Path(given).suffix.lower() in VIDEO_SUFFIXES:
        advice = f"for a video that holds both eyes side by side: --video {given}"
    else:
        advice = f"for a picture that holds both eyes: --side-by-side {given}"
    return f"need LEFT and RIGHT, got {given} alone; {advice}"


def _refuse_unused(options: dict[str, object], why: str) -> None:
    """Refuse the first option that was given and that nothing would look at."""
    for name, value in options.items():
        if value:
            raise typer.BadParameter(f"{name} {why}")


def _print_json(summary: dict[str, Any]) -> None:
    print(json.dumps(summary, indent=1), flush=True)


def _watched(reports: Any, *, total: int) -> list[Any]:  # noqa: ANN401 - PairReport, not loaded yet
    """Return all reports; show a bar on a terminal, else a line as each pair is done."""
    done = []
    if total > 1 and sys.stderr.isatty():
        with typer.progressbar(reports, length=total, label="pairs", file=sys.stderr) as bar:
            done = list(bar)
        for report in done:
            say(*report.words())
        return done
    for report in reports:
        say(*report.words())
        done.append(report)
    return done


def run_main(arguments: Sequence[str] | None = None) -> int:
    """Run `stereo-run`; `arguments` replaces the command line's.

    Args:
        arguments: words that replace the command line's; None takes those of `sys.argv`.
    """
    given = with_split_size(arguments, "--camera-size")
    return run_command(run_app, name="stereo-run", arguments=given)
