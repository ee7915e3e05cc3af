"""How far a run is, and the learning rate there."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from litestereo.training.options import TrainOptions

__all__ = ["Schedule", "learning_rate"]

# Ranks of one run agree about the clock each so many steps.
_AGREE_EVERY = 10
# Of a sitting, for the last checkpoint and the last validation.
_RESERVE = 0.02


def learning_rate(options: TrainOptions, *, progress: float) -> float:
    """Return the one-cycle rate (Smith & Topin 2018): linear up, cosine down to a hundredth.

    Args:
        options: of the run.
        progress: from 0, the start of the schedule, to 1, its end.
    """
    if progress < options.warm_up:
        return options.peak_learning_rate * (0.04 + 0.96 * progress / options.warm_up)
    along = min(1.0, (progress - options.warm_up) / max(1e-9, 1 - options.warm_up))
    return options.peak_learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along)))


class Schedule:
    """Progress from 0 to 1: by steps, or by the clock where the schedule fits the sitting.

    By the clock no pace needs to be known, and a resumed run spreads what is left of the schedule
    over its own sitting. Time starts to count with the second step: the first one compiles. Pauses,
    as for a validation, do not move it either: what is left then goes by faster.
    """

    def __init__(self, options: TrainOptions, *, step: int = 0, progress: float = 0.0) -> None:
        """Begin, or go on at `step` and `progress`.

        Args:
            options: of the run.
            step: steps made so far.
            progress: share of the schedule that is over, 0 to 1.
        """
        self.options, self.step = options, step
        self.progress = progress if options.fit_schedule else step / options.steps
        self.begun = time.monotonic()
        self._base = self.progress
        self._steady: float | None = None

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return learning_rate(self.options, progress=self.progress)

    @property
    def asks_the_clock(self) -> bool:
        """Whether ranks have to agree before the next step."""
        return self.step % _AGREE_EVERY == 0

    def advance(self) -> None:
        """Count a step."""
        self.step += 1
        self._steady = self._steady or time.monotonic()
        if not self.options.fit_schedule:
            self.progress = self.step / self.options.steps

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let no progress be made inside; the sitting still ends when it would have ended."""
        self._base = self.clock()[0]
        try:
            yield
        finally:
            if self._steady is not None:
                self._steady = time.monotonic()

    def clock(self) -> tuple[float, bool]:
        """Return the progress by this process's clock, and whether the sitting is over."""
        if self.options.minutes is None:
            return self.progress, False
        now, end = time.monotonic(), self.begun + 60 * self.options.minutes
        if not self.options.fit_schedule:
            return self.progress, now >= end
        if self._steady is None:
            return self.progress, False
        span = max(1e-3, end - self._steady - 60 * self.options.minutes * _RESERVE)
        progress = min(1.0, self._base + (1 - self._base) * (now - self._steady) / span)
        return progress, progress >= 1
