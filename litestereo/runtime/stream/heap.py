"""Keeping Python's garbage collector out of a stream's way, and measuring whether it is.

A full collection walks every object of the process: with a robot's imports that is tens to hundreds
of milliseconds, at a moment of its own choosing. The stream itself makes no reference cycles, so
whoever runs it can put the collector's work where it does not hurt. That is the caller's choice:
the library never touches the collector by itself.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["PauseMeter", "steady_heap"]


@contextmanager
def steady_heap() -> Iterator[Callable[[], int]]:
    """Set what exists aside and stop automatic collections; undo both at the end.

    What is there at the beginning (modules, the engine) is never walked again. Automatic
    collections are off, so that a pause only happens where the caller asks for one: the function
    that this gives collects what was made since, and returns how many objects were freed. Call it
    when there is time, such as once in a hundred frames.

    Example:
        with StereoEngine.load("las1") as engine, steady_heap() as collect:
            for result in engine.stream(cameras(0, 2)):
                drive(result)
                if result.sequence % 100 == 0:
                    collect()
    """
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield gc.collect
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


class PauseMeter:
    """Times every collection while it is open.

    Attributes:
        pauses_ms: how long each took.

    Example:
        with PauseMeter() as meter:
            run()
        assert meter.longest_ms < 5
    """

    def __init__(self) -> None:
        """Make a meter that is not counting yet."""
        self.pauses_ms: list[float] = []
        self._start_s = 0.0

    @property
    def longest_ms(self) -> float:
        """The longest pause; 0 if there was none."""
        return max(self.pauses_ms, default=0.0)

    def __enter__(self) -> PauseMeter:
        """Begin to count."""
        gc.callbacks.append(self._measure)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop counting."""
        gc.callbacks.remove(self._measure)

    def _measure(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._start_s = time.perf_counter()
        else:
            self.pauses_ms.append(1e3 * (time.perf_counter() - self._start_s))
