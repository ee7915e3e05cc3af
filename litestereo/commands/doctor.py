"""`stereo-doctor`: what is wrong with machine, pair or calibration."""

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
)

__all__ = ["doctor_main"]

doctor_app = command_app()


@doctor_app.command(epilog=example("stereo-doctor left.png right.png --calib calib.txt"))
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
        raise typer.BadParameter(f"need LEFT and RIGHT, or neither; got {len(pictures)}")
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
    """Run `stereo-doctor`; `arguments` replaces the command line's.

    Args:
        arguments: words that replace the command line's; None takes those of `sys.argv`.
    """
    return run_command(doctor_app, name="stereo-doctor", arguments=arguments)
