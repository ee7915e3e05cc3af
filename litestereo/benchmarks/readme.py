"""The tables of a README, written from the committed results.

Between `<!-- table: NAME -->` and `<!-- end -->` goes one table of every file NAME.json and
NAME-*.json among the results: receipts of stereo-bench make a table each, reports of stereo-eval a
row each, rooflines a row for each size. `<!-- table: NAME ratios -->` leaves out milliseconds, for
machines whose own speed says nothing. Where there are no results there is nothing between the
markers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from litestereo.benchmarks.envelope import read_json
from litestereo.benchmarks.latency.page import METRIC_TITLES, headline_metric
from litestereo.benchmarks.latency.receipt import SCHEMA, Receipt, receipt_from_json
from litestereo.benchmarks.latency.statistics import format_ms
from litestereo.benchmarks.latency.tables import HEADINGS, receipt_notes, receipt_rows
from litestereo.benchmarks.report import EvaluationReport, Group, family_of
from litestereo.benchmarks.report_io import report_from_json
from litestereo.benchmarks.roofline import SCHEMA as ROOFLINE_SCHEMA
from litestereo.benchmarks.roofline import Roofline, roofline_from_json
from litestereo.benchmarks.roofline_devices import DEVICES
from litestereo.errors import InputError
from litestereo.runtime.files import write_atomic

__all__ = ["filled", "read_result", "read_results", "update_readme"]

Result = Receipt | EvaluationReport | Roofline

_MARKED = re.compile(
    r"(<!-- table: (?P<name>[\w-]+)(?P<ratios> ratios)? -->\n)(?P<old>.*?)(<!-- end -->)", re.DOTALL
)
_OPENING = re.compile(r"<!-- table:")
_COLUMNS = ("x first", "p50", "p99", "fps", "inference", "compute", "host MiB", "GPU MiB", "W")
_RATIO_COLUMNS = ("x first", "CV %", "host MiB")


def update_readme(readme: Path, *, results: Path, write: bool = True) -> bool:
    """Write the tables between the markers anew; return whether that changes the file.

    Args:
        readme: a Markdown file with markers.
        results: folder of receipts and reports.
        write: False only looks.

    Raises:
        InputError: a file cannot be read, is no result, or a marker has no end.
    """
    try:
        text = readme.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {readme}: {error}; need a Markdown file") from error
    new = filled(text, read_results(results))
    if new != text and write:
        write_atomic(readme, new.encode())
    return new != text


def read_results(folder: Path) -> dict[str, Result]:
    """Return every .json file in a folder, by its name without the ending.

    Args:
        folder: of receipts and reports.

    Raises:
        InputError: one of them is neither a receipt nor a report.
    """
    return {path.stem: read_result(path) for path in sorted(folder.glob("*.json"))}


def read_result(path: Path) -> Result:
    """Return a receipt or roofline of stereo-bench or a report of stereo-eval, as the file says.

    Args:
        path: the file.

    Raises:
        InputError: it is none of them, or not whole.
    """
    content = read_json(path)
    schema = content.get("schema") if isinstance(content, Mapping) else None
    try:
        if schema == ROOFLINE_SCHEMA:
            return roofline_from_json(content)
        return receipt_from_json(content) if schema == SCHEMA else report_from_json(content)
    except (InputError, AttributeError) as error:
        raise InputError(f"{path}: {error}") from error


def filled(text: str, results: Mapping[str, Result]) -> str:
    """Return Markdown with the tables between its markers made of `results`.

    Args:
        text: Markdown with markers.
        results: receipts and reports by their names.

    Raises:
        InputError: a marker has another form, or no end.
    """
    if len(_OPENING.findall(text)) != len(_MARKED.findall(text)):
        raise InputError(
            "a table's marker is not whole; need <!-- table: NAME --> or <!-- table: NAME ratios "
            "--> on a line, and <!-- end --> below"
        )
    return _MARKED.sub(lambda found: found[1] + _between(found, results) + found[5], text)


def _between(found: re.Match[str], results: Mapping[str, Result]) -> str:
    name = found["name"]
    chosen = [result for key, result in results.items() if re.fullmatch(rf"{name}(-.*)?", key)]
    reports = [result for result in chosen if isinstance(result, EvaluationReport)]
    receipts = [result for result in chosen if isinstance(result, Receipt)]
    rooflines = [result for result in chosen if isinstance(result, Roofline)]
    parts = [_accuracy(reports)] if reports else []
    parts += [_floors(rooflines)] if rooflines else []
    parts += [_latency(receipt, ratios=bool(found["ratios"])) for receipt in receipts]
    return "\n".join(parts)


def _floors(rooflines: Sequence[Roofline]) -> str:
    """Return a row for each network and size: work, traffic, and each device's floor."""
    names = [floors.device for floors in rooflines[0].sizes[0].floors]
    headings = ["", "GMAC", "MB unfused", "MB fused", *(f"{DEVICES[n].title}, ms" for n in names)]
    rows = [
        [
            f"{roofline.subject} {sized.size[0]}x{sized.size[1]}",
            f"{sized.gmacs:.1f}",
            *(f"{sized.megabytes(fused=fused):.0f}" for fused in (False, True)),
            *(f"{floors.fused_ms:.3g}" for floors in sized.floors),
        ]
        for roofline in rooflines
        for sized in roofline.sizes
    ]
    return _markdown(headings, rows)


def _accuracy(reports: Sequence[EvaluationReport]) -> str:
    """Return a row for each report, a column for each set: its table's error over all pixels."""
    names = list(dict.fromkeys(group.name for report in reports for group in _groups(report)))
    headings = ["", *(f"{name} {METRIC_TITLES[headline_metric(name)]}" for name in names)]
    rows = [[report.matcher, *(_value(report, name) for name in names)] for report in reports]
    return _markdown(headings, rows)


def _groups(report: EvaluationReport) -> list[Group]:
    """Return families, and the sets that belong to none."""
    families = {group.name for group in report.groups if group.kind == "family"}
    return [
        group
        for group in report.groups
        if group.kind == "family" or family_of(group.name) not in families
    ]


def _value(report: EvaluationReport, name: str) -> str:
    for group in _groups(report):  # a set may be called as its family is
        if group.name == name:
            value = group.metric(headline_metric(name))
            return "-" if value is None else f"{value:.2f}"
    return "-"


def _latency(receipt: Receipt, *, ratios: bool) -> str:
    """Return machine and date, the table, and what there is to say about it."""
    columns = _RATIO_COLUMNS if ratios else _COLUMNS
    rows = []
    for subject, cells in receipt_rows(receipt):
        known = dict(zip(HEADINGS, cells, strict=True))
        size = f"{subject.size[0]}x{subject.size[1]}"
        opened = subject.open.summary["response"].p50_ms if subject.open else None
        answer = [] if ratios else [format_ms(opened)]
        words = [subject.label, subject.precision, size]
        rows.append([*words, *(known[column] for column in columns), *answer])
    response = [] if ratios else [_response_title(receipt)]
    headings = ["", "precision", "size", *columns, *response]
    told = [i for i, _ in enumerate(headings) if any(row[i] != "-" for row in rows)]
    table = _markdown([headings[i] for i in told], [[row[i] for i in told] for row in rows])
    doubts = receipt_notes(receipt, percentiles=not ratios)
    notes = "".join(f"- {note}\n" for note in doubts)
    return f"{_machine(receipt, ratios=ratios)}\n\n{table}" + (f"\n{notes}" if notes else "")


def _response_title(receipt: Receipt) -> str:
    rate_hz = receipt.settings.rate_hz
    return "response" if rate_hz is None else f"response at {rate_hz:g} Hz"


def _machine(receipt: Receipt, *, ratios: bool) -> str:
    """Return where and when, with the versions that a latency depends on."""
    place = receipt.environment
    device = [place.gpu.name, f"driver {place.gpu.driver}"] if place.gpu else []
    board = [place.jetson.board, place.jetson.power_mode or ""] if place.jetson else []
    libraries = ("torch", "onnxruntime", "onnxruntime-gpu", "tensorrt")
    used = [f"{name} {place.packages[name]}" for name in libraries if name in place.packages]
    words = [*board, *device, f"{place.cpu.name} ({place.cpu.cores} cores)", *used]
    words.append(receipt.date[:10])
    unit = "ratios" if ratios else "milliseconds"
    return f"{', '.join(word for word in words if word)}; {unit}, end to end, one pair at a time:"


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
