"""The stereo-* commands: read the arguments, make one library call, print.

Each command is a typer app with a `*_main` function that the entry point calls. What is heavy is
imported inside the command, so that `--help` is quick. Results go to stdout, words to stderr; an
error is one line and exit status 1 (2 for wrong usage), its traceback is shown with --debug.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from litestereo._version import __version__
from litestereo.errors import LiteStereoError

__all__ = ["run_main"]


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
    max_color: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            show_default="from each pair",
            help="Disparity of the last colour; set it for videos.",
        ),
    ] = None,
    allow_swapped: Annotated[
        bool, typer.Option("--allow-swapped", help="Run pairs whose eyes look swapped.")
    ] = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Turn rectified stereo pairs into disparity: colour PNG, panel, and files on request.

    Prints a summary as JSON on stdout.
    """
    texts = _checked_pictures(pictures or [], demo=demo, side_by_side=side_by_side)

    from litestereo.runtime.batch import OutputOptions, batch_summary, run_pairs
    from litestereo.runtime.engine import StereoEngine
    from litestereo.runtime.pairs import find_pairs, find_side_by_side

    sources = find_side_by_side(texts) if side_by_side else find_pairs(*texts)
    options = OutputOptions(output, png16, pfm, npy, max_color, allow_swapped)
    with StereoEngine.load(
        model, backend=backend, max_disparity_px=max_disparity, scale=scale, threads=threads
    ) as engine:
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
