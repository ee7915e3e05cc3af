"""Two receipts against each other: ratios with intervals, and what counts as a regression.

**The rule**: a subject has become slower beyond the bound when the ratio of its medians (B over A)
is above 1 + bound and the whole 95 % interval of that ratio is above 1. A subject that is gone, or
has too few samples to tell, is no pass either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from litestereo.benchmarks.latency.receipt import STAGES, Receipt, SubjectResult
from litestereo.benchmarks.latency.statistics import Interval, format_ms, ratio_interval
from litestereo.benchmarks.latency.tables import format_ratio
from litestereo.benchmarks.table import format_table
from litestereo.errors import InputError

__all__ = ["Change", "Comparison", "compare_receipts", "comparison_table"]

Verdict = Literal["regression", "slower", "same", "faster", "too few samples", "gone", "new"]
_HASH_DIGITS = 12
_FAILURES = ("regression", "too few samples", "gone")


@dataclass(frozen=True, slots=True)
class Change:
    """One subject in both receipts.

    Attributes:
        key: label and size.
        before_ms: median of A; None if it is not there, or too few samples tell none.
        after_ms: the same of B.
        ratio: B over A.
        interval: of the ratio, 95 %.
        verdict: by the rule.
    """

    key: str
    before_ms: float | None
    after_ms: float | None
    ratio: float | None
    interval: Interval | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every subject of A or B.

    Attributes:
        stage: that was compared.
        bound: share by which a subject may become slower.
        changes: in the order of A, new ones last.
        differences: of the two environments, and of each subject's own set-up, in words.
    """

    stage: str
    bound: float
    changes: tuple[Change, ...]
    differences: tuple[str, ...]

    @property
    def failures(self) -> tuple[Change, ...]:
        """Regressions, and what could not be told."""
        return tuple(change for change in self.changes if change.verdict in _FAILURES)


def compare_receipts(
    before: Receipt, after: Receipt, *, bound: float = 0.05, stage: str = "total"
) -> Comparison:
    """Compare B (`after`) with A (`before`), subject by subject, by the closed loop's medians.

    Args:
        before: A, the reference.
        after: B.
        bound: share by which a median may grow without being slower, such as 0.05.
        stage: which stage's times are compared.

    Raises:
        InputError: they have no subject in common, or the stage in none.
    """
    if bound < 0:
        raise InputError(f"bound is {bound}; need 0 or more, such as 0.05")
    old = {subject.key: subject for subject in before.subjects}
    new = {subject.key: subject for subject in after.subjects}
    common = [key for key in old if key in new]
    if not common:
        raise InputError(
            f"the receipts have no subject in common: {', '.join(old)} in the first, "
            f"{', '.join(new)} in the second; measure one of them in both"
        )

    def measured(name: str) -> bool:
        return any(_samples(old[key], name) and _samples(new[key], name) for key in common)

    if not measured(stage):
        known = [name for name in STAGES if measured(name)]
        raise InputError(
            f"no subject has a stage {stage!r} in both receipts; choose one of {', '.join(known)}, "
            "or measure both with it"
        )
    blocks = (before.settings.block, after.settings.block)
    changes = [
        _change(key, old.get(key), new.get(key), bound=bound, stage=stage, blocks=blocks)
        for key in dict.fromkeys((*old, *new))
    ]
    return Comparison(stage, bound, tuple(changes), tuple(_differences(before, after)))


def comparison_table(comparison: Comparison, *, width: int | None = None) -> str:
    """Return the comparison as a table.

    Args:
        comparison: of two receipts.
        width: columns of the terminal; None does not wrap.
    """
    headings = (f"{comparison.stage}, ms", "B/A", "95 %", "A p50", "B p50", "verdict")
    rows = [
        [
            change.key,
            "-" if change.ratio is None else format_ratio(change.ratio, change.interval),
            _interval_text(change.interval),
            format_ms(change.before_ms),
            format_ms(change.after_ms),
            change.verdict,
        ]
        for change in comparison.changes
    ]
    return format_table(headings, rows, width=width)


def _change(
    key: str,
    old: SubjectResult | None,
    new: SubjectResult | None,
    *,
    bound: float,
    stage: str,
    blocks: tuple[int, int],
) -> Change:
    before, after = (_samples(subject, stage) for subject in (old, new))
    before_ms, after_ms = (_median(subject, stage) for subject in (old, new))
    if before is None or after is None:
        return Change(key, before_ms, after_ms, None, None, "new" if before is None else "gone")
    if not before_ms or not after_ms:
        return Change(key, before_ms, after_ms, None, None, "too few samples")
    # Blocks of one length on both sides: the longer one, which is the more careful.
    interval = ratio_interval(after, before, block=max(blocks), paired=False)
    ratio = after_ms / before_ms
    return Change(key, before_ms, after_ms, ratio, interval, _verdict(ratio, interval, bound))


def _verdict(ratio: float, interval: Interval | None, bound: float) -> Verdict:
    if interval is None:
        return "too few samples"
    if interval.low > 1:
        return "regression" if ratio > 1 + bound else "slower"
    return "faster" if interval.high < 1 else "same"


def _samples(subject: SubjectResult | None, stage: str) -> tuple[float, ...] | None:
    return None if subject is None else subject.closed.samples_ms.get(stage)


def _median(subject: SubjectResult | None, stage: str) -> float | None:
    if subject is None or stage not in subject.closed.summary:
        return None
    return subject.closed.summary[stage].p50_ms


def _differences(before: Receipt, after: Receipt) -> list[str]:
    """Say what else changed: a ratio across machines is not the software's doing."""
    one, other = before.environment, after.environment
    pairs = {
        "CPU": (one.cpu.name, other.cpu.name),
        "cores": (one.cpu.cores, other.cpu.cores),
        "GPU": (one.gpu and one.gpu.name, other.gpu and other.gpu.name),
        "driver": (one.gpu and one.gpu.driver, other.gpu and other.gpu.driver),
        "Jetson": (one.jetson, other.jetson),
        "Python": (one.python, other.python),
        "threads": (before.settings.threads, after.settings.threads),
        "picture": (before.settings.picture, after.settings.picture),
    }
    for name in sorted(one.packages.keys() | other.packages.keys()):
        pairs[name] = (one.packages.get(name), other.packages.get(name))
    ours = {subject.key: _setup(subject) for subject in before.subjects}
    theirs = {subject.key: _setup(subject) for subject in after.subjects}
    for key in (key for key in ours if key in theirs):
        one_setup, other_setup = ours[key], theirs[key]
        for name in dict.fromkeys((*one_setup, *other_setup)):
            pairs[f"{key}, {name}"] = (one_setup.get(name), other_setup.get(name))
    return [f"{name}: A {a}, B {b}" for name, (a, b) in pairs.items() if a != b]


def _setup(subject: SubjectResult) -> dict[str, str]:
    """Return what a label does not say of what ran: its latency follows from that."""
    return {
        "model": subject.model,
        "backend": subject.backend,
        "device": subject.device,
        "precision": subject.precision,
        "inference size": "{}x{}".format(*subject.inference_size),
        "artefact": (subject.artifact_sha256 or "none")[:_HASH_DIGITS],
        **subject.details,
    }


def _interval_text(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"
