"""What a training run is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from litestereo.errors import TrainingError

__all__ = ["Optimizer", "Refining", "Stage", "TrainOptions"]

Optimizer = Literal["muon", "adamw"]
"""Muon for matrices and AdamW for the rest, or AdamW alone."""

Stage = Literal["supervised", "self", "real"]
"""What a run learns from: rendered scenes, a frozen teacher beside them, or a teacher's labels."""

Refining = Literal["beside", "alone"]
"""A refiner trained beside the network, or alone, while the network stays as it is."""

# The seeds of steps and processes, made of a run's, have to fit 64 bits.
_SEEDS = 2**32


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """One run of one stage.

    Attributes:
        output: folder of the run: `state.pt`, `weights.safetensors`, `best.safetensors`,
            `log.jsonl`, `record.json`.
        stage: "supervised" learns from rendered scenes; "self" also follows a frozen teacher that
            sees the pair unperturbed; "real" learns from a teacher's labels on real pairs.
        model: name of the network.
        textures: folder of photos; None trains on procedural textures alone.
        texture_size: side in texels that photos are brought to, a power of two.
        pairs: folder of real pairs: needed by "real", and taken by "self" instead of scenes.
        teacher: of "real" an ONNX file, a bundled model's name, or NAME=WEIGHTS; of "self" a
            checkpoint, None takes `weights`.
        labels: folder of the teacher's labels; None puts them in the run's own.
        truth_weight: of the exact ground truth in stage "self".
        feature_weight: of 1 - cosine between the features in stage "self".
        perturb: show the network of stage "supervised" the scenes perturbed, as "self" and "real"
            always do.
        edge_weight: of pixels within 4 px of a step in the exact truth, where others have 1.
        distribution_weight: of the cross-entropy of the levels' distribution against the truth.
        robust_px: errors in disparity count by their logarithm from about here on; 0 never.
        weights: checkpoint to start from; None starts from random weights.
        refiner: give the network a refiner where its start weights have none, and train it
            "beside" the network, or "alone"; None trains what the start weights have.
        steps: length of the whole schedule, however many sittings it takes.
        batch: pairs a step on each GPU.
        height, width: size of the rendered pictures or of the crops.
        optimizer: "muon" trains matrices by Muon and the rest by AdamW, "adamw" all by AdamW.
        peak_learning_rate: top of the one-cycle schedule.
        warm_up: share of the schedule in which the rate rises.
        weight_decay: on weights with two or more dimensions.
        ema_decay: of the averaged weights, which are the ones that are kept.
        max_disparity_px: no rendered disparity is larger.
        samples: colour samples for each rendered pixel.
        minutes: stop after so long, resumable; None runs to the end.
        fit_schedule: go through the schedule by the clock, so that it ends with the sitting;
            `steps` is then not looked at.
        checkpoint_seconds: at most this much work is lost by a kill.
        log_every: steps between two lines of the log.
        validate: folders of data sets that the averaged weights are scored on; never trained on.
        validate_minutes: between two such scores.
        compile_renderer: fuse the renderer with torch.compile: about a minute at the start, and
            many times the speed after it. On a GPU the making of a batch is then recorded as one
            CUDA graph, too, and replayed.
        compile_network: likewise the network.
        cuda_graph: record forward and backward pass, compiled or not, as one CUDA graph on each GPU
            and replay it.
        seed: of weights and scenes.
    """

    output: Path
    stage: Stage = "supervised"
    model: str = "las1"
    textures: Path | None = None
    texture_size: int = 512
    pairs: Path | None = None
    teacher: str | None = None
    labels: Path | None = None
    truth_weight: float = 1.0
    feature_weight: float = 1.0
    perturb: bool = False
    edge_weight: float = 1.0
    distribution_weight: float = 0.0
    robust_px: float = 1.0
    weights: Path | None = None
    refiner: Refining | None = None
    steps: int = 100_000
    batch: int = 32
    height: int = 256
    width: int = 512
    optimizer: Optimizer = "muon"
    peak_learning_rate: float = 5e-4
    warm_up: float = 0.03
    weight_decay: float = 1e-4
    ema_decay: float = 0.999
    max_disparity_px: float = 190.0
    samples: int = 1
    minutes: float | None = None
    fit_schedule: bool = False
    checkpoint_seconds: float = 45.0
    log_every: int = 50
    validate: tuple[Path, ...] = ()
    validate_minutes: float = 5.0
    compile_renderer: bool = True
    compile_network: bool = False
    cuda_graph: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse values that cannot train."""
        if self.stage not in get_args(Stage):
            raise TrainingError(
                f"stage {self.stage!r} is unknown; choose one of {', '.join(get_args(Stage))}"
            )
        if self.optimizer not in get_args(Optimizer):
            raise TrainingError(
                f"optimizer {self.optimizer!r} is unknown; choose one of "
                f"{', '.join(get_args(Optimizer))}"
            )
        if self.refiner is not None and self.refiner not in get_args(Refining):
            raise TrainingError(
                f"refiner {self.refiner!r} is unknown; choose one of "
                f"{', '.join(get_args(Refining))}"
            )
        if not self.peak_learning_rate > 0:
            raise TrainingError(f"learning rate {self.peak_learning_rate} must be above 0")
        if self.steps < 1 or self.batch < 1:
            raise TrainingError(f"steps {self.steps} and batch {self.batch} must be at least 1")
        if self.height % 32 or self.width % 32 or min(self.height, self.width) < 64:
            raise TrainingError(
                f"size {self.height}x{self.width} must be in multiples of 32 and at least 64x64"
            )
        if not 0 <= self.distribution_weight <= 100:
            raise TrainingError(
                f"distribution weight {self.distribution_weight} must be 0 to 100; 0 leaves it out"
            )
        if not (self.robust_px == 0 or 0.1 <= self.robust_px <= 100):
            raise TrainingError(
                f"robust error {self.robust_px} px must be 0.1 to 100 px; 0 leaves it out"
            )
        if not 0.1 <= self.edge_weight <= 100:
            raise TrainingError(f"edge weight {self.edge_weight} must be 0.1 to 100; 1 is neutral")
        if not 16 <= self.max_disparity_px <= 191:
            raise TrainingError(f"largest disparity {self.max_disparity_px} must be 16 to 191 px")
        if not 0 <= self.seed < _SEEDS:
            raise TrainingError(f"seed {self.seed} must be 0 to {_SEEDS - 1}")
        if self.minutes is not None and self.minutes <= 0:
            raise TrainingError(f"minutes {self.minutes} must be above 0")
        if self.fit_schedule and self.minutes is None:
            raise TrainingError("a schedule that fits the sitting needs its length: add --minutes")
        self._check_stage()

    def _check_stage(self) -> None:
        if self.refiner == "alone" and (self.stage != "supervised" or self.perturb):
            raise TrainingError(
                "a refiner is trained alone by --stage supervised, without --perturb; leave these "
                "out, or give --refiner beside"
            )
        if self.refiner == "alone" and not self.weights:
            raise TrainingError(
                "a refiner alone needs a trained network: give its weights with --weights"
            )
        if self.stage == "supervised" and (self.teacher or self.pairs):
            raise TrainingError(
                "the supervised stage takes no teacher and no real pairs; choose --stage self or "
                "real, or --fine-tune"
            )
        if self.stage != "supervised" and self.perturb:
            raise TrainingError(f"--perturb is of stage supervised; {self.stage} always perturbs")
        if self.stage == "self" and not (self.teacher or self.weights):
            raise TrainingError(
                "stage self has no teacher: give the first stage's weights with --weights"
            )
        if self.stage == "real" and not (self.teacher and self.pairs):
            raise TrainingError("stage real needs pairs and a teacher: --pairs DIR --teacher FILE")
        no_truth = self.stage == "self" and (self.pairs or not self.truth_weight)
        if (self.stage == "real" or no_truth) and self.edge_weight != 1:
            raise TrainingError(
                "--edge-weight needs exact truth, and this stage has none at edges; leave it out, "
                "or train on scenes"
            )
        asked = {"--distribution-weight": self.distribution_weight, "--refiner": self.refiner}
        for name, value in asked.items():
            if no_truth and value:
                raise TrainingError(
                    f"{name} needs known disparities, and this stage has none; leave it out, or "
                    "train on scenes"
                )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what the network sees."""
        return self.height, self.width

    def to_dict(self) -> dict[str, object]:
        """Return the options as JSON can hold them; of paths the last part, which is enough.

        Records are published, and folders above say more about a machine than about a run.
        """
        return {key: _plain(value) for key, value in asdict(self).items()}


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return value.name
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value
