"""`stereo-bench`: latency, and what is made of receipts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from litestereo.commands.shared import (
    Debug,
    EngineCache,
    Threads,
    Version,
    command_app,
    example,
    run_command,
    say,
    stdout_columns,
    with_joined_size,
)

__all__ = ["bench_main"]

bench_app = command_app()

Iterations = Annotated[int, typer.Option(min=1, help="Timed pairs of each subject.")]
Minutes = Annotated[
    float | None, typer.Option(min=0.01, show_default="none", help="Limit of each loop.")
]


@bench_app.callback(epilog=example("stereo-bench las1@onnxruntime-cpu las1@torch sgbm"))
def bench(version: Version = False) -> None:
    """Time subjects side by side in one run; `run` may be left out.

    A subject is MODEL@BACKEND or sgbm; `stereo-bench run --help` lists the forms.
    """


@bench_app.command(
    "run",
    short_help="Time subjects in turns, with ratios to the first.",
    epilog=example("stereo-bench las1@onnxruntime-cpu las1@torch sgbm --size 480x640"),
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
    optimization_level: Annotated[
        int,
        typer.Option(min=0, max=5, help="Of TensorRT's builds: 0 is quick, 5 a long search."),
    ] = 3,
    engine_cache: EngineCache = None,
    plugin: Annotated[
        Path | None,
        typer.Option(
            show_default="none",
            help="Compiled plugin of the subjects @tensorrt:plugin; see docs/jetson.md.",
        ),
    ] = None,
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
        settings=EngineSettings(tensorrt_python, engine_cache, sources, optimization_level, plugin),
        command=" ".join(["stereo-bench", *map(_without_folders, sys.argv[1:])]),
        options=BenchOptions(
            iterations=iterations, rate_hz=rate, frames=frames, minutes=minutes, memory=memory
        ),
    )
    receipt = time_subjects(request, output=output, say=say, progress=_turns_watched)
    print(bench_words(receipt, as_json=as_json, width=stdout_columns()))
    if len(receipt.subjects) < len(request.subjects) * len(request.sizes):
        raise typer.Exit(1)


def _without_folders(word: str) -> str:
    """Return a word of the command line with the file's name for an absolute path.

    Receipts are shown to others, and where somebody keeps files is nobody's business.
    """
    return Path(word).name if Path(word).is_absolute() else word


def _turns_watched(turns: Any) -> Iterator[Any]:  # noqa: ANN401 - Turn, not loaded yet
    """Yield the turns; show a bar on a terminal, else a line as each round begins."""
    if sys.stderr.isatty():
        with typer.progressbar(turns, label="turns", file=sys.stderr) as bar:
            yield from bar
        return
    rounds = turns[-1].round + 1
    for index, turn in enumerate(turns):
        if index == 0 or turn.round != turns[index - 1].round:
            say(f"{turn.round + 1}/{rounds} rounds")
        yield turn


@bench_app.command(
    "roofline",
    short_help="Count a network, and its least time on devices.",
    epilog=example("stereo-bench roofline las1 --size 384x1248 --device orin-nano"),
)
def bench_roofline(
    subject: Annotated[
        str, typer.Argument(metavar="MODEL|ARTEFACT", help="A model's name, or an .onnx file.")
    ] = "las1",
    size: Annotated[
        list[str] | None,
        typer.Option(show_default="384x1248", help="HEIGHTxWIDTH; may be given several times."),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            show_default="all",
            help="h200, orin-nano, orin-nano-super, orin-nx, agx-orin or thor; several times.",
        ),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="A row for every node.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", show_default="none", help="A .json file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    debug: Debug = False,
) -> None:
    """Count what a network computes and moves, and the least time that takes on each device.

    A floor, not a prediction: peak arithmetic, peak bandwidth, free launches.
    """
    from litestereo.benchmarks.latency.command import parse_size
    from litestereo.benchmarks.roofline import (
        roofline_of,
        roofline_table,
        roofline_text,
        write_roofline,
    )
    from litestereo.benchmarks.roofline_devices import devices_called

    roofline = roofline_of(
        subject,
        sizes=[parse_size(text) for text in size or ["384x1248"]],
        devices=devices_called(tuple(device or ())),
    )
    if output is not None:
        write_roofline(output, roofline)
    if as_json:
        print(roofline_text(roofline))
    else:
        print(roofline_table(roofline, layers=layers, width=stdout_columns()))


@bench_app.command(
    "compare",
    short_help="Compare two receipts.",
    epilog=example("stereo-bench compare before.json after.json"),
)
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
    print(comparison_table(comparison, width=stdout_columns()))
    say(*(f"differs: {words}" for words in comparison.differences))
    say(*(f"{change.key}: {change.verdict}" for change in comparison.failures))
    if comparison.failures:
        raise typer.Exit(1)


@bench_app.command(
    "report",
    short_help="Draw a receipt as a page.",
    epilog=example("stereo-bench report bench.json -o bench.html"),
)
def bench_report(
    receipt: Annotated[
        Path, typer.Argument(metavar="RECEIPT", show_default=False, help="Of stereo-bench.")
    ],
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


@bench_app.command(
    "readme",
    short_help="Write the README's tables anew from results.",
    epilog=example("stereo-bench readme"),
)
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
    say(f"{readme} was {'out of date' if changed else 'up to date'}")
    if check and changed:
        raise typer.Exit(1)


def bench_main(arguments: Sequence[str] | None = None) -> int:
    """Run `stereo-bench`; `arguments` replaces the command line's, and `run` may be left out.

    Args:
        arguments: words that replace the command line's; None takes those of `sys.argv`.
    """
    given = with_joined_size(arguments, "--size")
    names = {command.name for command in bench_app.registered_commands}
    if given and given[0] not in {*names, "-h", "--help", "--version"}:
        given.insert(0, "run")
    return run_command(bench_app, name="stereo-bench", arguments=given)
