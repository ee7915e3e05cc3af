"""Read an evaluation report back, refusing what does not have its exact form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from litestereo.benchmarks.envelope import check_header, decode, read_json
from litestereo.benchmarks.metrics import RegionMetrics
from litestereo.benchmarks.report import (
    REGIONS,
    SCHEMA,
    SCHEMA_VERSION,
    EvaluationReport,
    Group,
    SceneResult,
)
from litestereo.errors import InputError

__all__ = ["read_report", "report_from_json"]


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
        InputError: a field is missing, unknown, not of its kind or out of its range.
    """
    check_header(content, SCHEMA, SCHEMA_VERSION, command="stereo-eval")
    body = {name: value for name, value in content.items() if not name.startswith("schema")}
    report = decode(EvaluationReport, body, where="report")
    parts: list[SceneResult | Group] = [*report.scenes, *report.groups]
    for part in parts:
        if set(part.regions) != set(REGIONS):
            raise InputError(
                f"{part.name} has the regions {', '.join(part.regions) or 'none'}; need "
                f"{' and '.join(REGIONS)}: write the report again with stereo-eval"
            )
    for metrics in _metrics(report):
        _check_range(metrics)
    return report


def _metrics(report: EvaluationReport) -> Iterator[RegionMetrics]:
    """Yield every region's figures that there are."""
    found = [scene.regions[name] for scene in report.scenes for name in REGIONS]
    for group in report.groups:
        for region in group.regions.values():
            found += [region.mean, region.pooled]
    return (metrics for metrics in found if metrics is not None)


def _check_range(metrics: RegionMetrics) -> None:
    for name, value in asdict(metrics).items():
        share = name in ("density", "d1") or name.startswith("bad_")
        limit = 100.0 if share else float("inf")
        if value is not None and not 0 <= value <= limit:
            raise InputError(f"metric {name} is {value!r}; need a number from 0 to {limit:g}")
