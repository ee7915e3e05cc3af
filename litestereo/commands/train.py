"""`stereo-train`: weights from rendered scenes, from a teacher, or for a user's own rig."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from litestereo.commands.shared import (
    Debug,
    Version,
    command_app,
    example,
    run_command,
    say,
    scenes_watched,
)
from litestereo.errors import InputError

__all__ = ["train_main"]

train_app = command_app()


# Where the command says nothing; else `TrainOptions`' own defaults hold.
_ON_SCENES: dict[str, Any] = {"distribution_weight": 0.3}
_TO_FINE_TUNE: dict[str, Any] = {
    "steps": 1000,
    "batch": 8,
    "height": 320,
    "width": 640,
    "peak_learning_rate": 1e-4,
    "optimizer": "adamw",
    "robust_px": 0.0,
}


@train_app.command(epilog=example("stereo-train --textures photos -o run --steps 100000"))
def train(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the run; an interrupted one goes on.")
    ] = Path("run"),
    stage: Annotated[
        str,
        typer.Option(help="supervised: scenes; self: also a frozen teacher; real: its labels."),
    ] = "supervised",
    model: Annotated[str, typer.Option(help="Which network; see stereo-export --list.")] = "las1",
    textures: Annotated[
        Path | None,
        typer.Option(
            show_default="procedural ones alone", help="Folder of photos to cover scenes with."
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(show_default="random", help="Checkpoint or bundled name to start from."),
    ] = None,
    refiner: Annotated[
        str | None,
        typer.Option(
            show_default="as the weights have it",
            help="Train one, at full size: beside the network, or alone.",
        ),
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(show_default="none", help="Folder of real pairs.")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            show_default="self: the start weights", help="ONNX file, bundled name or NAME=WEIGHTS."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(show_default="in the run's folder", help="Where the teacher's labels are."),
    ] = None,
    fine_tune: Annotated[
        Path | None,
        typer.Option(show_default="none", help="Adapt to the pairs of your own rig, there."),
    ] = None,
    truth_weight: Annotated[
        float, typer.Option(min=0, help="Of the scenes' ground truth in stage self.")
    ] = 1.0,
    feature_weight: Annotated[
        float, typer.Option(min=0, help="Of the features in stage self.")
    ] = 1.0,
    perturb: Annotated[
        bool, typer.Option("--perturb", help="Change what stage supervised sees, as self does.")
    ] = False,
    edge_weight: Annotated[
        float,
        typer.Option(min=0.1, max=100, help="Of pixels beside a step in exact truth; else 1."),
    ] = 1.0,
    distribution_weight: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            show_default="0.3 on scenes, else 0",
            help="Of the cross-entropy of the disparity levels.",
        ),
    ] = None,
    robust: Annotated[
        float | None,
        typer.Option(
            metavar="PX",
            min=0,
            max=100,
            show_default="1; to fine-tune 0",
            help="Larger errors count by their logarithm; 0 never.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, show_default="100000; to fine-tune 1000", help="Length of the schedule."
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, show_default="32; to fine-tune 8", help="Pairs a step on each GPU."),
    ] = None,
    height: Annotated[
        int | None,
        typer.Option(
            show_default="256; to fine-tune 320", help="Of scenes or crops, a multiple of 32."
        ),
    ] = None,
    width: Annotated[
        int | None, typer.Option(show_default="512; to fine-tune 640", help="Likewise.")
    ] = None,
    max_disparity: Annotated[
        float, typer.Option(min=16, max=191, help="Largest disparity in the scenes, in pixels.")
    ] = 190.0,
    learning_rate: Annotated[
        float | None,
        typer.Option(min=0, show_default="5e-4; to fine-tune 1e-4", help="Peak of the one-cycle."),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            show_default="muon; to fine-tune adamw",
            help="muon (of matrices; adamw of the rest) or adamw.",
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(show_default="to the end", help="Stop after so long; call again to go on."),
    ] = None,
    fit_schedule: Annotated[
        bool, typer.Option("--fit-schedule", help="Let the schedule end with --minutes.")
    ] = False,
    validate: Annotated[
        list[Path] | None,
        typer.Option(show_default="none", help="Data sets to score on; given again for more."),
    ] = None,
    validate_minutes: Annotated[float, typer.Option(min=0, help="Between two such scores.")] = 5.0,
    samples: Annotated[int, typer.Option(min=1, max=2, help="Colour samples a pixel.")] = 1,
    compile_renderer: Annotated[
        bool, typer.Option(help="Compile the renderer; slow to start, fast after it.")
    ] = True,
    compile_network: Annotated[
        bool, typer.Option("--compile", help="Compile the network too, not only the renderer.")
    ] = False,
    cuda_graph: Annotated[
        bool, typer.Option("--cuda-graph", help="Replay each step as one CUDA graph.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of weights and scenes.")] = 1,
    profile: Annotated[
        bool, typer.Option("--profile", help="Time the parts of a step instead of training.")
    ] = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Train a network on rendered scenes, or adapt one; under torchrun on several GPUs.

    Prints the last line of the log as JSON, or with --fine-tune what was gained; the averaged
    weights are in weights.safetensors, the best ones of --validate in best.safetensors.
    """
    from litestereo.assets import bundled_models, named_file
    from litestereo.training.options import Refining, Stage, TrainOptions

    if fine_tune and (stage != "supervised" or pairs or teacher or perturb):
        raise InputError(
            "--fine-tune chooses its stage by the ground truth of its folder, and always perturbs; "
            "leave --stage, --pairs, --teacher and --perturb out"
        )
    if profile and fine_tune:
        raise InputError(
            "--profile is of scenes, and --fine-tune trains on pairs; leave one of them out"
        )
    if fine_tune and not weights and model in bundled_models():
        weights = Path(model)
    given = {
        "steps": steps,
        "batch": batch,
        "height": height,
        "width": width,
        "peak_learning_rate": learning_rate,
        "optimizer": optimizer,
        "robust_px": robust,
        "distribution_weight": distribution_weight,
    }
    scenes = stage == "supervised" or (stage == "self" and not pairs and truth_weight > 0)
    usual = _TO_FINE_TUNE if fine_tune else _ON_SCENES if scenes else {}
    options = TrainOptions(
        output=output,
        stage=cast(Stage, stage),  # other words are refused
        model=model,
        textures=textures,
        weights=named_file(weights) if weights else None,
        refiner=cast(Refining | None, refiner),  # likewise
        pairs=pairs,
        teacher=str(named_file(teacher)) if teacher and stage == "self" else teacher,
        labels=labels,
        truth_weight=truth_weight,
        feature_weight=feature_weight,
        perturb=perturb,
        edge_weight=edge_weight,
        max_disparity_px=max_disparity,
        minutes=minutes,
        fit_schedule=fit_schedule,
        validate=tuple(validate or ()),
        validate_minutes=validate_minutes,
        samples=samples,
        compile_renderer=compile_renderer,
        compile_network=compile_network,
        cuda_graph=cuda_graph,
        seed=seed,
        **{**usual, **{name: value for name, value in given.items() if value is not None}},
    )
    from litestereo.packages import TRAIN_PACKAGES, require_packages
    from litestereo.runtime.files import require_writable
    from litestereo.runtime.opencv import import_cv2

    require_packages(*TRAIN_PACKAGES, purpose="training", extra="train")
    import_cv2("drawing scenes and reading pictures")
    require_writable(output, folder=True)
    if profile:
        from litestereo.training.profile import profile_training

        print(json.dumps(profile_training(options)))
        return
    with _Progress() as progress:
        result = _trained(options, fine_tune, progress)
    # Under torchrun each process comes here; one of them speaks.
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(result))
        say(f"next: stereo-export --model {model} --weights {output / 'weights.safetensors'}")


def _trained(options: Any, folder: Path | None, progress: _Progress) -> dict[str, Any]:  # noqa: ANN401 - not loaded yet
    if folder is None:
        from litestereo.training.stages import train as run_training

        return cast(
            "dict[str, Any]", run_training(options, watch=progress.line, progress=scenes_watched)
        )
    from litestereo.training.fine_tune import fine_tune

    return fine_tune(options, folder, watch=progress.line).to_dict()


class _Progress:
    """A bar over the schedule on a terminal, else a line of JSON for each line of the log."""

    def __enter__(self) -> _Progress:
        self._bar: Any = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.render_finish()

    def line(self, line: dict[str, Any]) -> None:
        if "loss" not in line or not sys.stderr.isatty():
            if self._bar is not None:
                say("")  # leaves the bar's own line
            say(line.get("note") or json.dumps(line))
            return
        if self._bar is None:
            self._bar = typer.progressbar(length=1000, label="training", file=sys.stderr)
        epe_px = line.get("epe_px")  # which no pair without ground truth has
        shown = f"loss {line['loss']:.3f}" if epe_px is None else f"EPE {epe_px:.2f} px"
        self._bar.label = f"step {line['step']}, {shown}"
        self._bar.update(round(1000 * line["progress"]) - self._bar.pos)


def train_main(arguments: Sequence[str] | None = None) -> int:
    """Run `stereo-train`; `arguments` replaces the command line's.

    Args:
        arguments: words that replace the command line's; None takes those of `sys.argv`.
    """
    return run_command(train_app, name="stereo-train", arguments=arguments)
