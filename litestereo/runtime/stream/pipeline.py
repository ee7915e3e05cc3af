"""What a stream does with each pair, stage by stage; threads and sources are not here.

Each stage takes the pair that waits for it, works, and puts the result into the next slot. Who
calls the stages, and on what clock, is the caller's: `StereoStream` has a thread for each, tests
run them one after the other on a clock of their own.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import EngineError, InputError
from litestereo.runtime.stream.deadline import Deadline, DeadlineOptions, Level, Step
from litestereo.runtime.stream.frames import Job, SourceFrame, StreamResult
from litestereo.runtime.stream.health import Health
from litestereo.runtime.stream.slots import Slot

if TYPE_CHECKING:
    from litestereo.runtime.engine import StereoEngine

__all__ = ["Pipeline", "Work"]

Image = NDArray[np.uint8]
log = logging.getLogger("litestereo.stream")

# The ladder's changes that are kept for who asks later.
_STEPS_KEPT = 256


@dataclass(frozen=True, slots=True)
class Work:
    """What is done besides matching.

    Attributes:
        prepare: what each pair goes through first, such as a `Rectifier`.
        post: what each result goes through last.
        max_invalid: so many invalid pairs in a row end the stream.
    """

    prepare: Callable[[Image, Image], tuple[Image, Image]] | None = None
    post: Callable[[StreamResult], Any] | None = None
    max_invalid: int = 30


class Pipeline:
    """The stages of one stream and what lies between them.

    Attributes:
        health: the counters.
        steps: the latest changes of level.
        captured: pairs as they came.
        prepared: pairs as the network takes them.
        computed: what the network gave.
        finished: results for the caller.
        busy_since_s: when the inference under way began; None: none is.
    """

    def __init__(
        self,
        engine: StereoEngine,
        *,
        deadline: DeadlineOptions | None,
        work: Work,
        live: bool,
        clock: Callable[[], float],
    ) -> None:
        """Make empty slots; a `live` stream keeps the latest, another one waits.

        Args:
            engine: of the finest level.
            deadline: what is kept to; None computes every pair.
            work: what is done before and after the network.
            live: the source does not wait, as a camera.
            clock: gives seconds that only grow.
        """
        self.health = Health()
        self.steps: deque[Step] = deque(maxlen=_STEPS_KEPT)
        self.captured: Slot[Job] = Slot(keep_latest=live)
        self.prepared: Slot[Job] = Slot(keep_latest=live)
        self.computed: Slot[Job] = Slot(keep_latest=live)
        self.finished: Slot[Job] = Slot(keep_latest=live)
        self.busy_since_s: float | None = None
        self._busy = self._engine = engine
        self._deadline = None if deadline is None else Deadline(deadline)
        self._levels = (Level("full"),) if deadline is None else deadline.levels
        self._work = work
        self._clock = clock
        self._lock = threading.Lock()
        self._sequence = 0
        self._invalid_in_a_row = 0
        self._checked: tuple[int, ...] | None = None  # shape of pictures that every level takes
        _check_levels(engine, self._levels)

    @property
    def slots(self) -> tuple[Slot[Job], ...]:
        """All slots, in the order of the stages."""
        return self.captured, self.prepared, self.computed, self.finished

    @property
    def level(self) -> int:
        """Index of the level that new pairs are computed at."""
        return 0 if self._deadline is None else self._deadline.level

    @property
    def is_preparing(self) -> bool:
        """Whether the inference under way takes long because the engine gets its size ready."""
        return self._busy.is_preparing

    def expect_no_answer(self) -> None:
        """Tell the engine of the inference under way that it may never end."""
        self._busy.expect_no_answer()

    def level_name(self, index: int) -> str:
        """Return the name of a level.

        Args:
            index: 0 is the finest.
        """
        return self._levels[index].name

    def capture(self, frame: SourceFrame) -> None:
        """Take a pair from the source.

        Args:
            frame: what was captured.
        """
        self.health.count("frames_in")
        job = Job(frame, self._sequence)
        self._sequence += 1
        self.put(self.captured, job)

    def prepare(self, job: Job) -> Job | None:
        """Rectify, resize and pad a pair; None where it is skipped or cannot be used.

        Args:
            job: the pair, as the stage before left it.

        Raises:
            InputError: too many pairs in a row could not be used, or a level cannot run at all.
        """
        frame = job.frame
        with self._lock:
            if self._deadline is not None and not self._deadline.wants(
                captured_s=frame.captured_s, now_s=self._clock()
            ):
                self.health.count("skipped")
                return None
            job.level = self.level
        level = self._levels[job.level]
        job.engine = level.engine or self._engine
        try:
            if frame.problem is not None:
                raise InputError(frame.problem)
            job.pair = frame.left, frame.right
            if self._work.prepare is not None:
                job.pair = self._work.prepare(*job.pair)
            job.prepared = job.engine.prepare(*job.pair, shrink=level.shrink)
        except InputError as error:
            self._invalid(job, error)
            return None
        if job.pair[0].shape != self._checked:
            self._check_sizes(job.pair[0].shape)
        return job

    def compute(self, job: Job) -> Job | None:
        """Run the network on a prepared pair.

        Args:
            job: the pair, as the stage before left it.

        Raises:
            EngineError: the engine failed.
        """
        assert job.engine is not None
        assert job.prepared is not None
        self._busy = job.engine
        self.busy_since_s = start_s = self._clock()
        try:
            job.inferred = job.engine.infer(job.prepared)
        finally:
            self.busy_since_s = None
        job.prepared = None  # its pictures are not needed any more
        now_s = self._clock()
        if self._deadline is not None:
            busy_ms = max(1e3 * (now_s - start_s), job.inferred.preprocess_ms)
            with self._lock:
                step = self._deadline.computed(busy_ms, level=job.level, now_s=now_s)
            self._note(step)
        return job

    def finish(self, job: Job) -> Job | None:
        """Turn the network's answer into a result and post-process it; None where it is no number.

        Args:
            job: the pair, as the stage before left it.

        Raises:
            EngineError: too many answers in a row were no numbers.
        """
        assert job.engine is not None
        assert job.inferred is not None
        try:
            job.stereo = job.engine.finish(job.inferred, copy=False)  # they are its own
        except EngineError as error:
            self._invalid(job, error)
            return None
        self._invalid_in_a_row = 0
        job.inferred = None
        if self._work.post is not None:
            job.post = self._work.post(self._result(job))
        return job

    def hand_out(self, job: Job) -> StreamResult | None:
        """Return a finished pair as the caller's result; None where it came too late.

        Args:
            job: the pair, as the stage before left it.
        """
        result = self._result(job)
        deadline = self._deadline
        if result.late and deadline is not None and not deadline.options.deliver_late:
            self.health.withheld()
            return None
        self.health.handed_out(
            result.age_ms,
            inference_ms=result.stereo.timings.inference_ms,
            late=result.late,
            now_s=self._clock(),
        )
        return result

    def put(self, slot: Slot[Job], job: Job) -> None:
        """Put a pair into a slot, counting what is let go for it.

        Args:
            slot: of the next stage.
            job: the pair, as the stage before left it.
        """
        if slot.put(job) is not None:
            self.health.count("dropped")

    def give_up(self, job: Job) -> None:
        """Count a pair that its stage failed with.

        Args:
            job: the pair, as the stage left it.
        """
        if not job.is_counted:
            self.health.count("dropped")

    def feel_heat(self) -> None:
        """Ask the deadline's hook for heat, and step down if it says so."""
        if self._deadline is None or self._deadline.options.too_hot is None:
            return
        hot = self._deadline.options.too_hot()
        with self._lock:
            step = self._deadline.felt_heat(hot, now_s=self._clock())
        self._note(step)

    def _result(self, job: Job) -> StreamResult:
        assert job.pair is not None
        assert job.stereo is not None
        age_ms = 1e3 * (self._clock() - job.frame.captured_s)
        return StreamResult(
            frame=job.frame,
            left=job.pair[0],
            right=job.pair[1],
            stereo=job.stereo,
            sequence=job.sequence,
            age_ms=age_ms,
            late=self._deadline is not None and self._deadline.is_late(age_ms),
            level=self.level_name(job.level),
            post=job.post,
        )

    def _check_sizes(self, shape: tuple[int, ...]) -> None:
        """Refuse pictures that a level cannot take: the stream would end when it steps there."""
        size = shape[0], shape[1]
        for level in self._levels:
            try:
                (level.engine or self._engine).frame_for(size, shrink=level.shrink)
            except InputError as error:
                raise InputError(
                    f"level {level.name!r} cannot run: {error}; leave it (--shrink "
                    f"{level.shrink:g}) out, or let it shrink less"
                ) from error
        self._checked = shape

    def _invalid(self, job: Job, error: InputError | EngineError) -> None:
        """Count a pair that cannot be used, and give up where all are so."""
        job.is_counted = True
        self.health.count("invalid")
        self._invalid_in_a_row += 1
        if self._invalid_in_a_row == 1:
            log.warning("invalid pair: %s", error)
        if self._invalid_in_a_row >= self._work.max_invalid:
            raise type(error)(f"{self._invalid_in_a_row} pairs in a row were invalid: {error}")

    def _note(self, step: Step | None) -> None:
        if step is None:
            return
        names = [level.name for level in self._levels]
        down = names.index(step.after) > names.index(step.before)
        self.steps.append(step)
        self.health.count("steps_down" if down else "steps_up")
        log.warning(
            "step %s from %s to %s: %s",
            "down" if down else "up",
            step.before,
            step.after,
            step.reason,
        )


def _check_levels(engine: StereoEngine, levels: tuple[Level, ...]) -> None:
    """Refuse a ladder that would not be quicker: an artefact of fixed size computes it all."""
    for level in levels:
        fixed = (level.engine or engine).fixed_size
        if level.shrink < 1 and fixed is not None:
            raise InputError(
                f"level {level.name!r} shrinks, but its artefact computes {fixed[0]}x{fixed[1]} "
                "whatever it is given; give the level an engine of a smaller size, or use an "
                "artefact of dynamic size"
            )
