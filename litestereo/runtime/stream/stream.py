"""`StereoStream`: the threads around a pipeline, its source, and the watchdogs over both."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import EngineError, InputError
from litestereo.runtime.stream.capture import Capture, CaptureOptions
from litestereo.runtime.stream.deadline import DeadlineOptions, Step
from litestereo.runtime.stream.frames import Job, StreamResult
from litestereo.runtime.stream.health import health_line, prometheus_text
from litestereo.runtime.stream.pipeline import Pipeline, Work
from litestereo.runtime.stream.slots import Ended, Slot
from litestereo.runtime.stream.sources import FrameSource, as_source

if TYPE_CHECKING:
    from litestereo.runtime.engine import StereoEngine

__all__ = ["StereoStream", "StreamOptions"]

Image = NDArray[np.uint8]
log = logging.getLogger("litestereo.stream")

_WATCH_EVERY_S = 0.05
_HEAT_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How a stream runs.

    Attributes:
        deadline: the deadline mode; None computes what it can, at one level.
        engine_timeout_s: an inference that takes longer ends the stream with an error; while the
            engine gets a new size ready, as TensorRT does by building for minutes, none counts.
        source_timeout_s: a source that gives nothing for so long counts as hung.
        reconnects: how often in a row a source that died or hangs is opened again; the first pair
            that arrives refills it. 0 makes it an error.
        reconnect_after_s: pause before that; it doubles with each failure in a row, up to 10 s.
        max_invalid: so many invalid pairs in a row end the stream.
        log_every_s: a line of health for the log; None writes none.
        close_timeout_s: how long closing waits for each thread; one that hangs is left behind.
    """

    deadline: DeadlineOptions | None = None
    engine_timeout_s: float = 5.0
    source_timeout_s: float = 5.0
    reconnects: int = 0
    reconnect_after_s: float = 0.5
    max_invalid: int = 30
    log_every_s: float | None = None
    close_timeout_s: float = 2.0

    def __post_init__(self) -> None:
        """Refuse times that are none."""
        times = (self.engine_timeout_s, self.source_timeout_s, self.close_timeout_s)
        if min(times) <= 0 or self.reconnect_after_s < 0:
            raise InputError(f"the timeouts are {times} s; they must be above 0")
        if self.reconnects < 0 or self.max_invalid < 1:
            raise InputError("reconnects must be 0 or more, and max_invalid 1 or more")


class StereoStream:
    """Results from a source, computed in the background; `StereoEngine.stream` makes one.

    Iterate over it, or call `latest` from a control loop. It begins with the first of these, and
    ends with its source, with `close`, or when iteration is left. The engine stays open.
    """

    def __init__(
        self,
        engine: StereoEngine,
        source: FrameSource | Iterable[Any],
        *,
        options: StreamOptions | None = None,
        prepare: Callable[[Image, Image], tuple[Image, Image]] | None = None,
        post: Callable[[StreamResult], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a stream that has not begun; the arguments are those of `StereoEngine.stream`.

        Args:
            engine: of the finest level; it stays open.
            source: of pairs.
            options: deadline, limits and reconnects; None is the default.
            prepare: rectifies a pair before the network.
            post: is called with each result, in a thread of its own.
            clock: gives seconds that only grow.

        Raises:
            InputError: no source, or a ladder that cannot work.
        """
        self._options = options or StreamOptions()
        self._source = as_source(source)
        self._clock = clock
        self._pipeline = Pipeline(
            engine,
            deadline=self._options.deadline,
            work=Work(prepare, post, self._options.max_invalid),
            live=self._source.live,
            clock=clock,
        )
        self._capture = Capture(
            self._source,
            options=CaptureOptions(
                self._options.source_timeout_s,
                self._options.reconnects,
                self._options.reconnect_after_s,
            ),
            sink=self._pipeline.capture,
            end=self._source_ended,
            health=self._pipeline.health,
            clock=clock,
        )
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None
        self._raised = False
        self._ready_s = float("-inf")
        self._lock = threading.Lock()

    @property
    def health(self) -> dict[str, Any]:
        """The counters and percentiles, the level, and how long the engine has been silent."""
        pipeline = self._pipeline
        since_s, now_s = pipeline.busy_since_s, self._clock()
        return {
            **pipeline.health.snapshot(now_s),
            "level": pipeline.level_name(pipeline.level),
            "level_index": pipeline.level,
            "engine_silent_s": 0.0 if since_s is None else round(now_s - since_s, 3),
            "longest_queue": max(slot.longest for slot in pipeline.slots),
        }

    @property
    def steps(self) -> list[Step]:
        """The latest changes of level, oldest first."""
        return list(self._pipeline.steps)

    def health_line(self) -> str:
        """Return the health in one line."""
        return health_line(self.health)

    def prometheus_text(self, *, stream: str = "stereo") -> str:
        """Return the health in Prometheus' text format.

        Args:
            stream: value of the label `stream`.
        """
        return prometheus_text(self.health, stream=stream)

    def latest(self, timeout_s: float | None = None) -> StreamResult | None:
        """Return the next result; None if none comes within `timeout_s`, or when it is over.

        Args:
            timeout_s: 0 does not wait; None waits for as long as it takes.

        Raises:
            InputError: the source is lost, or nothing that it gives can be used.
            EngineError: the engine failed or stopped answering.
        """
        self.start()
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = None if until_s is None else max(0.0, until_s - time.monotonic())
            try:
                # In short waits, so that an interrupt from the keyboard is seen on every platform.
                job = self._pipeline.finished.get(0.2 if left_s is None else min(left_s, 0.2))
            except Ended:
                break
            result = None if job is None else self._pipeline.hand_out(job)
            if result is not None or (left_s is not None and left_s <= 0.2 and job is None):
                return result
        if self._error is None:
            return None
        self._raised = True
        # With what it came with: raised again and again it would gather the traceback of each time.
        raise self._error.with_traceback(self._traceback)

    @property
    def is_over(self) -> bool:
        """Whether `latest` has nothing more to say: no result, nor the error that ended it all."""
        # In this order: an error is there before all is at its end.
        return self._has_ended and (self._error is None or self._raised or self._closing.is_set())

    @property
    def _has_ended(self) -> bool:
        finished = self._pipeline.finished
        return finished.is_finished and not len(finished)

    def __iter__(self) -> Iterator[StreamResult]:
        """Yield results until the source ends; leaving the loop closes the stream."""
        try:
            while (result := self.latest()) is not None:
                yield result
        finally:
            self.close()

    def start(self) -> None:
        """Begin, if it has not begun; the first result or loop does so by itself."""
        with self._lock:
            if self._threads or self._closing.is_set():
                return
            pipeline = self._pipeline
            stages = (
                ("prepare", pipeline.prepare, pipeline.captured, pipeline.prepared),
                ("compute", pipeline.compute, pipeline.prepared, pipeline.computed),
                ("finish", pipeline.finish, pipeline.computed, pipeline.finished),
            )
            self._threads = [
                _thread(name, self._run_stage, work, source, sink)
                for name, work, source, sink in stages
            ]
            self._threads.append(_thread("watch", self._watch))
            self._capture.start()
            for thread in self._threads:
                thread.start()

    def close(self) -> None:
        """Stop all threads; closing twice is fine. What was under way is counted as dropped."""
        self._closing.set()
        self._capture.stop()
        self._clear()
        waiting = [thread for thread in self._threads if thread.is_alive()]
        current = threading.current_thread()
        for thread in [*self._capture.threads, *waiting]:
            if thread is not current:
                thread.join(self._options.close_timeout_s)
                if thread.is_alive():
                    log.warning("%s does not stop and is left behind", thread.name)
        self._clear()

    def __enter__(self) -> StereoStream:
        """Begin; leaving the block closes the stream."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the stream."""
        self.close()

    def _run_stage(
        self, work: Callable[[Job], Job | None], source: Slot[Job], sink: Slot[Job]
    ) -> None:
        try:
            while True:
                try:
                    job = source.get()
                except Ended:
                    sink.finish()
                    return
                done = None if job is None else self._done(work, job)
                if done is not None:
                    self._pipeline.put(sink, done)
                elif self._closing.is_set():
                    return
        except BaseException as error:
            self._fail(error)

    def _done(self, work: Callable[[Job], Job | None], job: Job) -> Job | None:
        """Do a stage's work; a pair that it fails with is accounted for."""
        try:
            return work(job)
        except BaseException:
            self._pipeline.give_up(job)
            raise

    def _source_ended(self, error: BaseException | None) -> None:
        """Let what is under way come out, then end, or raise where the source was lost."""
        self._keep(error)
        self._pipeline.captured.finish()

    def _fail(self, error: BaseException) -> None:
        """End at once with an error."""
        if not self._closing.is_set():
            self._keep(error)
        self._capture.stop()
        self._clear()

    def _keep(self, error: BaseException | None) -> None:
        """Keep the first error for the caller."""
        with self._lock:
            if self._error is None and error is not None:
                self._traceback = error.__traceback__
                self._error = error

    def _clear(self) -> None:
        for slot in self._pipeline.slots:
            self._pipeline.health.count("dropped", len(slot.close()))

    def _watch(self) -> None:
        """Look after the engine and the source, the heat and the log, until the stream ends."""
        heat_s = log_s = self._clock()
        while not self._closing.wait(_WATCH_EVERY_S):
            if self._has_ended:
                return
            try:
                now_s = self._clock()
                self._check_engine(now_s)
                self._capture.check(now_s)
                if now_s - heat_s >= _HEAT_EVERY_S:
                    heat_s = now_s
                    self._pipeline.feel_heat()
            except BaseException as error:
                self._fail(error)
                return
            every_s = self._options.log_every_s
            if every_s is not None and now_s - log_s >= every_s:
                log_s = now_s
                log.info("%s", self.health_line())

    def _check_engine(self, now_s: float) -> None:
        since_s = self._pipeline.busy_since_s
        if self._pipeline.is_preparing:
            self._ready_s = now_s
        silent_s = 0.0 if since_s is None else now_s - max(since_s, self._ready_s)
        if silent_s <= self._options.engine_timeout_s:
            return
        self._pipeline.health.count("stalls")
        self._pipeline.expect_no_answer()
        raise EngineError(
            f"the engine has not answered for {silent_s:.1f} s (limit "
            f"{self._options.engine_timeout_s:g} s); its device may hang: look at its log (dmesg, "
            "nvidia-smi), restart the process, or raise engine_timeout_s for a slow model"
        )


def _thread(name: str, target: Callable[..., None], *arguments: Any) -> threading.Thread:  # noqa: ANN401
    # Daemons: a thread that a driver never lets go must not keep the process from ending.
    return threading.Thread(target=target, args=arguments, name=f"litestereo {name}", daemon=True)
