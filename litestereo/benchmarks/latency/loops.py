"""The two loops: closed, one pair after another; open, at a camera's rate.

Subjects take turns of a few iterations, in an order that is shuffled anew each round, so that what
changes in the machine (clocks, heat, other load) hits all of them alike. The first iterations of
a turn bring a subject's own data back into the caches and are not counted.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from litestereo.benchmarks.latency.sensors import Reading, Sensor
from litestereo.benchmarks.latency.subjects import Subject

__all__ = [
    "Case",
    "Samples",
    "Turn",
    "closed_turn",
    "open_turn",
    "turns",
    "within",
]


@dataclass(slots=True)
class Samples:
    """What is collected of a subject in one kind of loop.

    Attributes:
        stages_ms: milliseconds by stage, one of each iteration.
        dropped: frames that a newer one overtook.
        readings: of the sensor, one of each turn.
        turns: iterations of each turn, in order; an open turn that drops frames is shorter.
    """

    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    dropped: int = 0
    readings: list[Reading] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)

    def add(self, stages_ms: dict[str, float]) -> None:
        """Take one iteration.

        Args:
            stages_ms: milliseconds by stage.
        """
        for stage, value in stages_ms.items():
            self.stages_ms.setdefault(stage, []).append(value)

    def end_turn(self, sensor: Sensor) -> None:
        """Take the turn's length and the sensor's state.

        Args:
            sensor: of power, clocks and temperatures.
        """
        self.turns.append(len(self.stages_ms["total"]) - sum(self.turns))
        reading = sensor.read()
        if reading is not None:
            self.readings.append(reading)


@dataclass(slots=True)
class Case:
    """A subject at a size, ready to run.

    Attributes:
        key: what the receipt calls the subject.
        subject: is called with the pair.
        pair: left and right, (H, W, 3) uint8 RGB.
        closed: what came of the closed loop.
        open: what came of the open loop.
    """

    key: str
    subject: Subject
    pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    closed: Samples = field(default_factory=Samples)
    open: Samples = field(default_factory=Samples)


@dataclass(frozen=True, slots=True)
class Turn:
    """A case's turn in a round.

    Attributes:
        round: counted from 0.
        case: what is run.
    """

    round: int
    case: Case

    @property
    def key(self) -> str:
        """What a progress line says."""
        return f"round {self.round + 1}, {self.case.key}"


def turns(cases: Sequence[Case], *, rounds: int, seed: int) -> list[Turn]:
    """Return every case once a round, in an order shuffled by `seed`.

    Args:
        cases: what is compared.
        rounds: how often each has its turn.
        seed: of the order.
    """
    shuffler = random.Random(seed)
    order = list(cases)
    listed = []
    for index in range(rounds):
        shuffler.shuffle(order)
        listed += [Turn(index, case) for case in order]
    return listed


def within(
    listed: Iterable[Turn], *, limit_s: float | None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Turn]:
    """Yield turns until the first whole round that ends after the limit.

    Args:
        listed: turns in their order.
        limit_s: seconds; None sets no limit.
        clock: gives seconds that only grow.
    """
    start, last = clock(), 0
    for turn in listed:
        if turn.round != last and limit_s is not None and clock() - start > limit_s:
            return
        last = turn.round
        yield turn


def closed_turn(case: Case, *, settle: int, block: int, sensor: Sensor) -> None:
    """Run a block, each pair as soon as the one before is answered.

    Args:
        case: gets the samples.
        settle: iterations before, which are not counted.
        block: iterations that are.
        sensor: of power, clocks and temperatures.
    """
    for _ in range(settle):
        case.subject(*case.pair)
    for _ in range(block):
        case.closed.add(case.subject(*case.pair).stages_ms)
    case.closed.end_turn(sensor)


def open_turn(
    case: Case,
    *,
    rate_hz: float,
    frames: int,
    sensor: Sensor,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Run for so many frames of a camera: sleep until one is due, answer it, take the newest next.

    "response" counts from the moment at which the frame was due: waking up is part of it, and so is
    waiting for the frame before. Frames that a newer one has overtaken are dropped.

    Args:
        case: gets the samples.
        rate_hz: of the camera.
        frames: how many the camera gives.
        sensor: of power, clocks and temperatures.
        clock: gives seconds that only grow.
        sleep: waits so many seconds.
    """
    start, index = clock(), 0
    while index < frames:
        due = start + index / rate_hz
        wait_s = due - clock()
        if wait_s > 0:
            sleep(wait_s)
        iteration = case.subject(*case.pair)
        now = clock()
        case.open.add({**iteration.stages_ms, "response": 1e3 * (now - due)})
        newest = int((now - start) * rate_hz)
        following = min(max(index + 1, newest), frames)
        case.open.dropped += following - index - 1
        index = following
    case.open.end_turn(sensor)
