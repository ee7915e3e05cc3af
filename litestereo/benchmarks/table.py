"""Plain-text tables for the terminal: the one style of the measuring commands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from litestereo.benchmarks.metrics import RegionMetrics
from litestereo.benchmarks.report import REGIONS, EvaluationReport, Group, SceneResult

__all__ = ["evaluation_table", "format_table"]

_GAP = "  "


@dataclass(frozen=True, slots=True)
class _Column:
    """One metric: its heading, its region, its name and how many digits say something."""

    title: str
    region: str
    metric: str
    digits: int = 2


# In the order in which they are given up on a narrow terminal, the last one first.
_COLUMNS = (
    _Column("EPE", "all", "epe"),
    _Column("bad-1", "all", "bad_1"),
    _Column("bad-2", "all", "bad_2"),
    _Column("bad-3", "all", "bad_3"),
    _Column("D1", "all", "d1"),
    _Column("noc EPE", "noc", "epe"),
    _Column("noc b-2", "noc", "bad_2"),
    _Column("noc D1", "noc", "d1"),
    _Column("dens", "all", "density", 1),
    _Column("bad-.5", "all", "bad_0_5"),
    _Column("RMS", "all", "rms"),
    _Column("median", "all", "median"),
    _Column("A90", "all", "a90"),
    _Column("A99", "all", "a99"),
)


def evaluation_table(report: EvaluationReport, *, width: int | None = None) -> str:
    """Return the report as a table: every scene, then its set, then families of sets.

    Args:
        report: of `evaluate`.
        width: of the terminal, characters; None shows every column.
    """
    with_ause = any(scene.confidence for scene in report.scenes)
    headings = ["px, %", *(column.title for column in _COLUMNS)]
    if with_ause:
        headings += ["AUSE", "random"]
    rows = list(_rows(report, with_ause=with_ause))
    if rows and not rows[-1]:
        rows.pop()  # no family follows the last set
    return format_table(headings, rows, width=width)


def format_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None
) -> str:
    """Return lines of aligned columns, the first to the left and the rest to the right.

    Args:
        headings: of the columns.
        rows: of as many cells each; an empty row becomes a line.
        width: columns that end beyond it are left out, except the first two; None keeps all.
    """
    lines = [headings, *(row for row in rows if row)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(headings))]
    shown = _columns_within(widths, width)
    ruler = "-" * (sum(widths[:shown]) + len(_GAP) * (shown - 1))
    text = [_line(headings, widths, shown), ruler]
    text += [_line(row, widths, shown) if row else ruler for row in rows]
    return "\n".join(text)


def _rows(report: EvaluationReport, *, with_ause: bool) -> Iterator[list[str]]:
    """Yield the cells of every row, an empty one between sets."""
    for set_name, scenes in groupby(report.scenes, key=lambda scene: scene.set):
        for scene in scenes:
            yield _scene_row(scene, with_ause=with_ause)
        yield from _group_rows(report.group(set_name), with_ause=with_ause)
        yield []
    for group in report.groups:
        if group.kind == "family":
            yield from _group_rows(group, with_ause=with_ause)


def _scene_row(scene: SceneResult, *, with_ause: bool) -> list[str]:
    cells = [_cell(scene.regions[column.region], column) for column in _COLUMNS]
    if with_ause:
        curves = scene.confidence
        cells += [f"{curves.ause:.3f}", f"{curves.ause_random:.3f}"] if curves else ["-", "-"]
    return [scene.key, *cells]


def _group_rows(group: Group, *, with_ause: bool) -> Iterator[list[str]]:
    """Yield the mean over scenes, and over pixels where the benchmark publishes that."""
    for rule in dict.fromkeys(("mean", group.rule)):
        parts = {name: getattr(region, rule) for name, region in group.regions.items()}
        cells = [_cell(parts[column.region], column) for column in _COLUMNS]
        if with_ause and rule == "mean" and group.ause is not None:
            cells += [f"{group.ause:.3f}", f"{group.ause_random:.3f}"]
        elif with_ause:
            cells += ["-", "-"]
        yield [_group_label(group, rule), *cells]


def _group_label(group: Group, rule: str) -> str:
    """Say what is averaged over how many scenes; not all of them may have a mask."""
    scenes, masked = (group.regions[name].scenes for name in REGIONS)
    label = f"{group.name} {rule} of {scenes}"
    return f"{label} (noc: {masked})" if 0 < masked < scenes else label


def _cell(metrics: RegionMetrics | None, column: _Column) -> str:
    value = None if metrics is None else getattr(metrics, column.metric)
    return "-" if value is None else f"{value:.{column.digits}f}"


def _columns_within(widths: Sequence[int], limit: int | None) -> int:
    """Return how many columns end within `limit` characters, at least two."""
    end, shown = -len(_GAP), 0
    for width in widths:
        end += width + len(_GAP)
        if limit is not None and end > limit and shown >= 2:
            break
        shown += 1
    return shown


def _line(cells: Sequence[str], widths: Sequence[int], shown: int) -> str:
    rest = (cell.rjust(width) for cell, width in zip(cells[1:shown], widths[1:shown], strict=True))
    return _GAP.join([cells[0].ljust(widths[0]), *rest]).rstrip()
