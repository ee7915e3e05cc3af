"""What a run writes down: log.jsonl, TensorBoard, and the record that is kept of it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from litestereo._version import __version__
from litestereo.benchmarks.latency.environment import Environment, read_environment
from litestereo.errors import TrainingError
from litestereo.runtime.files import write_atomic
from litestereo.runtime.reading import json_from, read_file
from litestereo.training.group import Group
from litestereo.training.options import TrainOptions
from litestereo.training.state import Progress

__all__ = ["Journal"]

_SILENCE_S = 15.0
# A line is some 200 bytes: over 10^6 of them, ten of the longest runs.
_LOG_MOST_BYTES = 256 * 2**20


class Journal:
    """The written side of one process's sitting; only the first process writes."""

    def __init__(
        self,
        options: TrainOptions,
        group: Group,
        done: Progress,
        *,
        watch: Callable[[dict[str, Any]], None],
    ) -> None:
        """Go on with the log of a resumed run, without the lines after its last checkpoint.

        Args:
            options: of the run.
            group: the processes that train together.
            done: what the run has done, kept up to date by it.
            watch: is told each line that is written.
        """
        self._options, self._group, self._done, self._watch = options, group, done, watch
        self._log = options.output / "log.jsonl"
        self.lines = _lines_until(self._log, done.step) if self._log.exists() else []
        self.last: dict[str, Any] = self.lines[-1] if self.lines else {"step": done.step}
        self.first = done.step
        self._mark_step, self._mark = done.step, time.monotonic()
        self._before_s, self._paused_s = done.seconds, 0.0
        self._begun = time.monotonic()
        self._board: Any = None
        if group.rank == 0:
            self._environment = read_environment()
            self._rewrite_log()

    def __enter__(self) -> Journal:
        """Open TensorBoard's file where the package is there."""
        if self._group.rank == 0:
            self._board = _tensorboard(self._options, self._watch)
        return self

    def __exit__(self, *_: object) -> None:
        """Close TensorBoard's file."""
        if self._board is not None:
            self._board.close()

    @property
    def is_silent(self) -> bool:
        """Whether nothing was written for so long that somebody who waits would wonder."""
        return time.monotonic() - self._mark > _SILENCE_S

    @property
    def seconds(self) -> float:
        """Seconds of training so far, over all sittings; pauses are left out."""
        return self._before_s + time.monotonic() - self._begun - self._paused_s

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave what happens inside out of pairs a second and of the training time."""
        begun = time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - begun
            self._paused_s += spent
            self._mark += spent

    def restart_clock(self) -> None:
        """Let the pace count from now: what was before is start-up."""
        self._mark_step, self._mark = self._done.step, time.monotonic()

    def step(self, loss: Tensor, metrics: dict[str, Tensor], *, rate: float) -> None:
        """Write a line about the step that was just made.

        Args:
            loss: a number, on any device.
            metrics: numbers by name; those that are NaN are left out.
            rate: the learning rate.
        """
        value = float(loss.detach())  # waits for the GPU, so the time below is true
        steps, seconds = self._done.step - self._mark_step, time.monotonic() - self._mark
        self._mark_step, self._mark = self._done.step, time.monotonic()
        told = {name: float(metric) for name, metric in metrics.items()}
        line = {
            "step": self._done.step,
            "progress": round(self._done.share, 5),
            "pairs": self._done.pairs,
            "loss": round(value, 4),
            # Without ground truth there is no error, which is not the same as one of 0.
            **{name: round(x, 3) for name, x in told.items() if not math.isnan(x)},
            "learning_rate": rate,
            "minutes": round(self.seconds / 60, 3),
        }
        if steps:
            pairs = steps * self._options.batch * self._group.world
            line["pairs_per_s"] = round(pairs / max(seconds, 1e-9), 1)
        self._write(line)

    def validation(self, figures: dict[str, float]) -> None:
        """Write a line about a validation, and renew the record.

        Args:
            figures: by name.
        """
        self._write({"step": self._done.step, "pairs": self._done.pairs, "validation": figures})
        self.finish()

    def finish(self) -> None:
        """Write `record.json`: all that is worth keeping of the run, its validations included."""
        if self._group.rank:
            return
        steps = [line for line in self.lines if "loss" in line]
        validations = [line for line in self.lines if "validation" in line]
        record = {
            "what": f"{self._options.stage} stage of {self._options.model}",
            "device": _device(self._group, self._environment),
            "torch": torch.__version__,
            "litestereo": __version__,
            "commit": self._environment.commit,
            "options": self._options.to_dict(),
            "pairs": self._done.pairs,
            "steps": self._done.step,
            "progress": round(self._done.share, 4),
            "gpu_minutes": self._gpu_minutes(),
            "came": validations[-1]["validation"] if validations else {},
            "best_figure": self._done.best,
            "validations": validations,
            "log": _thinned(steps),
        }
        text = json.dumps(record, indent=1) + "\n"
        write_atomic(self._options.output / "record.json", text.encode())

    def _gpu_minutes(self) -> float:
        gpus = self._group.world if self._group.device.type == "cuda" else 0
        return round(self.seconds / 60 * gpus, 2)

    def _write(self, line: dict[str, Any]) -> None:
        if self._group.rank:
            return
        self.lines.append(line)
        if "loss" in line:
            self.last = line
        with self._log.open("a") as log:
            log.write(json.dumps(line) + "\n")
        for name, value in {**line, **line.get("validation", {})}.items():
            if self._board is not None and isinstance(value, (int, float)):
                self._board.add_scalar(name, value, line["step"])
        self._watch(line)

    def _rewrite_log(self) -> None:
        """Drop the lines that a kill left after the last checkpoint: their steps are made anew."""
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        write_atomic(self._log, text.encode())


def _lines_until(log: Path, step: int) -> list[dict[str, Any]]:
    """Return the log's lines up to `step`; a kill may have cut the last one short."""
    lines = []
    for line in read_file(log, most_bytes=_LOG_MOST_BYTES, error=TrainingError).splitlines():
        try:
            parsed = json_from(line)
        except ValueError:
            continue
        told = parsed.get("step") if isinstance(parsed, dict) else None
        if isinstance(told, int) and told <= step:
            lines.append(parsed)
    return lines


def _thinned(lines: list[dict[str, Any]], *, most: int = 60) -> list[dict[str, Any]]:
    """Return at most `most` lines, evenly spread, the last one among them."""
    if len(lines) <= most:
        return lines
    return [lines[round(i * (len(lines) - 1) / (most - 1))] for i in range(most)]


def _device(group: Group, environment: Environment) -> str:
    name = (
        torch.cuda.get_device_name(group.device)
        if group.device.type == "cuda"
        else environment.cpu.name
    )
    return f"{group.world} x {name}"


def _tensorboard(options: TrainOptions, watch: Callable[[dict[str, Any]], None]) -> Any:  # noqa: ANN401 - untyped
    """Return a writer, or None, saying so, where the optional package is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        watch({"note": "no TensorBoard: pip install 'litestereo[train]' brings it"})
        return None
    return SummaryWriter(str(options.output / "tensorboard"))
