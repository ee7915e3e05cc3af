"""A stand-in engine of known latency, and streams driven on a clock that only tests move."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from stand_in import stand_in_manifest

from litestereo.runtime.engine import StereoEngine
from litestereo.runtime.stream.deadline import DeadlineOptions
from litestereo.runtime.stream.frames import SourceFrame, StreamResult
from litestereo.runtime.stream.pipeline import Pipeline, Work


class VirtualClock:
    """A clock that stands still until it is told to go on; events happen on the way."""

    def __init__(self):
        self.now_s = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def __call__(self):
        return self.now_s

    def at(self, when_s, event):
        self._events.append((when_s, len(self._events), event))
        self._events.sort(reverse=True)

    def advance(self, by_s):
        until_s = self.now_s + by_s
        while self._events and self._events[-1][0] <= until_s:
            self.now_s, _, event = self._events.pop()
            event()
        self.now_s = until_s

    def to_next_event(self):
        if not self._events:
            return False
        self.advance(self._events[-1][0] - self.now_s)
        return True


class TimedBackend:
    """Answers zeros after a time that may depend on the size of the pictures."""

    name, device, precision = "timed", "none", "fp32"
    fixed_size = None

    def __init__(self, wait: Callable[[float], None], latency_s: Callable[[int], float]):
        self.manifest = stand_in_manifest()
        self._wait = wait
        self._latency_s = latency_s

    def infer(self, left, right):
        self._wait(self._latency_s(left.shape[0] * left.shape[1]))
        return np.zeros(left.shape[:2], np.float32), np.ones(left.shape[:2], np.float32)

    def close(self):
        pass


def picture(size=(64, 96)):
    return np.zeros((*size, 3), np.uint8)


class VirtualRun:
    """A camera and an engine on one virtual clock, through the real pipeline.

    The stages run one after the other whenever a pair waits; pairs arrive while the engine works.
    """

    def __init__(
        self,
        latency_s: Callable[[int], float],
        *,
        deadline: DeadlineOptions | None = None,
        size=(64, 96),
        work: Work | None = None,
        clock: VirtualClock | None = None,
    ):
        self.clock = clock or VirtualClock()
        engine = StereoEngine(TimedBackend(self.clock.advance, latency_s))
        self.pipeline = Pipeline(
            engine, deadline=deadline, work=work or Work(), live=True, clock=self.clock
        )
        self.results: list[StreamResult] = []
        self._picture = picture(size)

    def shoot(self, times_s):
        for when_s in times_s:
            self.clock.at(when_s, self._capture)

    def run(self, until_s=float("inf")):
        while self.clock.now_s < until_s:
            if not len(self.pipeline.captured):
                if not self.clock.to_next_event():
                    return
                continue
            job = self.pipeline.captured.get(0)
            for stage in (self.pipeline.prepare, self.pipeline.compute, self.pipeline.finish):
                job = stage(job)
                if job is None:
                    break
            else:
                result = self.pipeline.hand_out(job)
                if result is not None:
                    self.results.append(result)

    def _capture(self):
        self.pipeline.capture(SourceFrame(self._picture, self._picture, self.clock()))
