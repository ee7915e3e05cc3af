"""Warming up until the latency has come to rest.

**The rule**: the first iteration, which compiles and allocates, stands by itself. Those after it
are grouped into windows of at least 5 iterations and 0.1 s. The subject is at rest when the medians
of the last three windows lie within a tolerance of each other (5 %) and at least 0.2 s have passed.
When that has not happened within the limit, the run goes on and the receipt says so, with the
spread of those medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Warmup", "WarmupOptions", "warm_up"]

_WINDOW_ITERATIONS = 5
_WINDOW_S = 0.1
_SHORTEST_S = 0.2
_WINDOWS = 3


@dataclass(frozen=True, slots=True)
class WarmupOptions:
    """When a subject counts as warm.

    Attributes:
        tolerance: largest (highest - lowest) / lowest of the last three windows' medians.
        limit_s: after which the run goes on all the same.
    """

    tolerance: float = 0.05
    limit_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Warmup:
    """How a warm-up went.

    Attributes:
        iterations: that were run, the first included.
        seconds: that those after the first took.
        first_ms: the very first iteration.
        at_rest: whether the latency came to rest by the rule.
        spread: (highest - lowest) / lowest of the last three windows' medians; None with fewer.
        tolerance: up to which the spread counts as rest.
    """

    iterations: int
    seconds: float
    first_ms: float
    at_rest: bool
    spread: float | None
    tolerance: float


def warm_up(
    iterate: Callable[[], float],
    *,
    options: WarmupOptions,
    clock: Callable[[], float] = time.perf_counter,
) -> Warmup:
    """Iterate until at rest, or until the limit; at least twice.

    Args:
        iterate: runs once and returns its latency in milliseconds.
        options: what rest is, and how long to wait for it.
        clock: seconds.
    """
    first_ms = iterate()
    iterations = 1
    start = opened = clock()
    window: list[float] = []
    medians: list[float] = []
    while True:
        window.append(iterate())
        iterations += 1
        now = clock()
        if len(window) >= _WINDOW_ITERATIONS and now - opened >= _WINDOW_S:
            medians.append(statistics.median(window))
            window, opened = [], now
        spread = _spread(medians[-_WINDOWS:])
        calm = spread is not None and spread <= options.tolerance
        at_rest = calm and now - start >= _SHORTEST_S
        if at_rest or now - start >= options.limit_s:
            break
    return Warmup(
        iterations=iterations,
        seconds=now - start,
        first_ms=first_ms,
        at_rest=at_rest,
        spread=spread,
        tolerance=options.tolerance,
    )


def _spread(medians: list[float]) -> float | None:
    if len(medians) < _WINDOWS or min(medians) <= 0:
        return None
    return (max(medians) - min(medians)) / min(medians)
