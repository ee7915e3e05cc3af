"""Reading a source in a thread of its own, and opening it again when it dies or hangs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from litestereo.errors import InputError, LiteStereoError
from litestereo.runtime.stream.frames import SourceFrame
from litestereo.runtime.stream.health import Health
from litestereo.runtime.stream.sources import FrameReader, FrameSource

__all__ = ["Capture", "CaptureOptions"]

log = logging.getLogger("litestereo.stream")

_LONGEST_PAUSE_S = 10.0
# Beyond so many doublings every pause is the longest one, and 2.0**1024 is no float any more.
_MOST_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """How a source is read; the attributes are those of `StreamOptions`.

    Attributes:
        timeout_s: without a pair for so long it counts as hung.
        reconnects: how often in a row it is opened again.
        reconnect_after_s: pause before that.
    """

    timeout_s: float
    reconnects: int
    reconnect_after_s: float


class _Reading:
    """One open source and the thread on it; after `abandoned`, whatever it still says is void."""

    def __init__(self) -> None:
        self.abandoned = threading.Event()
        self.waiting_since_s: float | None = None
        self.reader: FrameReader | None = None
        self.thread: threading.Thread | None = None
        self.unpaired = 0


class Capture:
    """The capture stage: pushes pairs into `sink`, and calls `end` once."""

    def __init__(
        self,
        source: FrameSource,
        *,
        options: CaptureOptions,
        sink: Callable[[SourceFrame], None],
        end: Callable[[BaseException | None], None],
        health: Health,
        clock: Callable[[], float],
    ) -> None:
        """Keep everything; `start` opens the source.

        Args:
            source: what to read.
            options: when to give up.
            sink: takes each pair; may wait.
            end: takes None at the source's own end, or the error that it was lost by.
            health: counts reconnects and unpaired pictures.
            clock: in seconds.
        """
        self._source = source
        self._options = options
        self._sink = sink
        self._end = end
        self._health = health
        self._clock = clock
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._current: _Reading | None = None
        self._pairs = 0
        self._failures_in_a_row = 0
        self.threads: list[threading.Thread] = []

    def start(self) -> None:
        """Open the source and read it, in a thread."""
        self._begin(pause_s=0.0)

    def stop(self) -> None:
        """Ask the reading thread to end; it may hang in its driver."""
        self._stopped.set()
        reading = self._current
        if reading is not None:
            reading.abandoned.set()
            if reading.reader is not None:
                reading.reader.stop()

    def check(self, now_s: float) -> None:
        """Treat a source that has been silent for too long as lost.

        Args:
            now_s: the present, seconds on the stream's clock.
        """
        reading = self._current
        if reading is None or self._stopped.is_set():
            return
        since_s = reading.waiting_since_s
        if since_s is None or now_s - since_s <= self._options.timeout_s:
            return
        if reading.reader is not None:
            reading.reader.stop()
        error = InputError(
            f"{self._source.name} gave nothing for {now_s - since_s:.1f} s after {self._pairs} "
            "pairs; check cable, power and driver, or raise source_timeout_s for a slow source"
        )
        self._lost(reading, error)

    def _begin(self, *, pause_s: float) -> None:
        reading = _Reading()
        thread = threading.Thread(
            target=self._read, args=(reading, pause_s), name="litestereo capture", daemon=True
        )
        reading.thread = thread
        self._current = reading
        thread.start()
        self.threads = [each for each in self.threads if each.is_alive()] + [thread]

    def _read(self, reading: _Reading, pause_s: float) -> None:
        try:
            if self._stopped.wait(pause_s):
                return
            reading.waiting_since_s = self._clock()
            reading.reader = reader = self._source.open(self._clock)
            try:
                self._pump(reading, reader)
            finally:
                reader.close()
        except LiteStereoError as error:
            try:
                self._lost(reading, error)
            except BaseException as failure:  # such as no more threads: nobody would read on
                self._end(failure)
        except BaseException as error:
            self._finish(reading, error)

    def _pump(self, reading: _Reading, reader: FrameReader) -> None:
        while not reading.abandoned.is_set():
            reading.waiting_since_s = self._clock()
            frame = reader.read()
            reading.waiting_since_s = None
            self._count_unpaired(reading, reader)
            if reading.abandoned.is_set():
                return
            if frame is None:
                self._finish(reading, None)
                return
            self._pairs += 1
            self._failures_in_a_row = 0
            self._sink(frame)

    def _count_unpaired(self, reading: _Reading, reader: FrameReader) -> None:
        unpaired = reader.unpaired
        self._health.count("unpaired", unpaired - reading.unpaired)
        reading.unpaired = unpaired

    def _lost(self, reading: _Reading, error: LiteStereoError) -> None:
        """Open the source again, or end with `error`; once for each reading."""
        with self._lock:
            if reading.abandoned.is_set():
                return
            reading.abandoned.set()
            reading.waiting_since_s = None
            failures = self._failures_in_a_row
            self._failures_in_a_row += 1
            again = self._source.reopens and failures < self._options.reconnects
        if not again:
            self._end(error)
            return
        self._health.count("reconnects")
        log.warning(
            "source lost, opening it again (%d of %d): %s",
            failures + 1,
            self._options.reconnects,
            error,
        )
        pause_s = self._options.reconnect_after_s * 2.0 ** min(failures, _MOST_DOUBLINGS)
        self._begin(pause_s=min(pause_s, _LONGEST_PAUSE_S))

    def _finish(self, reading: _Reading, error: BaseException | None) -> None:
        with self._lock:
            if reading.abandoned.is_set():
                return
            reading.abandoned.set()
        self._end(error)
