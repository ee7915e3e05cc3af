"""What a training run is told."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from litestereo.errors import TrainingError

__all__ = ["TrainOptions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """One supervised run on rendered scenes.

    Attributes:
        output: folder of the run: `state.pt`, `weights.safetensors`, `log.jsonl`.
        model: name of the network.
        textures: folder of photos; None trains on procedural textures alone.
        texture_size: side in texels that photos are brought to, a power of two.
        weights: checkpoint to start from; None starts from random weights.
        steps: length of the whole schedule, however many sittings it takes.
        batch: pairs a step on each GPU.
        height, width: size of the rendered pictures.
        peak_learning_rate: top of the one-cycle schedule.
        warm_up: share of the steps in which the rate rises.
        weight_decay: of AdamW, on weights with two or more dimensions.
        ema_decay: of the averaged weights, which are the ones that are kept.
        max_disparity_px: no rendered disparity is larger.
        samples: colour samples for each rendered pixel.
        minutes: stop after so long, resumable; None runs to the end.
        fit_schedule: set the length of the schedule, once the pace is known, so that it ends with
            the sitting; `steps` is then only a bound.
        checkpoint_seconds: at most this much work is lost by a kill.
        log_every: steps between two lines of the log.
        compile_renderer: fuse the renderer with torch.compile: about a minute at the start, and
            many times the speed after it.
        compile_network: likewise the network.
        seed: of weights and scenes.
    """

    output: Path
    model: str = "las1"
    textures: Path | None = None
    texture_size: int = 512
    weights: Path | None = None
    steps: int = 100_000
    batch: int = 32
    height: int = 320
    width: int = 640
    peak_learning_rate: float = 5e-4
    warm_up: float = 0.03
    weight_decay: float = 1e-4
    ema_decay: float = 0.999
    max_disparity_px: float = 190.0
    samples: int = 1
    minutes: float | None = None
    fit_schedule: bool = False
    checkpoint_seconds: float = 60.0
    log_every: int = 50
    compile_renderer: bool = True
    compile_network: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse values that cannot train."""
        if self.steps < 1 or self.batch < 1:
            raise TrainingError(f"steps {self.steps} and batch {self.batch} must be at least 1")
        if self.height % 32 or self.width % 32 or min(self.height, self.width) < 64:
            raise TrainingError(
                f"size {self.height}x{self.width} must be in multiples of 32 and at least 64x64"
            )
        if self.minutes is not None and self.minutes <= 0:
            raise TrainingError(f"minutes {self.minutes} must be above 0")
        if self.fit_schedule and self.minutes is None:
            raise TrainingError("a schedule that fits the sitting needs its length in minutes")

    def learning_rate(self, step: int, *, of: int | None = None) -> float:
        """Return the one-cycle rate (Smith & Topin 2018): linear up, cosine down to a hundredth.

        Args:
            step: counted from 0.
            of: steps in all; `steps` without it.
        """
        steps = of or self.steps
        rise = max(1, round(self.warm_up * steps))
        if step < rise:
            return self.peak_learning_rate * (0.04 + 0.96 * step / rise)
        along = min(1.0, (step - rise) / max(1, steps - rise))
        return self.peak_learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along)))

    def to_dict(self) -> dict[str, object]:
        """Return the options as JSON can hold them."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}
