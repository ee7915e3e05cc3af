"""`stereo-plan`: size, range and model for a rig."""

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
    with_split_size,
)

__all__ = ["plan_main"]

plan_app = command_app()


@plan_app.command(
    epilog=example("stereo-plan --focal 700 --baseline 0.12 --size 720 1280 --near 0.4 --far 10")
)
def plan(
    near: Annotated[float, typer.Option(help="Nearest distance to see, in metres.")],
    far: Annotated[float, typer.Option(help="Farthest distance of interest, in metres.")],
    size: Annotated[
        tuple[int, int], typer.Option(metavar="H W", help="Or HxW, of the rectified pictures.")
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
    """Run `stereo-plan`; `arguments` replaces the command line's.

    Args:
        arguments: words that replace the command line's; None takes those of `sys.argv`.
    """
    given = with_split_size(arguments, "--size")
    return run_command(plan_app, name="stereo-plan", arguments=given)
