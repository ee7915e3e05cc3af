"""The loop that all stages share: steps, averaged weights, checkpoints, validation, resuming."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch._inductor  # the optimizer loads it anyway
from torch import Tensor, nn

from litestereo.benchmarks.scenes import Scene
from litestereo.errors import TrainingError
from litestereo.models import save_weights
from litestereo.training.ahead import Ahead
from litestereo.training.compiled import compile_step
from litestereo.training.gradients import (
    AveragedGradients,
    Gradients,
    ReplayedGradients,
    check_gradients,
    check_replay,
)
from litestereo.training.group import Group
from litestereo.training.identity import identity_of
from litestereo.training.journal import Journal
from litestereo.training.muon import Muon, is_matrix
from litestereo.training.options import TrainOptions
from litestereo.training.scenes.stream import Batch
from litestereo.training.schedule import Schedule
from litestereo.training.split import check_apart
from litestereo.training.state import Average, Progress, Statistics, load_state, save_state
from litestereo.training.validate import Validator

if TYPE_CHECKING:
    from litestereo.models.las import StereoNetwork

__all__ = ["Source", "TrainingRun", "channels_last"]

_CLIP_NORM = 1.0
_MAX_SKIPPED = 100
# Steps after the first one when its gradients are compared again: memory may be overwritten late.
_CHECK_AFTER = 100


class Source(Protocol):
    """Gives batches for ever."""

    def next(self) -> Batch:
        """Return the next batch."""


class TrainingRun:
    """One process of a run of any stage."""

    def __init__(
        self,
        options: TrainOptions,
        network: StereoNetwork,
        *,
        objective: Callable[[StereoNetwork, int], nn.Module],
        source: Callable[[int], Source],
        pairs: Sequence[Scene] = (),
        group: Group | None = None,
        watch: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        """Take what a stage is made of, and go on from the output folder's state if there is one.

        Args:
            options: of the run.
            network: with its start weights; moved to the group's device.
            objective: makes the module that returns loss and metrics, given the network and the
                step at which it begins, so that a resumed run draws new numbers.
            source: makes the stream of batches, given that step likewise.
            pairs: the real ones that the stream is made of; none for rendered scenes.
            group: the processes that train together; None is this one alone.
            watch: told each line of the log.

        Raises:
            TrainingError: the output folder's state is of a run with other options, or a scene of
                the validation is trained on.
        """
        self.options, self.group = options, group or Group()
        device = self.group.device
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.allow_tf32 = True
        self.network = network
        channels_last(network.to(device).train())
        self.optimizers = _optimizers(network, options)
        self.average = Average(network, decay=options.ema_decay)
        self.statistics = Statistics(network)
        self.state_path = options.output / "state.pt"
        self.validator = Validator(options, self.group)
        check_apart(pairs, self.validator.scenes)
        self.identity = identity_of(options, pairs)
        self.done = self._restored()
        self.schedule = Schedule(options, step=self.done.step, progress=self.done.share)
        self.rate = self.schedule.rate
        self.source = source(self.done.step)
        self.module = objective(network, self.done.step)
        self.gradients = self._gradients_of(self.module)
        first = self.done.step
        special = options.compile_network or options.cuda_graph
        self._checked_steps = {first, first + _CHECK_AFTER} if special else set()
        self.watch = watch
        self.skipped = torch.zeros((), device=device)
        self.saved = time.monotonic()
        self._validation_due = False

    def _restored(self) -> Progress:
        if not self.state_path.exists():
            return Progress()
        return load_state(
            self.state_path,
            model=self.network,
            optimizers=self.optimizers,
            average=self.average,
            identity=self.identity,
        )

    def _gradients_of(self, module: nn.Module) -> Gradients:
        if self.options.compile_network:
            # Else graphs are cut where gradients are exchanged, and many small ones are compiled.
            torch._dynamo.config.optimize_ddp = False
            compile_step(module)
        alone = self.group.world == 1
        if self.options.cuda_graph:
            check_replay(self.group)
            replayed = ReplayedGradients(module)
            return replayed if alone else AveragedGradients(replayed, self.group)
        if alone:
            return Gradients(module)
        ids = [self.group.device.index] if self.group.device.type == "cuda" else None
        return Gradients(nn.parallel.DistributedDataParallel(module, device_ids=ids))

    def go(self) -> dict[str, Any]:
        """Make steps until the end of the schedule or of the sitting; return the last log line.

        Raises:
            TrainingError: the gradients stay without a finite value, or the averaged weights do, or
                the gradients of compiled or recorded steps are not the network's own.
        """
        if self.group.rank == 0:
            self.options.output.mkdir(parents=True, exist_ok=True)
        options = self.options
        with Journal(options, self.group, self.done, watch=self.watch) as journal:
            if self.schedule.progress >= 1:
                self._note(
                    f"{options.output} is finished; to go on, choose another folder and start from "
                    f"--weights {options.output / 'weights.safetensors'}"
                )
            self.validator.start()
            self.saved = begun = time.monotonic()
            cuda = self.group.device.type == "cuda"
            source = Ahead(self.source, self.group.device) if cuda else self.source
            on_cpu = not cuda and self.group.rank == 0
            if on_cpu:
                self._note("torch sees no CUDA GPU: training on the CPU, which is slow")
            last = None
            while not self._ends():
                if self._validation_due:
                    self._validate(journal)
                    self._save(journal)  # else, after a kill, worse weights would be the best
                loss, metrics = last = self.advance(source.next())
                if self.done.step == journal.first + 1:
                    float(loss)  # waits for the GPU
                    journal.restart_clock()
                if on_cpu and self.done.step <= journal.first + 2:
                    self._tell_pace(time.monotonic() - begun, first=journal.first)
                    begun = time.monotonic()
                if self.done.step % options.log_every == 0 or journal.is_silent:
                    self._check_skipped()
                    journal.step(loss, metrics, rate=self.rate)
                if time.monotonic() - self.saved > options.checkpoint_seconds:
                    self._save(journal)
            if last is not None and journal.last["step"] < self.done.step:
                journal.step(*last, rate=self.rate)
            self._validate(journal)
            self._save(journal)
            journal.finish()
            return journal.last

    def _tell_pace(self, seconds: float, *, first: int) -> None:
        """Say of the first two steps of a CPU what they took, and from the second what is to come.

        The first one compiles the renderer.
        """
        if self.done.step == first + 1:
            self._note(f"the first step took {seconds:.0f} s")
            return
        step = f"a step (--batch {self.options.batch}) takes {seconds:.1f} s"
        if self.options.minutes is not None:
            steps = max(1, round(60 * self.options.minutes / seconds))
            self._note(f"{step}: about {steps} steps in --minutes {self.options.minutes:g}")
            return
        left = self.options.steps - self.done.step
        if not left:
            return
        self._note(
            f"{step}: the {left} to come take about {_long(left * seconds)}; fewer --steps, a "
            "smaller --batch, --height and --width, or a GPU take less"
        )

    def _note(self, words: str) -> None:
        self.watch({"note": words})

    def _ends(self) -> bool:
        """Tell whether schedule or sitting is over; ranks follow the first one's clock."""
        if self.group.world == 1 or self.schedule.asks_the_clock:
            clock = self.schedule.clock()
            progress, over, due = self.group.agree(*clock, self.validator.due())
            self.schedule.progress = self.done.share = progress
            self._validation_due = bool(due)
            return bool(over) or progress >= 1
        return self.schedule.progress >= 1

    def advance(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Make one optimiser step on `batch`; return its loss and metrics.

        Args:
            batch: this process's pairs, on its device.
        """
        self.rate = self.schedule.rate
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.rate
        layout = torch.channels_last
        left = batch.left.contiguous(memory_format=layout)
        right = batch.right.contiguous(memory_format=layout)
        if self.done.step in self._checked_steps:
            instead = "train without --compile and --cuda-graph"
            seen = (left, right, batch.disparity_px)
            if not check_gradients(self.gradients, self.module, self.group, *seen, instead=instead):
                self._note(
                    "this step's gradients are not compared with the network's own: there is no "
                    "memory for those, or they are not finite"
                )
        self.statistics.keep()
        loss, metrics = self.gradients(left, right, batch.disparity_px)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP_NORM)
        # The gradients are the mean over all ranks, so every rank decides alike.
        bad = ~torch.isfinite(norm)
        self.statistics.restore(bad)
        self.skipped = (self.skipped + 1) * bad
        if self.group.device.type == "cuda":
            # They look at this flag on the GPU: the host need not wait for it.
            found_inf = bad.float()
            for optimizer in self.optimizers:
                optimizer.found_inf = found_inf  # type: ignore[attr-defined]
                optimizer.step()
        elif not bad:
            for optimizer in self.optimizers:
                optimizer.step()
        self.schedule.advance()
        self.done.step, self.done.share = self.schedule.step, self.schedule.progress
        self.done.pairs += self.options.batch * self.group.world
        self.average.update(self.network, step=self.done.step, bad=bad)
        return loss, metrics

    def _check_skipped(self) -> None:
        skipped = int(self.skipped)
        if skipped > _MAX_SKIPPED:
            raise TrainingError(
                f"the gradients were not finite in {skipped} steps running (step"
                f" {self.done.step}); lower --learning-rate or start from other weights"
            )

    def _validate(self, journal: Journal) -> None:
        """Score the averaged weights, and keep them as `best.safetensors` where they are."""
        self._validation_due = False
        if not self.validator.scenes:
            return
        with journal.paused(), self.schedule.paused():
            network = self.average.network(self.network)
            # Batch statistics differ a little between processes; the first one's are what is kept.
            self.group.share(network.state_dict().values())
            figures = self.validator(network)
            if self.done.best_of not in (None, self.validator.set_sha256):
                self.done.best = None  # of other scenes, which does not compare
            self.done.best_of = self.validator.set_sha256
            if self.done.best is None or figures["figure"] < self.done.best:
                self.done.best = figures["figure"]
                if self.group.rank == 0:
                    save_weights(network, self.options.output / "best.safetensors", half=True)
            journal.validation(figures)

    def _save(self, journal: Journal) -> None:
        self.done.seconds = journal.seconds
        with journal.paused(), self.schedule.paused():
            if self.group.rank == 0:
                # First, as it refuses weights that are not finite: the last checkpoint then stays.
                network = self.average.network(self.network)
                save_state(
                    self.state_path,
                    model=self.network,
                    optimizers=self.optimizers,
                    average=self.average,
                    progress=self.done,
                    identity=self.identity,
                )
                save_weights(network, self.options.output / "weights.safetensors", half=True)
        self.saved = time.monotonic()


def _long(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.1f} minutes" if minutes < 60 else f"{minutes / 60:.1f} hours"


def channels_last(network: nn.Module) -> None:
    """Lay the 2-D filters out for channels-last kernels; `Module.to` would refuse the 3-D ones.

    Args:
        network: on its device.
    """
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _optimizers(network: nn.Module, options: TrainOptions) -> list[torch.optim.Optimizer]:
    """Muon for matrices and AdamW for the rest, or AdamW alone.

    Weights are decayed, but not biases, norms and layer scales.
    """
    rate, decay = options.peak_learning_rate, options.weight_decay
    parameters = [p for p in network.parameters() if p.requires_grad]
    muon = options.optimizer == "muon"
    matrices = [p for p in parameters if muon and is_matrix(p)]
    rest = [p for p in parameters if not (muon and is_matrix(p))]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=rate, fused=parameters[0].is_cuda)
    return [Muon(matrices, lr=rate, weight_decay=decay), adamw] if matrices else [adamw]
