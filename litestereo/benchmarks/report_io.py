"""Read an evaluation report back, refusing what does not have its exact form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from litestereo.benchmarks.datasets import BrokenScene
from litestereo.benchmarks.envelope import check_header, read_json
from litestereo.benchmarks.metrics import MetricOptions, RegionMetrics
from litestereo.benchmarks.report import (
    REGIONS,
    SCHEMA,
    SCHEMA_VERSION,
    EvaluationReport,
    Group,
    GroupRegion,
    SceneResult,
)
from litestereo.benchmarks.sparsification import Sparsification
from litestereo.errors import InputError

__all__ = ["read_report", "report_from_json"]

_Record = TypeVar("_Record")


def read_report(path: Path) -> EvaluationReport:
    """Return the report that `stereo-eval -o` wrote.

    Args:
        path: the file.

    Raises:
        InputError: the file cannot be read, or is no such report.
    """
    content = read_json(path)
    try:
        return report_from_json(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def report_from_json(content: Mapping[str, Any]) -> EvaluationReport:
    """Return the report of which `EvaluationReport.to_json` made `content`.

    Args:
        content: as `json.loads` gives it.

    Raises:
        InputError: a field is missing, unknown, or not of its kind.
    """
    check_header(content, SCHEMA, SCHEMA_VERSION, command="stereo-eval")
    try:
        return EvaluationReport(
            matcher=str(content["matcher"]),
            options=_record(MetricOptions, content["options"]),
            scenes=tuple(_scene(scene) for scene in content["scenes"]),
            groups=tuple(_group(group) for group in content["groups"]),
            broken=tuple(_record(BrokenScene, scene) for scene in content["broken"]),
            litestereo_version=str(content["litestereo_version"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"report lacks or misplaces a field: {error!r}; write it again with stereo-eval"
        ) from error


def _scene(content: Mapping[str, Any]) -> SceneResult:
    regions = {name: _metrics(content["regions"][name]) for name in REGIONS}
    curves = content["confidence"]
    confidence = None
    if curves is not None:
        lists = {name: tuple(value) for name, value in curves.items() if isinstance(value, list)}
        confidence = _record(Sparsification, {**curves, **lists})
    return _record(SceneResult, {**content, "regions": regions, "confidence": confidence})


def _group(content: Mapping[str, Any]) -> Group:
    regions = {}
    for name in REGIONS:
        region = content["regions"][name]
        parts = {rule: _metrics(region[rule]) for rule in ("mean", "pooled")}
        regions[name] = _record(GroupRegion, {**region, **parts})
    return _record(Group, {**content, "regions": regions})


def _metrics(content: Mapping[str, Any] | None) -> RegionMetrics | None:
    """Return metrics that are numbers in their range; None stays None."""
    if content is None:
        return None
    metrics = _record(RegionMetrics, content)
    for name, value in content.items():
        share = name in ("density", "d1") or name.startswith("bad_")
        limit = 100.0 if share else float("inf")
        if value is not None and not (isinstance(value, (int, float)) and 0 <= value <= limit):
            raise InputError(f"metric {name} is {value!r}; need a number from 0 to {limit:g}")
    return metrics


def _record(kind: type[_Record], content: Mapping[str, Any]) -> _Record:
    """Return a dataclass from exactly its fields."""
    expected = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if set(content) != expected:
        wrong = ", ".join(sorted(set(content) ^ expected))
        raise InputError(
            f"{kind.__name__} has missing or unknown fields: {wrong}; it is of another version or "
            "was edited"
        )
    return kind(**content)
