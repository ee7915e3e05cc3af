"""The sensitivity curve on disk: JSON, and a drawing that needs nothing to be seen."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from litestereo.calibration.sensitivity import Scored, Sensitivity
from litestereo.errors import InputError
from litestereo.runtime.files import write_atomic

__all__ = ["curve_svg", "rename_curve", "write_curve"]

_WIDTH, _ROW, _LABEL, _TOP = 960, 16, 250, 60
_CHOSEN, _KEPT, _LIMIT = "#0072b2", "#b0b0b0", "#d55e00"
_SMALLEST = 1e-3


def write_curve(curve: Sensitivity, artifact: Path) -> Path:
    """Write `NAME_sensitivity.json` and `.svg` beside an artefact `NAME.onnx`; return the first.

    Args:
        curve: of every block, and of the sets that were tried.
        artifact: where the artefact is, or will be.

    Raises:
        InputError: the place cannot be written.
    """
    path = artifact.with_name(f"{artifact.stem}_sensitivity.json")
    write_atomic(path.with_suffix(".svg"), curve_svg(curve).encode())
    return write_atomic(path, (json.dumps(curve.to_json(), indent=1) + "\n").encode())


def rename_curve(artifact: Path, to: Path) -> Path:
    """Let the curve of one artefact's name be that of another's; return the first of its files.

    Args:
        artifact: the name that it was written for.
        to: the other; a curve that it has is replaced.

    Raises:
        InputError: the files cannot be renamed.
    """
    old, new = (one.with_name(f"{one.stem}_sensitivity.json") for one in (artifact, to))
    try:
        old.with_suffix(".svg").replace(new.with_suffix(".svg"))
        return old.replace(new)
    except OSError as error:
        raise InputError(
            f"cannot rename {old} to {new}: {error.strerror or error}; both are of {to}"
        ) from error


def curve_svg(curve: Sensitivity) -> str:
    """Return the drawing: what of the budget each block uses alone, and the sets that were tried.

    Bars are of blocks alone, those that were taken in blue; the line is the budget. The axis is
    logarithmic and ends at the largest bar.

    Args:
        curve: of every block, and of the sets that were tried.
    """
    largest = max([2.0, *(_finite(one.budget_used) for one in (*curve.alone, *curve.steps))])
    rows = [_bar(one, row, largest, curve.chosen) for row, one in enumerate(curve.alone)]
    bottom = _TOP + _ROW * len(curve.alone)
    sets = [_set(one, bottom + 30 + _ROW * row, largest) for row, one in enumerate(curve.steps)]
    height = bottom + 50 + _ROW * len(curve.steps)
    limit = _x(1.0, largest)
    head = (
        f"{len(curve.chosen)} of {len(curve.alone)} blocks in 8 bits, "
        f"{curve.cost_share:.0%} of their multiply-adds; limits: "
        + ", ".join(f"{name} {value:.3g}" for name, value in curve.limits.items())
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            'font-family="sans-serif" font-size="11">',
            f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
            _text(10, 20, head),
            _text(10, 42, "each block alone: share of the budget that it uses (log scale)"),
            *_ticks(largest, bottom),
            *rows,
            _text(10, bottom + 18, "sets of blocks that were tried"),
            *sets,
            f'<line x1="{limit:.1f}" x2="{limit:.1f}" y1="50" y2="{height - 15}" '
            f'stroke="{_LIMIT}" stroke-dasharray="4 3"/>',
            "</svg>\n",
        ]
    )


def _bar(one: Scored, row: int, largest: float, chosen: Sequence[str]) -> str:
    color = _CHOSEN if one.added in chosen else _KEPT
    label = f"{one.added} ({one.cost_share:.1%})"
    return _drawn(label, one.budget_used, _TOP + _ROW * row, largest, color)


def _set(one: Scored, y: float, largest: float) -> str:
    color = _CHOSEN if one.budget_used <= 1 else _KEPT
    label = f"{one.blocks} blocks ({one.cost_share:.1%})"
    return _drawn(label, one.budget_used, y, largest, color)


def _drawn(label: str, used: float, y: float, largest: float, color: str) -> str:
    width = max(1.0, _x(used, largest) - _LABEL)
    return (
        _text(_LABEL - 8, y + _ROW - 5, label, anchor="end")
        + f'<rect x="{_LABEL}" y="{y + 2:.1f}" width="{width:.1f}" height="{_ROW - 4}" '
        f'fill="{color}"/>' + _text(_LABEL + width + 4, y + _ROW - 5, f"{used:.2g}")
    )


def _ticks(largest: float, bottom: float) -> list[str]:
    first, last = round(math.log10(_SMALLEST)), math.floor(math.log10(largest))
    drawn = []
    for exponent in range(first, last + 1):
        x = _x(10.0**exponent, largest)
        drawn.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{bottom}" stroke="#e4e4e4"/>'
            + _text(x, _TOP - 8, f"{10.0**exponent:g}", anchor="middle")
        )
    return drawn


def _x(value: float, largest: float) -> float:
    span = math.log(largest / _SMALLEST)
    part = math.log(max(_finite(value), _SMALLEST) / _SMALLEST) / span
    return _LABEL + min(part, 1.0) * (_WIDTH - _LABEL - 60)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _text(x: float, y: float, words: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
