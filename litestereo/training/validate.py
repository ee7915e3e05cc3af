"""Scoring a run's weights on data sets in between, by what `stereo-eval` itself uses."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from litestereo.benchmarks.datasets import Found
from litestereo.benchmarks.evaluate import evaluate
from litestereo.benchmarks.matchers import TorchMatcher
from litestereo.benchmarks.report import Group as Scores
from litestereo.benchmarks.report import group_results
from litestereo.errors import TrainingError
from litestereo.training.group import Group
from litestereo.training.options import TrainOptions
from litestereo.training.pairs import sound_scenes

if TYPE_CHECKING:
    from litestereo.models.las import StereoNetwork

__all__ = ["Validator", "exact_float32"]

_METRICS = ("epe", "bad_2", "d1")


@contextmanager
def exact_float32() -> Iterator[None]:
    """Let float32 mean float32 on a GPU inside, as `stereo-eval` has it: training allows TF32.

    Kernels are not tuned inside either: each size of picture would be tried with all of them.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    matmul.allow_tf32 = cudnn.allow_tf32 = cudnn.benchmark = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


class Validator:
    """Scores networks on the folders of `validate`; the processes of a run share the scenes.

    Attributes:
        scenes: sorted by set and name.
        set_sha256: of the scenes' names; figures compare where it is the same.
    """

    def __init__(self, options: TrainOptions, group: Group) -> None:
        """Find the scenes; none are scored where no folder is given.

        Args:
            options: of the run.
            group: the processes that train together.

        Raises:
            InputError: a folder holds no scene.
            TrainingError: a scene does not say what its files are.
        """
        self.scenes = sound_scenes(*options.validate)
        keys = "\n".join(scene.key for scene in self.scenes)
        self.set_sha256 = hashlib.sha256(keys.encode()).hexdigest()
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
            TrainingError: a scene cannot be read, or none has ground truth.
        """
        mine = self.scenes[self._group.rank :: self._group.world]
        with exact_float32():
            report = evaluate(TorchMatcher(network), Found(mine, ()))
        broken = self._group.gather(report.broken)
        if broken:
            raise TrainingError(
                f"{len(broken)} scenes of --validate cannot be scored ({broken[0].name}: "
                f"{broken[0].problem}), and figures over other scenes would not compare; mend or "
                "remove them, and call again to go on"
            )
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
