"""A receipt and a comparison as tables, in the style of `stereo-eval`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from litestereo.benchmarks.latency.receipt import Loop, Receipt, SubjectResult
from litestereo.benchmarks.latency.statistics import Interval, Summary, format_ms, ratio_interval
from litestereo.benchmarks.table import format_table

__all__ = [
    "HEADINGS",
    "format_ratio",
    "ratio_cell",
    "receipt_notes",
    "receipt_rows",
    "receipt_table",
]

# In the order in which they are given up on a narrow terminal, the last one first.
HEADINGS = (
    *("ms", "x first", "p50", "p90", "p95", "p99", "max", "CV %", "fps"),
    *("inference", "compute", "enqueue", "h2d", "d2h", "pre", "post"),
    *("host MiB", "GPU MiB", "W", "GPU C", "MHz"),
)
_STAGES = (
    *("inference", "compute", "enqueue", "host_to_device", "device_to_host"),
    *("preprocess", "postprocess"),
)


def receipt_table(receipt: Receipt, *, width: int | None = None) -> str:
    """Return the closed loop, then the open one, then what there is to say about them.

    Args:
        receipt: of a run.
        width: of the terminal, characters; None shows every column.
    """
    text = format_table(HEADINGS, list(_table_rows(receipt)), width=width)
    if any(subject.open for subject in receipt.subjects):
        rate_hz = receipt.settings.rate_hz
        headings = (f"ms at {rate_hz:g} Hz", "x first", "response", "p90", "p99", "max", "dropped")
        rows = list(_open_rows(receipt))
        text += "\n\n" + format_table(headings, rows, width=width)
    notes = receipt_notes(receipt)
    return text + ("\n\n" + "\n".join(notes) if notes else "")


def receipt_rows(receipt: Receipt) -> Iterator[tuple[SubjectResult, list[str]]]:
    """Yield each subject with its cells under HEADINGS, for the closed loop.

    Args:
        receipt: what `stereo-bench` measured.
    """
    block = receipt.settings.block
    for _, group in groupby(receipt.subjects, key=lambda subject: subject.size):
        subjects = list(group)
        for subject in subjects:
            yield subject, _cells(subject, reference=subjects[0], block=block)


def ratio_cell(subject: SubjectResult, reference: SubjectResult, *, block: int) -> str:
    """Return how many times the reference's median this one is, to the digits that are known.

    Args:
        subject: what is compared.
        reference: with what.
        block: iterations that are resampled together.
    """
    one, other = (each.closed.summary["total"] for each in (subject, reference))
    if one.p50_ms is None or not other.p50_ms:
        return "-"
    if subject is reference:
        return "1"
    interval = ratio_interval(
        subject.closed.samples_ms["total"],
        reference.closed.samples_ms["total"],
        block=block,
        paired=True,
    )
    return format_ratio(one.p50_ms / other.p50_ms, interval)


def format_ratio(ratio: float, interval: Interval | None) -> str:
    """Return a ratio in no more digits than its interval knows; "?" where there is none.

    Args:
        ratio: of two medians.
        interval: its 95 % interval; None where it is not known.
    """
    if interval is None:
        return f"{format_ms(ratio)}?"
    return format_ms(ratio, uncertainty_ms=(interval.high - interval.low) / 2)


def receipt_notes(receipt: Receipt, *, percentiles: bool = True) -> list[str]:
    """Return what a reader has to know before believing the table.

    Args:
        receipt: of the table.
        percentiles: whether the table has them.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for subject in receipt.subjects:
        for statement, figure in _doubts(subject, percentiles=percentiles):
            found.setdefault(statement, []).append((subject.key, figure))
    count = len(receipt.subjects)
    return [*receipt.notes, *(_note(*item, count=count) for item in found.items())]


def _note(statement: str, of: list[tuple[str, str]], *, count: int) -> str:
    """Say once what is true of some subjects, out of `count`, with each one's figure."""
    if any(figure for _, figure in of):
        return f"{statement} " + "; ".join(f"{figure} ({key})" for key, figure in of)
    who = f"all {count}" if len(of) == count > 1 else ", ".join(key for key, _ in of)
    return f"{who}: {statement}"


def _doubts(subject: SubjectResult, *, percentiles: bool) -> Iterator[tuple[str, str]]:
    """Yield statements that several subjects may share, and this one's figure, if there is one."""
    warmup, total = subject.warmup, subject.closed.summary["total"]
    if not warmup.at_rest:
        spread = "too few windows" if warmup.spread is None else f"{100 * warmup.spread:.0f} %"
        yield "not at rest after the warm-up:", f"{spread} after {warmup.seconds:.0f} s"
    if total.noisy and total.median_95 is not None:
        low, high = (format_ms(value) for value in (total.median_95.low, total.median_95.high))
        yield "noisy (~): the median lies between", f"{low} and {high} ms"
    elif total.median_95 is None:
        yield f"{total.samples} samples are too few to say how well the median is known", ""
    missing = [name for name in ("p50", "p90", "p95", "p99") if not getattr(total, f"{name}_ms")]
    if missing and percentiles:
        yield f"{total.samples} samples are too few for {', '.join(missing)}", ""
    reasons = sorted({reason for read in subject.closed.readings for reason in read.throttled})
    if reasons:
        yield f"clocks were held down: {', '.join(reasons)}", ""


def _table_rows(receipt: Receipt) -> Iterator[list[str]]:
    """Yield the rows, an empty one between sizes."""
    last = receipt.subjects[0].size
    for subject, cells in receipt_rows(receipt):
        if subject.size != last:
            yield []
        last = subject.size
        yield cells


def _cells(subject: SubjectResult, *, reference: SubjectResult, block: int) -> list[str]:
    loop = subject.closed
    total = loop.summary["total"]
    memory = subject.memory
    return [
        subject.key,
        ratio_cell(subject, reference, block=block),
        *_percentiles(total, ("p50", "p90", "p95", "p99", "max")),
        "-" if total.variation is None else f"{100 * total.variation:.1f}",
        format_ms(loop.frames_per_second),
        *(_median(loop, stage) for stage in _STAGES),
        _whole(None if memory is None else memory.host_mib),
        _whole(None if memory is None else memory.device_mib),
        _whole(_mean([read.power_w for read in loop.readings])),
        _whole(_mean([read.gpu_c for read in loop.readings])),
        _whole(_mean([read.gpu_clock_mhz for read in loop.readings])),
    ]


def _open_rows(receipt: Receipt) -> Iterator[list[str]]:
    for _, group in groupby(receipt.subjects, key=lambda subject: subject.size):
        subjects = [subject for subject in group if subject.open is not None]
        for subject in subjects:
            yield _open_cells(subject, subjects[0])


def _open_cells(subject: SubjectResult, reference: SubjectResult) -> list[str]:
    loop, other = subject.open, reference.open
    if loop is None or other is None:
        return []
    response, first = loop.summary["response"], other.summary["response"]
    ratio = "-"
    if response.p50_ms and first.p50_ms:
        ratio = format_ms(response.p50_ms / first.p50_ms)
    frames = response.samples + loop.dropped
    return [
        subject.key,
        ratio,
        *_percentiles(response, ("p50", "p90", "p99", "max")),
        f"{loop.dropped} of {frames}",
    ]


def _percentiles(summary: Summary, names: Sequence[str]) -> list[str]:
    """Return the cells, in the digits to which the median is known; "~" before a noisy one."""
    part = summary.uncertainty
    cells = []
    for name in names:
        value = getattr(summary, f"{name}_ms")
        known = None if part is None or value is None else part * value
        cells.append(
            ("~" if summary.noisy and value else "") + format_ms(value, uncertainty_ms=known)
        )
    return cells


def _median(loop: Loop, stage: str) -> str:
    return _percentiles(loop.summary[stage], ("p50",))[0] if stage in loop.summary else "-"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
