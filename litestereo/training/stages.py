"""The three stages: what each one learns from, and what it minimises.

Run it as it is, or under torchrun for several GPUs:

    torchrun --nproc-per-node 2 $(which stereo-train) --textures photos -o run
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from litestereo.benchmarks.scenes import Scene
from litestereo.errors import TrainingError
from litestereo.models import create, load_weights, model_spec
from litestereo.models.refiner import Refiner
from litestereo.training.group import Group, joined_group
from litestereo.training.labels import label_pairs
from litestereo.training.loop import Source, TrainingRun
from litestereo.training.objective import RefinerAlone, SelfDistillation, Supervised, TruthLoss
from litestereo.training.options import TrainOptions
from litestereo.training.pairs import (
    PairStream,
    crop_size,
    find_training_pairs,
    sound_scenes,
)
from litestereo.training.scenes.stream import SceneStream
from litestereo.training.scenes.textures import load_atlas
from litestereo.training.split import check_apart
from litestereo.training.teacher import open_teacher

if TYPE_CHECKING:
    from litestereo.models.las import StereoNetwork

__all__ = ["make_run", "make_self_run", "make_truth_run", "start_network", "train"]

# Layer scale starts at 1e-6 in the paper's long schedules; shorter ones need the blocks at once.
_LAYER_SCALE = 0.1
# Between the seeds of a step's ranks and those of the next step, 1009 on.
_OF_PERTURBATIONS = 500

_Watch = Callable[[dict[str, Any]], None]
_Bar = Callable[[Iterable[Scene]], Iterable[Scene]]


def _silent(_: dict[str, Any]) -> None:
    """Tell nobody."""


def train(options: TrainOptions, *, watch: _Watch = _silent, progress: _Bar = iter) -> Any:  # noqa: ANN401 - a line of JSON
    """Train until the schedule or the sitting ends; a later call goes on where this one stopped.

    Args:
        options: of the run.
        watch: told each line of the log.
        progress: wraps the pairs while a teacher labels them, as a progress bar does.

    Returns:
        The last line of the log: step, loss, end-point error, pairs a second.

    Raises:
        TrainingError: no textures or pairs, a foreign state in the output folder, or gradients
            that stay without a finite value.
        LiteStereoError: weights, teacher or pictures cannot be used.
    """
    with joined_group() as group:
        return make_run(options, group=group, watch=watch, progress=progress).go()


def make_run(
    options: TrainOptions,
    *,
    group: Group | None = None,
    watch: _Watch = _silent,
    progress: _Bar = iter,
) -> TrainingRun:
    """Build the run of the options' stage, or restore it from the output folder.

    Args:
        options: of the run.
        group: the processes that train together; None is this one alone.
        watch: is told each line that is written.
        progress: yields the pairs as they are labelled, such as a bar.
    """
    group = group or Group()
    if options.stage == "real":
        assert options.pairs is not None
        scenes = find_training_pairs(options.pairs)
        # The run asks too, but labels may take hours before.
        check_apart(scenes, sound_scenes(*options.validate))
        scenes = _labelled(options, scenes, group, progress)
        return make_truth_run(options, scenes, group=group, watch=watch, labels=True)
    if options.stage == "self":
        real = find_training_pairs(options.pairs) if options.pairs else None
        return make_self_run(options, real, group=group, watch=watch)
    return TrainingRun(
        options,
        _start(options, options.weights),
        objective=_supervised(options, group),
        source=lambda step: _rendered(options, group, step),
        group=group,
        watch=watch,
    )


def make_truth_run(
    options: TrainOptions,
    scenes: Sequence[Scene],
    *,
    group: Group,
    watch: _Watch = _silent,
    labels: bool = False,
) -> TrainingRun:
    """Build a run on real pairs whose truth is given, or labelled by a teacher.

    Args:
        options: of the run.
        scenes: with ground truth.
        group: the processes that train together.
        watch: is told each line that is written.
        labels: the truth is a teacher's, and may be wrong.
    """
    return TrainingRun(
        options,
        _start(options, options.weights),
        objective=_supervised(options, group, labels=labels),
        source=lambda step: _crops(options, scenes, group, step, watch, perturbed=True),
        pairs=scenes,
        group=group,
        watch=watch,
    )


def make_self_run(
    options: TrainOptions, scenes: Sequence[Scene] | None, *, group: Group, watch: _Watch = _silent
) -> TrainingRun:
    """Build a self-distilling run on real pairs, or on rendered scenes where `scenes` is None.

    Args:
        options: of the run.
        scenes: real pairs, whose truth is not looked at.
        group: the processes that train together.
        watch: is told each line that is written.
    """

    def objective(network: StereoNetwork, step: int) -> nn.Module:
        source = Path(options.teacher) if options.teacher else options.weights
        return SelfDistillation(
            network,
            start_network(options.model, source).to(group.device),
            _truth_loss(options),
            seed=_perturb_seed(options, group, step),
            truth_weight=options.truth_weight,
            feature_weight=options.feature_weight,
        )

    def source(step: int) -> Source:
        if scenes is None:
            return _rendered(options, group, step)
        unlabelled = [Scene(s.name, s.set, s.left, s.right) for s in scenes]
        return _crops(options, unlabelled, group, step, watch, perturbed=False)

    return TrainingRun(
        options,
        _start(options, options.weights or Path(options.teacher or "")),
        objective=objective,
        source=source,
        pairs=scenes or (),
        group=group,
        watch=watch,
    )


def start_network(model: str, weights: Path | None) -> StereoNetwork:
    """Return the network called `model`, with the weights of a file or random ones.

    Args:
        model: its name.
        weights: checkpoint; None leaves them random.

    Raises:
        LiteStereoError: no such model, or the file does not fit it.
    """
    scaled = model_spec(model).backbone == "mobilenetv2"
    network = create(model, layer_scale_init=_LAYER_SCALE if scaled else None)
    if weights is not None:
        load_weights(network, weights)
    return network


def _start(options: TrainOptions, weights: Path | None) -> StereoNetwork:
    torch.manual_seed(options.seed)
    network = start_network(options.model, weights)
    if options.refiner and network.refiner is None:
        network.refiner = Refiner()
    if options.refiner == "alone":
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name.startswith("refiner."))
    return network


def _supervised(
    options: TrainOptions, group: Group, *, labels: bool = False
) -> Callable[[StereoNetwork, int], nn.Module]:
    def objective(network: StereoNetwork, step: int) -> nn.Module:
        truth_loss = _truth_loss(options, labels=labels)
        if options.refiner == "alone":
            return RefinerAlone(network, truth_loss)
        seed = _perturb_seed(options, group, step) if options.perturb else None
        return Supervised(network, truth_loss, perturb_seed=seed)

    return objective


def _truth_loss(options: TrainOptions, *, labels: bool = False) -> TruthLoss:
    return TruthLoss(
        labels=labels,
        edge_weight=options.edge_weight,
        distribution_weight=options.distribution_weight,
        robust_px=options.robust_px,
    )


def _seed(options: TrainOptions, group: Group, step: int) -> int:
    """Return a seed of options, rank and step alone, so that a resumed run sees new data."""
    return options.seed * 1_000_003 + step * 1009 + group.rank


def _perturb_seed(options: TrainOptions, group: Group, step: int) -> int:
    """Return another seed than the scenes' own, whose draws would go along with these."""
    return _seed(options, group, step) + _OF_PERTURBATIONS


def _rendered(options: TrainOptions, group: Group, step: int) -> SceneStream:
    return SceneStream(
        load_atlas(options.textures, device=group.device, size=options.texture_size),
        batch=options.batch,
        size=options.size,
        seed=_seed(options, group, step),
        max_disparity_px=options.max_disparity_px,
        samples=options.samples,
        compiled=options.compile_renderer,
        recorded=options.compile_renderer and group.device.type == "cuda",
    )


def _crops(
    options: TrainOptions,
    scenes: Sequence[Scene],
    group: Group,
    step: int,
    watch: _Watch,
    *,
    perturbed: bool,
) -> PairStream:
    told = watch if group.rank == 0 else _silent
    return PairStream(
        scenes,
        batch=options.batch,
        size=crop_size(scenes, options.size, note=lambda words: told({"note": words})),
        seed=_seed(options, group, step),
        device=group.device,
        perturbed=perturbed,
    )


def _labelled(
    options: TrainOptions, scenes: Sequence[Scene], group: Group, progress: _Bar
) -> tuple[Scene, ...]:
    """Label the pairs, each process its share, and return all of them with their labels."""
    if not scenes or options.teacher is None:
        raise TrainingError(
            f"{options.pairs} holds no pairs to label; give a folder of left and right pictures"
        )
    folder = options.labels or options.output / "labels"
    with open_teacher(options.teacher, device=group.device.type) as (teacher, sha256):
        share = scenes[group.rank :: group.world]
        shown: _Bar = progress if group.rank == 0 else iter
        labelled = label_pairs(teacher, share, sha256=sha256, folder=folder, progress=shown)
        if group.world == 1:
            return labelled
        group.wait()
        return label_pairs(teacher, scenes, sha256=sha256, folder=folder)
