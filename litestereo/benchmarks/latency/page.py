"""One self-contained HTML page of a receipt: distributions, accuracy against latency, layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from litestereo.benchmarks.latency.layers import Layer, read_profile
from litestereo.benchmarks.latency.receipt import STAGES, Receipt, SubjectResult, read_receipt
from litestereo.benchmarks.latency.svg import Point, Strip, bars, scatter, strips
from litestereo.benchmarks.latency.tables import receipt_table
from litestereo.benchmarks.report import EvaluationReport, Group
from litestereo.benchmarks.report_io import read_report
from litestereo.runtime.files import write_atomic

__all__ = ["METRIC_TITLES", "accuracy_of", "draw_page", "headline_metric", "write_bench_page"]

METRIC_TITLES = {
    "d1": "D1, %",
    "bad_1": "bad-1, %",
    "bad_2": "bad-2, %",
    "bad_3": "bad-3, %",
    "epe": "EPE, px",
}
_LAYERS = 25
_TIMED_SCALE = 1.0  # stereo-bench has no other


def draw_page(
    output: Path, receipt: Path, *, accuracy: Sequence[Path] = (), profiles: Sequence[Path] = ()
) -> Path:
    """Read the files and write the page; return its path.

    Args:
        output: file of the page, HTML.
        receipt: file that `stereo-bench` wrote.
        accuracy: reports of `stereo-eval`.
        profiles: of engines, as `read_profile` takes them.

    Raises:
        InputError: a file cannot be read or is not whole, or the page cannot be written.
    """
    return write_bench_page(
        output,
        read_receipt(receipt),
        accuracy=[read_report(path) for path in accuracy],
        profiles={path.stem: read_profile(path) for path in profiles},
    )


def write_bench_page(
    path: Path,
    receipt: Receipt,
    *,
    accuracy: Sequence[EvaluationReport] = (),
    profiles: dict[str, list[Layer]] | None = None,
) -> Path:
    """Write the page; it needs no other file and no network.

    Args:
        path: the file.
        receipt: what `stereo-bench` measured.
        accuracy: reports of `stereo-eval`.
        profiles: layers by the name of their engine.

    Raises:
        InputError: the place cannot be written.
    """
    machine = receipt.environment.gpu or receipt.environment.cpu
    stages = _stages(receipt)
    page = _PAGE.format(
        title=escape(f"stereo-bench, {machine.name}, {receipt.date[:10]}"),
        table=escape(receipt_table(receipt)),
        options="".join(f'<option value="{name}">{_title(name)}</option>' for name in stages),
        distributions="".join(_distributions(receipt, stages)),
        accuracy="".join(_accuracy(receipt, accuracy)),
        layers="".join(_layers(name, layers) for name, layers in (profiles or {}).items()),
        environment=escape(_environment(receipt)),
    )
    return write_atomic(path, page.encode())


def accuracy_of(
    subject: SubjectResult, reports: Sequence[EvaluationReport]
) -> EvaluationReport | None:
    """Return the report of the very file that was timed, at the scale that it was timed at.

    Backends answer alike but for rounding; that of the same backend goes first. StereoSGBM has no
    file: what tells it is its name, which holds OpenCV's version.

    Args:
        subject: what was timed.
        reports: where to look; those of earlier versions name no file, so they are of none.
    """
    if subject.artifact_sha256 is None:
        name = subject.details.get("parameters")
        return next((report for report in reports if report.matcher == name), None)
    wanted = (subject.artifact_sha256, _TIMED_SCALE)
    same = [report for report in reports if (report.artifact_sha256, report.scale) == wanted]
    same.sort(key=lambda report: f"({subject.backend}," not in report.matcher)
    return next(iter(same), None)


def headline_metric(group_name: str) -> str:
    """Return the error that a data set's own table counts, told here over all pixels.

    The tables of KITTI 2012 (Out-All), ETH3D and MiddEval3 have it so, but rank by the pixels that
    both eyes see; that of KITTI 2015 ranks by all. Families and sets without a table have no such
    rule: D1 for KITTI, bad-2 for Middlebury, else the end-point error.

    Args:
        group_name: of a set or family, such as "kitti2015".
    """
    name = group_name.lower()
    if name == "kitti2012":
        return "bad_3"
    if name.startswith("kitti"):
        return "d1"
    if name.startswith("eth3d"):
        return "bad_1"
    return "bad_2" if name.startswith("midd") else "epe"


def _stages(receipt: Receipt) -> list[str]:
    """Return the stages that some subject has, "total" first, then those of the open loop."""
    loops = [subject.closed for subject in receipt.subjects]
    names = [name for name in STAGES if any(name in loop.summary for loop in loops)]
    names.sort(key=lambda name: name != "total")
    return [*names, "response"] if any(subject.open for subject in receipt.subjects) else names


def _distributions(receipt: Receipt, stages: Sequence[str]) -> Iterator[str]:
    """Yield a drawing for each stage and size; the page shows one stage at a time."""
    for stage in stages:
        shown = "" if stage == stages[0] else " hidden"
        yield f'<section class="stage" data-stage="{stage}"{shown}>'
        for size, subjects in groupby(receipt.subjects, key=lambda subject: subject.size):
            rows = [row for subject in subjects if (row := _strip(subject, stage))]
            if rows:
                yield f"<h3>{size[0]}x{size[1]}</h3>{strips(rows)}"
        yield "</section>"


def _strip(subject: SubjectResult, stage: str) -> Strip | None:
    loop = subject.open if stage == "response" else subject.closed
    if loop is None or stage not in loop.summary:
        return None
    summary = loop.summary[stage]
    return Strip(subject.label, loop.samples_ms[stage], summary.p50_ms, summary.p99_ms)


def _accuracy(receipt: Receipt, reports: Sequence[EvaluationReport]) -> Iterator[str]:
    """Yield a drawing for each data set: accuracy against the median latency."""
    if not reports:
        return
    yield "<h2>Accuracy against latency</h2>"
    groups = dict.fromkeys(group.name for report in reports for group in report.groups)
    drawn = 0
    for size, members in groupby(receipt.subjects, key=lambda subject: subject.size):
        subjects = list(members)
        for name in groups:
            points = [point for subject in subjects if (point := _point(subject, reports, name))]
            if points:
                drawn += 1
                unit = f"{_title(headline_metric(name))}, all pixels"
                yield f"<h3>{escape(name)}, timed at {size[0]}x{size[1]}</h3>" + scatter(
                    points, x_unit="end to end, p50, ms, logarithmic", y_unit=unit
                )
    if not drawn:
        yield (
            "<p>No accuracy report is of a file that was timed, at scale 1. Reports of earlier "
            "versions do not say which file they are of: score it again with stereo-eval.</p>"
        )


def _point(subject: SubjectResult, reports: Sequence[EvaluationReport], name: str) -> Point | None:
    having = [report for report in reports if any(group.name == name for group in report.groups)]
    report = accuracy_of(subject, having)
    value = None if report is None else _metric(report.group(name))
    p50_ms = subject.closed.summary["total"].p50_ms
    return None if value is None or p50_ms is None else Point(subject.label, p50_ms, value)


def _metric(group: Group) -> float | None:
    return group.metric(headline_metric(group.name))


def _layers(name: str, layers: Sequence[Layer]) -> str:
    total_ms = sum(layer.mean_ms for layer in layers)
    rows = [(f"{layer.kind} {layer.name}".strip(), layer.mean_ms) for layer in layers[:_LAYERS]]
    rest = layers[_LAYERS:]
    if rest:
        rows.append((f"{len(rest)} more layers", sum(layer.mean_ms for layer in rest)))
    return (
        f"<h2>Time per layer: {escape(name)}</h2><p>{len(layers)} layers, {total_ms:.4g} ms in all."
        f"</p>{bars(rows, unit='ms')}"
    )


def _environment(receipt: Receipt) -> str:
    place = receipt.environment
    lines = [
        receipt.command,
        f"{receipt.date}, litestereo {receipt.litestereo_version}, commit {place.commit}",
        f"{place.system}, Python {place.python}",
        f"CPU {place.cpu.name}, {place.cpu.cores} cores, governor {place.cpu.governor}, "
        f"load before the run {place.cpu.load}",
        f"GPU {place.gpu}" if place.gpu else "no GPU",
        *([str(place.jetson)] if place.jetson else []),
        ", ".join(f"{name} {version}" for name, version in place.packages.items()),
        *(
            f"{subject.key}: {subject.model}, {subject.backend} on {subject.device}, "
            f"{subject.precision}, artefact {(subject.artifact_sha256 or 'none')[:12]}"
            for subject in receipt.subjects
        ),
    ]
    return "\n".join(lines)


def _title(name: str) -> str:
    return "end to end" if name == "total" else METRIC_TITLES.get(name, name.replace("_", " "))


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1000px; padding: 0 1rem;
  background: #fff; color: #111; }}
pre {{ overflow-x: auto; font-size: 12px; }}
svg {{ width: 100%; height: auto; display: block; font: 12px system-ui, sans-serif; }}
svg text {{ fill: currentColor; }}
.grid {{ stroke: #8884; }}
.tick {{ text-anchor: middle; font-size: 11px; }}
.side {{ text-anchor: end; font-size: 11px; }}
.samples {{ stroke-opacity: .25; fill: none; }}
.tail {{ fill-opacity: .5; }}
.bar {{ fill: #0072b2; }}
[hidden] {{ display: none; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #111; color: #eee; }} }}
</style>
<h1>{title}</h1>
<pre>{table}</pre>
<h2>Latency</h2>
<p>Stage: <select id="stage">{options}</select> Each thin line is a sample, the thick one p50, the
bar ends at p99; where a bar is missing, the samples were too few for p99.</p>
<main>{distributions}</main>
{accuracy}
{layers}
<h2>Environment</h2>
<pre>{environment}</pre>
<script>
const sections = [...document.querySelectorAll("section.stage")];
const select = document.getElementById("stage");
function show() {{
  for (const section of sections) section.hidden = section.dataset.stage !== select.value;
}}
select.addEventListener("change", () => {{ location.hash = select.value; }});
addEventListener("hashchange", choose);
function choose() {{
  const wanted = location.hash.slice(1);
  if ([...select.options].some((option) => option.value === wanted)) select.value = wanted;
  show();
}}
choose();
</script>
</html>
"""
