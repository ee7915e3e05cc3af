"""Stage one: supervised training on rendered scenes, on one GPU or several, resumable.

Run it as it is, or under torchrun for several GPUs:

    torchrun --nproc-per-node 2 $(which stereo-train) --textures photos -o run
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from litestereo.errors import TrainingError
from litestereo.models import create, load_weights
from litestereo.training.loss import supervised_loss, training_metrics
from litestereo.training.options import TrainOptions
from litestereo.training.scenes.stream import Batch, SceneStream
from litestereo.training.scenes.textures import load_atlas
from litestereo.training.state import Average, load_state, save_state

__all__ = ["TrainingRun", "train"]

# Layer scale starts at 1e-6 in the paper's long schedules; shorter ones need the blocks at once.
_LAYER_SCALE = 0.1
_CLIP_NORM = 1.0
_MAX_SKIPPED = 100
# Steps before the pace is steady: kernels are chosen and compiled in the first ones.
_WARM_STEPS = 20


class _Supervised(nn.Module):
    """The network and its loss as one module, so that DistributedDataParallel sees one forward."""

    def __init__(self, network: nn.Module, bound_px: float) -> None:
        super().__init__()
        self.network = network
        self.bound_px = bound_px

    def forward(
        self, left: Tensor, right: Tensor, truth_px: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        device = left.device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            stages = self.network.stages(left, right)  # type: ignore[operator]
        predictions = getattr(stages, "predictions", None) or (stages.disparity,)
        valid = truth_px < self.bound_px
        coarse_px = 4 * stages.disparity_quarter
        loss = supervised_loss(predictions, coarse_px, truth_px, valid)
        return loss, training_metrics(stages.disparity, truth_px, valid)


def train(options: TrainOptions) -> dict[str, Any]:
    """Train until the schedule or the sitting ends; a later call goes on where this one stopped.

    Returns:
        The last line of the log: step, loss, end-point error, pairs a second.

    Raises:
        TrainingError: no textures, a foreign state in the output folder, or a loss that stays
            without a finite value.
    """
    rank, world, device = _join_group()
    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    try:
        return TrainingRun(options, rank=rank, world=world, device=device).go()
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _default_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _join_group() -> tuple[int, int, torch.device]:
    """Join torchrun's group when there is one; return rank, world size and this rank's device."""
    if "RANK" not in os.environ:
        return 0, 1, _default_device()
    cuda = torch.cuda.is_available()
    local = int(os.environ["LOCAL_RANK"])
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
        dist.init_process_group("nccl", device_id=device)
    else:
        dist.init_process_group("gloo")
    return dist.get_rank(), dist.get_world_size(), device


class TrainingRun:
    """The state of one process of a run."""

    def __init__(
        self,
        options: TrainOptions,
        *,
        rank: int = 0,
        world: int = 1,
        device: torch.device | None = None,
    ) -> None:
        """Build network, optimiser and scenes, or restore them from the output folder."""
        device = device or _default_device()
        self.options, self.rank, self.world, self.device = options, rank, world, device
        self.network = create(options.model, layer_scale_init=_LAYER_SCALE)
        if options.weights is not None:
            load_weights(self.network, options.weights)
        _channels_last(self.network.to(device).train())
        self.optimizer = _optimizer(self.network, options)
        self.average = Average(self.network, decay=options.ema_decay)
        self.state_path = options.output / "state.pt"
        self.step = 0
        if self.state_path.exists():
            self.step = load_state(
                self.state_path,
                model=self.network,
                optimizer=self.optimizer,
                average=self.average,
            )
        self.stream = self._stream()
        self.module: nn.Module = _Supervised(self.network, bound_px=192.0)
        if options.compile_network:
            # One graph: cutting it where gradients are exchanged would compile many small ones.
            torch._dynamo.config.optimize_ddp = False
            self.module.compile()
        if world > 1:
            ids = [device.index] if device.type == "cuda" else None
            self.module = nn.parallel.DistributedDataParallel(self.module, device_ids=ids)
        self.started = self.saved = time.monotonic()
        self.total_steps = options.steps
        self.skipped = torch.zeros((), device=device)
        self.last: dict[str, Any] = {"step": self.step}

    def _stream(self) -> SceneStream:
        """Scenes that depend on seed, rank and step alone, so that a resumed run sees new ones."""
        options = self.options
        return SceneStream(
            load_atlas(options.textures, device=self.device, size=options.texture_size),
            batch=options.batch,
            size=(options.height, options.width),
            seed=options.seed * 1_000_003 + self.step * 1009 + self.rank,
            max_disparity_px=options.max_disparity_px,
            samples=options.samples,
            compiled=options.compile_renderer,
        )

    def go(self) -> dict[str, Any]:
        """Make steps until the end of the schedule or of the sitting."""
        timer, begun = time.monotonic(), self.step
        first = self.step
        while self.step < self.total_steps and not self._time_is_up():
            loss, metrics = self.advance(self.stream.next())
            if self.options.fit_schedule and self.step == first + _WARM_STEPS:
                warm = self._now()
            if self.options.fit_schedule and self.step == first + 5 * _WARM_STEPS:
                self._fit_schedule((self._now() - warm) / (4 * _WARM_STEPS))
            if self.step % self.options.log_every == 0 or self.step == self.total_steps:
                self._check_skipped()
                rate = (self.step - begun) / (time.monotonic() - timer)
                self._log(loss, metrics, pairs_per_s=rate * self.options.batch * self.world)
                timer, begun = time.monotonic(), self.step
            if time.monotonic() - self.saved > self.options.checkpoint_seconds:
                self._save()
        self._save()
        return self.last

    def advance(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Make one optimiser step on `batch`; return its loss and metrics."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate(self.step, of=self.total_steps)
        layout = torch.channels_last
        left = batch.left.contiguous(memory_format=layout)
        right = batch.right.contiguous(memory_format=layout)
        loss, metrics = self.module(left, right, batch.disparity_px)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP_NORM)
        # The gradients are the mean over all ranks, so every rank decides alike.
        bad = ~torch.isfinite(norm)
        self.skipped = (self.skipped + 1) * bad
        if self.device.type == "cuda":
            # The fused kernel looks at this flag itself: the host need not wait for the GPU.
            self.optimizer.found_inf = bad.float()  # type: ignore[attr-defined]
            self.optimizer.step()
        elif not bad:
            self.optimizer.step()
        self.step += 1
        self.average.update(self.network, step=self.step)
        return loss, metrics

    def _check_skipped(self) -> None:
        skipped = int(self.skipped)
        if skipped > _MAX_SKIPPED:
            raise TrainingError(
                f"the gradients were not finite in {skipped} steps running (step {self.step});"
                " lower --learning-rate or start from other weights"
            )

    def _now(self) -> float:
        """Return the time at which all work so far is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.monotonic()

    def _fit_schedule(self, seconds_per_step: float) -> None:
        """Let the schedule end with this sitting; all ranks take the first's count."""
        assert self.options.minutes is not None
        left = 60 * self.options.minutes - (time.monotonic() - self.started)
        steps = self.step + max(1, int(0.97 * left / seconds_per_step))
        self.total_steps = int(self._agree(steps))

    def _agree(self, value: float) -> float:
        """Return the first rank's `value` on every rank."""
        if self.world == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared)

    def _time_is_up(self) -> bool:
        """Tell whether the sitting is over; ranks agree each tenth step, by the first's clock."""
        if self.options.minutes is None:
            return False
        up = time.monotonic() - self.started > 60 * self.options.minutes
        if self.world > 1 and self.step % 10:
            return False
        return bool(self._agree(up))

    def _log(self, loss: Tensor, metrics: dict[str, Tensor], *, pairs_per_s: float) -> None:
        if self.rank:
            return
        self.last = {
            "step": self.step,
            "pairs": self.step * self.options.batch * self.world,
            "loss": round(float(loss.detach()), 4),
            **{name: round(float(value), 3) for name, value in metrics.items()},
            "learning_rate": self.options.learning_rate(self.step, of=self.total_steps),
            "pairs_per_s": round(pairs_per_s, 1),
            "minutes": round((time.monotonic() - self.started) / 60, 2),
        }
        with (self.options.output / "log.jsonl").open("a") as log:
            log.write(json.dumps(self.last) + "\n")
        print(json.dumps(self.last), file=sys.stderr, flush=True)

    def _save(self) -> None:
        if self.rank == 0:
            save_state(
                self.state_path,
                model=self.network,
                optimizer=self.optimizer,
                average=self.average,
                step=self.step,
            )
            _save_weights(self.average, self.options.output / "weights.safetensors")
        self.saved = time.monotonic()


def _channels_last(network: nn.Module) -> None:
    """Lay the 2-D filters out for channels-last kernels; `Module.to` would refuse the 3-D ones."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _optimizer(network: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """AdamW that decays weights but not biases, norms and layer scales."""
    matrices = [p for p in network.parameters() if p.ndim >= 2]
    vectors = [p for p in network.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": options.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    fused = next(network.parameters()).is_cuda
    return torch.optim.AdamW(groups, lr=options.peak_learning_rate, fused=fused)


def _save_weights(average: Average, path: Path) -> None:
    """Write the averaged weights: half precision for weights, float32 for vectors."""
    from safetensors.torch import save_file

    state = {
        key: (value.half() if value.ndim >= 2 else value).contiguous().cpu()
        for key, value in average.values.items()
    }
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    save_file(state, temporary)
    os.replace(temporary, path)
