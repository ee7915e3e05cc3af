"""The two drawings of the page, as SVG in the page: strips of samples, and points with names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Point", "Strip", "bars", "scatter", "strips"]

_WIDTH = 960
_LABEL = 250
_ROW = 44
_TICKS = 240  # samples drawn one by one, evenly picked; the percentiles are of all of them
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f")


@dataclass(frozen=True, slots=True)
class Strip:
    """One row: samples and their percentiles, in milliseconds; None is not known.

    Attributes:
        label: of the row.
        samples_ms: every sample.
        p50_ms: their median.
        p99_ms: their 99th percentile.
    """

    label: str
    samples_ms: Sequence[float]
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Point:
    """One point with its name.

    Attributes:
        label: its name.
        x: above 0, as the axis is logarithmic.
        y: 0 or more.
    """

    label: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class _LogAxis:
    """Maps positive values to x coordinates."""

    low: float
    high: float
    left: float = _LABEL + 10
    right: float = _WIDTH - 20

    @classmethod
    def over(cls, values: Sequence[float]) -> _LogAxis:
        """Return an axis on which all positive values have a place, with a margin."""
        known = [value for value in values if value > 0] or [1.0]
        return cls(min(known) / 1.15, max(known) * 1.15)

    def __call__(self, value: float) -> float:
        part = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return self.left + part * (self.right - self.left)

    def ticks(self) -> list[float]:
        """Return 1, 2 and 5 of each decade within; more where that leaves fewer than two."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1, 2, 5), range(1, 10), [n / 10 for n in range(10, 100)]):
            found = [
                m * 10.0**d for d in decades for m in steps if self.low < m * 10.0**d < self.high
            ]
            if len(found) >= 2:
                return found
        return found

    def drawn(self, height: float, *, unit: str) -> str:
        """Return lines and numbers."""
        lines = "".join(
            f'<line class="grid" x1="{self(value):.1f}" x2="{self(value):.1f}" y1="0" '
            f'y2="{height:.0f}"/><text class="tick" x="{self(value):.1f}" y="{height + 16:.0f}">'
            f"{value:g}</text>"
            for value in self.ticks()
        )
        middle = (self.left + self.right) / 2
        return f'{lines}<text class="tick" x="{middle:.0f}" y="{height + 34:.0f}">{unit}</text>'


def strips(rows: Sequence[Strip], *, unit: str = "ms, logarithmic") -> str:
    """Return a row of ticks for each subject: samples thin, p50 thick, a bar to p99.

    Args:
        rows: from top to bottom.
        unit: words at the axis.
    """
    axis = _LogAxis.over([value for row in rows for value in (*row.samples_ms, row.p99_ms or 0)])
    height = _ROW * len(rows)
    drawn = "".join(_strip(row, axis, index) for index, row in enumerate(rows))
    return _svg(axis.drawn(height, unit=unit) + drawn, height + 40)


def scatter(points: Sequence[Point], *, x_unit: str, y_unit: str, height: int = 320) -> str:
    """Return points over a logarithmic x and a linear y that begins at 0.

    Args:
        points: what is drawn.
        x_unit: words at the axis below.
        y_unit: words at the axis on the left.
        height: of the drawing, pixels.
    """
    axis = _LogAxis.over([point.x for point in points])
    top = 1.1 * max([point.y for point in points if math.isfinite(point.y)] or [1.0]) or 1.0
    marks = [axis.drawn(height, unit=x_unit)]
    for step in range(6):
        y = height - step / 5 * height
        marks.append(
            f'<line class="grid" x1="{axis.left}" x2="{axis.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="side" x="{axis.left - 8}" y="{y + 4:.1f}">{step / 5 * top:.3g}</text>'
        )
    marks.append(f'<text class="label" x="0" y="14">{escape(y_unit)}</text>')
    for index, point in enumerate(points):
        x, y = axis(point.x), height - point.y / top * height
        near_end = x > (axis.left + axis.right) / 2
        side = f'x="{x - 10:.1f}" text-anchor="end"' if near_end else f'x="{x + 10:.1f}"'
        marks.append(
            f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{_color(index)}">'
            f"<title>{escape(point.label)}: {point.x:.3g}, {point.y:.3g}</title></circle>"
            f'<text class="label" {side} y="{y - 8:.1f}">{escape(point.label)}</text>'
        )
    return _svg("".join(marks), height + 40, top=-12)


def bars(rows: Sequence[tuple[str, float]], *, unit: str) -> str:
    """Return a bar for each row, its value beside it.

    Args:
        rows: label and value, from top to bottom.
        unit: what follows each value.
    """
    longest = max(value for _, value in rows) or 1.0
    room = _WIDTH - _LABEL - 100
    drawn = "".join(
        f'<text class="label" x="0" y="{22 * index + 15}">{escape(_short(label))}'
        f"<title>{escape(label)}</title></text>"
        f'<rect class="bar" x="{_LABEL + 10}" y="{22 * index + 2}" height="16" '
        f'width="{max(1.0, value / longest * room):.1f}"/>'
        f'<text class="label" x="{_LABEL + value / longest * room + 18:.1f}" y="{22 * index + 15}">'
        f"{value:.3g} {unit}</text>"
        for index, (label, value) in enumerate(rows)
    )
    return _svg(drawn, 22 * len(rows))


def _strip(row: Strip, axis: _LogAxis, index: int) -> str:
    y, color = index * _ROW + 6, _color(index)
    step = max(1, len(row.samples_ms) // _TICKS)
    ticks = "".join(f"M{axis(value):.1f} {y + 4}v24" for value in sorted(row.samples_ms)[::step])
    parts = [
        f'<text class="label" x="0" y="{y + 20}">{escape(_short(row.label))}'
        f"<title>{escape(row.label)}</title></text>",
        f'<path class="samples" d="{ticks}" stroke="{color}"/>',
    ]
    if row.p50_ms is not None:
        x = axis(row.p50_ms)
        if row.p99_ms is not None:
            width = max(0.0, axis(row.p99_ms) - x)
            parts.append(
                f'<rect class="tail" x="{x:.1f}" y="{y + 13}" width="{width:.1f}" height="6" '
                f'fill="{color}"><title>p99 {row.p99_ms:.4g} ms</title></rect>'
            )
        parts.append(
            f'<rect class="median" x="{x - 2:.1f}" y="{y}" width="4" height="32" fill="{color}">'
            f"<title>p50 {row.p50_ms:.4g} ms</title></rect>"
        )
    return "".join(parts)


def _svg(content: str, height: float, *, top: float = 0) -> str:
    return (
        f'<svg viewBox="0 {top:.0f} {_WIDTH} {height - top:.0f}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg">{content}</svg>'
    )


def _short(label: str) -> str:
    return label if len(label) <= 34 else f"{label[:16]}…{label[-17:]}"


def _color(index: int) -> str:
    return COLORS[index % len(COLORS)]
