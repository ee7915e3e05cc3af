"""`stereo-calibrate`: a set of pairs that INT8 ranges come from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from litestereo.commands.shared import (
    Debug,
    Version,
    command_app,
    example,
    run_command,
    say,
)

__all__ = ["calibrate_main"]

calibrate_app = command_app()


@calibrate_app.command(epilog=example("stereo-calibrate recordings/ -o my-set"))
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
    made, coverage = make_set(pairs, output=output, options=options, progress=say)
    say(*coverage.words())
    print(json.dumps(coverage.to_json(), indent=1) if as_json else made.folder)


def calibrate_main(arguments: Sequence[str] | None = None) -> int:
    """Run `stereo-calibrate`; `arguments` replaces the command line's.

    Args:
        arguments: words that replace the command line's; None takes those of `sys.argv`.
    """
    return run_command(calibrate_app, name="stereo-calibrate", arguments=arguments)
