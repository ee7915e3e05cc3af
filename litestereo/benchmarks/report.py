"""The outcome of an evaluation: per scene, per set, and as JSON.

Sets are summarised twice, because benchmarks differ: "mean" weighs scenes (Middlebury, ETH3D,
KITTI 2012's `statMean`), "pooled" weighs pixels (KITTI 2015's `statWeightedMean`). `rule` says
which of the two the set's own benchmark publishes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from litestereo._version import __version__
from litestereo.benchmarks.datasets import BrokenScene
from litestereo.benchmarks.envelope import header
from litestereo.benchmarks.metrics import (
    Holes,
    MetricOptions,
    RegionMetrics,
    mean_metrics,
    pooled_metrics,
)
from litestereo.benchmarks.sparsification import Sparsification

__all__ = [
    "REGIONS",
    "SCHEMA",
    "SCHEMA_VERSION",
    "EvaluationReport",
    "Group",
    "GroupRegion",
    "SceneResult",
    "family_of",
    "group_results",
]

SCHEMA = "litestereo.evaluation"
SCHEMA_VERSION = 1
REGIONS = ("all", "noc")
Rule = Literal["mean", "pooled"]

# MiddEval3 counts the training pairs that are hardest for everybody at half weight. So does this,
# of any size; but the leaderboard scores all answers at full size, which makes F alone comparable.
_HALF_WEIGHT = frozenset({"PianoL", "Playroom", "Playtable", "Shelves", "Vintage"})


@dataclass(frozen=True, slots=True)
class SceneResult:
    """One scene's scores.

    Attributes:
        set: name of its data set.
        name: name in the set.
        height: of the pictures.
        width: of the pictures.
        regions: metrics over "all" ground-truth pixels and the non-occluded ("noc"); None where
            nothing is known: no ground truth, or no mask.
        confidence: how well the confidence sorts the errors; None if not asked for or not given.
    """

    set: str
    name: str
    height: int
    width: int
    regions: dict[str, RegionMetrics | None]
    confidence: Sparsification | None = None

    @property
    def key(self) -> str:
        """Set and name."""
        return f"{self.set}/{self.name}"


@dataclass(frozen=True, slots=True)
class GroupRegion:
    """A region over several scenes.

    Attributes:
        scenes: scenes that have the region; fewer have masks than ground truth.
        mean: every scene weighs the same (in MiddEval3: the hardest, half).
        pooled: every pixel weighs the same; without quantiles.
    """

    scenes: int
    mean: RegionMetrics | None
    pooled: RegionMetrics | None


@dataclass(frozen=True, slots=True)
class Group:
    """A data set, or a family of sets ("middlebury": all years together).

    Attributes:
        name: of the set or family.
        kind: which of the two.
        rule: what the benchmark itself publishes; "mean" for families.
        regions: by name, as in `SceneResult`.
        ause: mean over scenes of the area between the sparsification curves; None without.
        ause_random: the same for removal at random.
    """

    name: str
    kind: Literal["set", "family"]
    rule: Rule
    regions: dict[str, GroupRegion]
    ause: float | None = None
    ause_random: float | None = None

    def metric(self, name: str, *, region: str = "all") -> float | None:
        """Return a metric by the group's own rule; None if nothing was measured.

        Args:
            name: of the metric, such as "epe".
            region: "all", or "noc" for what both eyes see.
        """
        metrics = getattr(self.regions[region], self.rule)
        return None if metrics is None else getattr(metrics, name)


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """Everything that `stereo-eval` says.

    Attributes:
        matcher: what was scored.
        options: how holes were treated.
        scenes: sorted by set and name.
        groups: sets first, then families of several sets.
        broken: scenes that could not be scored, and why.
        litestereo_version: what measured.
        artifact_sha256: of the file with the weights; None where there is none, and in reports of
            earlier versions.
        scale: inference size over picture size; None in reports of earlier versions.
    """

    matcher: str
    options: MetricOptions
    scenes: tuple[SceneResult, ...]
    groups: tuple[Group, ...]
    broken: tuple[BrokenScene, ...]
    litestereo_version: str = __version__
    artifact_sha256: str | None = None
    scale: float | None = None

    def group(self, name: str) -> Group:
        """Return the set or family called `name`.

        Args:
            name: of a set or family.

        Raises:
            KeyError: no scene of it was scored.
        """
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """Return what `json.dumps` takes; `report_io.report_from_json` reads and checks it.

        The form follows the dataclasses, field for field: `options` (MetricOptions), `groups`
        (Group: `regions.all|noc.mean|pooled` are RegionMetrics), `scenes` (SceneResult),
        `broken` (BrokenScene). Percentages run 0..100, errors are in pixels, null is unknown.
        """
        return {
            **header(SCHEMA, SCHEMA_VERSION),
            "litestereo_version": self.litestereo_version,
            "matcher": self.matcher,
            "artifact_sha256": self.artifact_sha256,
            "scale": self.scale,
            "options": asdict(self.options),
            "groups": [asdict(group) for group in self.groups],
            "scenes": [asdict(scene) for scene in self.scenes],
            "broken": [asdict(scene) for scene in self.broken],
        }


def group_results(scenes: Iterable[SceneResult], *, holes: Holes = "fill") -> tuple[Group, ...]:
    """Summarise sets, then families that have more than one set.

    Args:
        scenes: what was scored.
        holes: how pixels without an answer were treated.
    """
    results = list(scenes)
    sets = sorted({scene.set for scene in results})
    groups = [
        _group(name, "set", [scene for scene in results if scene.set == name], holes)
        for name in sets
    ]
    for family in sorted({family_of(name) for name in sets}):
        members = [name for name in sets if family_of(name) == family]
        if len(members) > 1:
            of_family = [scene for scene in results if scene.set in members]
            groups.append(_group(family, "family", of_family, holes))
    return tuple(groups)


def _group(
    name: str, kind: Literal["set", "family"], scenes: list[SceneResult], holes: Holes
) -> Group:
    rule: Rule = "pooled" if name == "kitti2015" else "mean"
    regions = {region: _region(scenes, region, holes) for region in REGIONS}
    return Group(
        name,
        kind,
        rule,
        regions,
        ause=_mean_of(scenes, lambda curves: curves.ause),
        ause_random=_mean_of(scenes, lambda curves: curves.ause_random),
    )


def _region(scenes: list[SceneResult], region: str, holes: Holes) -> GroupRegion:
    scored = [
        (scene, metrics)
        for scene in scenes
        if (metrics := scene.regions[region]) is not None and metrics.pixels
    ]
    parts = [metrics for _, metrics in scored]
    weights = [_weight(scene) for scene, _ in scored]
    return GroupRegion(
        len(parts), mean_metrics(parts, weights=weights), pooled_metrics(parts, holes=holes)
    )


def _weight(scene: SceneResult) -> float:
    return 0.5 if scene.set.startswith("middeval3") and scene.name in _HALF_WEIGHT else 1.0


def family_of(set_name: str) -> str:
    """Return a set's name without its year, size or rendering pass.

    Args:
        set_name: such as "kitti2015".
    """
    return re.match("[a-z]*", set_name.lower())[0] or set_name  # type: ignore[index]


def _mean_of(scenes: list[SceneResult], value: Callable[[Sparsification], float]) -> float | None:
    values = [value(scene.confidence) for scene in scenes if scene.confidence is not None]
    return sum(values) / len(values) if values else None
