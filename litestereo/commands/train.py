"""`stereo-train`: weights from rendered scenes."""

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

__all__ = ["train_main"]

train_app = command_app()


@train_app.command(epilog=example("stereo-train --textures photos -o run --steps 100000"))
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
    return run_command(train_app, name="stereo-train", arguments=arguments)
