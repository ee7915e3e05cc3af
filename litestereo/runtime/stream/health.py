"""Counting what happens to every pair, and telling it: as a dict, a line, or Prometheus text."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Literal

__all__ = ["Count", "Health", "health_line", "prometheus_text"]

# At 30 Hz the percentiles look back over the last 34 seconds.
_WINDOW = 1024
# The rate looks back over so long at most: a stream that has stopped must not seem to go on.
_RATE_OVER_S = 10.0

Count = Literal[
    "frames_in",
    "frames_out",
    "dropped",
    "skipped",
    "late",
    "invalid",
    "unpaired",
    "reconnects",
    "steps_down",
    "steps_up",
    "stalls",
]

_HELP: dict[Count, str] = {
    "frames_in": "Pairs that the source gave.",
    "frames_out": "Results handed out.",
    "dropped": "Pairs replaced by newer ones, or given up at the end, before they were done.",
    "skipped": "Pairs not computed: off the target period, or too old to be in time.",
    "late": "Results handed out, or withheld, above the greatest age.",
    "invalid": "Pairs that could not be used, and answers that were no numbers.",
    "unpaired": "Pictures lost before they made a pair.",
    "reconnects": "Times that the source was opened again.",
    "steps_down": "Changes to a quicker level.",
    "steps_up": "Changes back to a finer level.",
    "stalls": "Times that the engine stopped answering.",
}
# Key of the health dict -> metric and what it means.
_GAUGES = {
    "rate_hz": ("rate_hertz", "Results a second in the last ten seconds."),
    "in_flight": ("in_flight", "Pairs in the stream."),
    "level_index": ("level_index", "Index of the level in use; 0 is the finest."),
    "engine_silent_s": ("engine_silent_seconds", "How long the inference under way has run."),
}


class Health:
    """The counters of one stream; safe to use from any thread.

    At any moment frames_in = frames_out + dropped + skipped + invalid + withheld + what is in the
    stream just then; `withheld` are late results that the options do not hand out.
    """

    def __init__(self) -> None:
        """Begin at zero."""
        self._lock = threading.Lock()
        self._counts: dict[Count, int] = dict.fromkeys(_HELP, 0)
        self._withheld = 0
        self._ages_ms: deque[float] = deque(maxlen=_WINDOW)
        self._inference_ms: deque[float] = deque(maxlen=_WINDOW)
        self._out_s: deque[float] = deque(maxlen=_WINDOW)
        self._age_sum_ms = 0.0

    def count(self, what: Count, by: int = 1) -> None:
        """Add to a counter.

        Args:
            what: which counter.
            by: how much.
        """
        with self._lock:
            self._counts[what] += by

    def handed_out(self, age_ms: float, *, inference_ms: float, late: bool, now_s: float) -> None:
        """Count a result that the caller got.

        Args:
            age_ms: since the pair was taken.
            inference_ms: of the network.
            late: beyond the limit of age.
            now_s: the present, seconds on the stream's clock.
        """
        with self._lock:
            self._counts["frames_out"] += 1
            self._counts["late"] += late
            self._ages_ms.append(age_ms)
            self._age_sum_ms += age_ms
            self._inference_ms.append(inference_ms)
            self._out_s.append(now_s)

    def withheld(self) -> None:
        """Count a result that came too late to be handed out."""
        with self._lock:
            self._counts["late"] += 1
            self._withheld += 1

    def snapshot(self, now_s: float | None = None) -> dict[str, Any]:
        """Return all counters, age and inference time over the last 1024 results, and the rate.

        Percentiles are the smallest value that at least so many percent do not exceed; None before
        there are results. The rate is of the last ten seconds.

        Args:
            now_s: the present, seconds on the stream's clock; None: when the last result went out.
        """
        with self._lock:
            counts, withheld = dict(self._counts), self._withheld
            ages, inference = sorted(self._ages_ms), sorted(self._inference_ms)
            age_sum_ms = self._age_sum_ms
            out_s = list(self._out_s)
        accounted = sum(counts[name] for name in ("frames_out", "dropped", "skipped", "invalid"))
        return {
            **{str(name): count for name, count in counts.items()},
            "withheld": withheld,
            "in_flight": counts["frames_in"] - accounted - withheld,
            "age_ms": _percentiles(ages),
            "age_sum_ms": round(age_sum_ms, 3),
            "inference_ms": _percentiles(inference),
            "rate_hz": _rate_hz(out_s, now_s),
        }


def health_line(health: Mapping[str, Any]) -> str:
    """Return a stream's health in one line for a log.

    Args:
        health: as `StereoStream.health` gives it.
    """
    age, inference = health["age_ms"], health["inference_ms"]
    words = [f"{health['rate_hz']:.1f} Hz", f"in {health['frames_in']}"]
    words.append(f"out {health['frames_out']}")
    quiet = ("dropped", "skipped", "late", "invalid", "unpaired", "reconnects", "stalls")
    words += [f"{name} {health[name]}" for name in quiet if health[name]]
    if age["p50"] is not None:
        words.append(f"age p50 {age['p50']:.1f} p99 {age['p99']:.1f} ms")
        words.append(f"inference p50 {inference['p50']:.1f} p99 {inference['p99']:.1f} ms")
    if "level" in health:
        steps = f"{health['steps_down']} down, {health['steps_up']} up"
        words.append(f"level {health['level']} ({steps})")
    return ", ".join(words)


def prometheus_text(health: Mapping[str, Any], *, stream: str = "stereo") -> str:
    """Return a stream's health in Prometheus' text format, times in seconds.

    Args:
        health: of `StereoStream.health`.
        stream: value of the label `stream`, to tell several apart.
    """
    label = 'stream="' + _escaped(stream) + '"'
    lines = []
    for counter, text in _HELP.items():
        metric = f"litestereo_{counter}_total"
        lines += [f"# HELP {metric} {text}", f"# TYPE {metric} counter"]
        lines.append(f"{metric}{{{label}}} {health[counter]}")
    for name, text in (("age", "From capture to result."), ("inference", "Of the network.")):
        metric = f"litestereo_{name}_seconds"
        lines += [f"# HELP {metric} {text}", f"# TYPE {metric} gauge"]
        for quantile in ("50", "90", "99"):
            value = health[f"{name}_ms"][f"p{quantile}"]
            if value is not None:
                lines.append(f'{metric}{{{label},quantile="0.{quantile}"}} {value / 1e3:.6f}')
    for name, (unit_name, text) in _GAUGES.items():
        if name in health:
            metric = f"litestereo_{unit_name}"
            lines += [f"# HELP {metric} {text}", f"# TYPE {metric} gauge"]
            lines.append(f"{metric}{{{label}}} {health[name]}")
    return "\n".join(lines) + "\n"


def _percentiles(values: list[float]) -> dict[str, float | None]:
    """Return p50, p90, p99 and max of sorted values."""
    if not values:
        return {"p50": None, "p90": None, "p99": None, "max": None}
    found = {f"p{p}": values[-(-p * len(values) // 100) - 1] for p in (50, 90, 99)}
    return {name: round(value, 3) for name, value in {**found, "max": values[-1]}.items()}


def _rate_hz(out_s: Sequence[float], now_s: float | None) -> float:
    """Return the results a second up to now, since the first of them or for ten seconds."""
    if not out_s:
        return 0.0
    now_s = out_s[-1] if now_s is None else now_s
    since_s = max(out_s[0], now_s - _RATE_OVER_S)
    if now_s <= since_s:
        return 0.0
    return round(sum(each_s > since_s for each_s in out_s) / (now_s - since_s), 3)


def _escaped(text: str) -> str:
    """Return `text` as Prometheus wants the value of a label."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
