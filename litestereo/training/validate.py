"""Scoring a run's weights on data sets in between, by what `stereo-eval` itself uses."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from litestereo.benchmarks.datasets import Found, find_scenes
from litestereo.benchmarks.evaluate import evaluate
from litestereo.benchmarks.matchers import TorchMatcher
from litestereo.benchmarks.report import Group as Scores
from litestereo.benchmarks.report import group_results
from litestereo.errors import TrainingError
from litestereo.training.group import Group
from litestereo.training.options import TrainOptions

if TYPE_CHECKING:
    from litestereo.models.las import StereoNetwork

__all__ = ["Validator"]

_METRICS = ("epe", "bad_2", "d1")


class Validator:
    """Scores networks on the folders of `validate`; the processes of a run share the scenes."""

    def __init__(self, options: TrainOptions, group: Group) -> None:
        """Find the scenes; none are scored where no folder is given.

        Args:
            options: of the run.
            group: the processes that train together.

        Raises:
            InputError: a folder holds no scene.
        """
        self.scenes = find_scenes(*options.validate).scenes if options.validate else ()
        self._group = group
        self._interval_s = 60 * options.validate_minutes
        self._last = time.monotonic()

    def start(self) -> None:
        """Let the first interval begin."""
        self._last = time.monotonic()

    def due(self) -> bool:
        """Tell whether an interval has gone by."""
        return bool(self.scenes) and time.monotonic() - self._last >= self._interval_s

    def __call__(self, network: StereoNetwork) -> dict[str, float]:
        """Return EPE (px), bad-2 and D1 (%) of each family of sets, and the deciding figure.

        The figure, under "figure", is the mean over families of bad-2: each family counts alike,
        however many scenes it has.

        Args:
            network: in evaluation mode.

        Raises:
            TrainingError: no scene could be scored.
        """
        mine = self.scenes[self._group.rank :: self._group.world]
        # Each size of picture would else be tried with all kernels anew.
        tuning, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
        try:
            report = evaluate(TorchMatcher(network), Found(mine, ()))
        finally:
            torch.backends.cudnn.benchmark = tuning
        results = sorted(self._group.gather(report.scenes), key=lambda scene: scene.key)
        figures = _figures(group_results(results))
        if not figures:
            raise TrainingError(
                "no scene of --validate has ground truth that can be scored; "
                "give a data set with truth"
            )
        bad_2 = [value for name, value in figures.items() if name.endswith("_bad_2")]
        self._last = time.monotonic()
        return {**figures, "figure": round(sum(bad_2) / len(bad_2), 3)}


def _figures(groups: tuple[Scores, ...]) -> dict[str, float]:
    """Return the means over scenes of the families, and of the sets that have no family."""
    families = [group.name for group in groups if group.kind == "family"]
    figures = {}
    for group in groups:
        if group.kind == "set" and any(group.name.startswith(name) for name in families):
            continue
        mean = group.regions["all"].mean
        for metric in _METRICS:
            value = None if mean is None else getattr(mean, metric)
            if value is not None:
                figures[f"{group.name}_{metric}"] = round(value, 3)
    return figures
