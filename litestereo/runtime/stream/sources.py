"""Where pairs come from: the protocol, and the sources that need no OpenCV."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError
from litestereo.runtime.stream.frames import SourceFrame
from litestereo.runtime.stream.slots import Ended, Slot

__all__ = [
    "FrameReader",
    "FrameSource",
    "IterableSource",
    "PushSource",
    "RepeatedPair",
    "as_source",
]

Image = NDArray[np.uint8]
Clock = Callable[[], float]


class FrameReader(Protocol):
    """An open source; read by one thread, which also closes it."""

    @property
    def unpaired(self) -> int:
        """Pictures lost so far before they made a pair."""

    def read(self) -> SourceFrame | None:
        """Wait for the next pair and return it; None at the end.

        Raises:
            InputError: the source died, or the pair cannot be used.
        """

    def stop(self) -> None:
        """Make a `read` that waits return None soon, where that can be done; from any thread."""

    def close(self) -> None:
        """Let the device or file go; no `read` follows."""


class FrameSource(Protocol):
    """Something that pairs can be read from, again after a failure.

    Attributes:
        name: for messages, such as "cameras 0 and 2".
        live: whether it goes on without being read, so that pairs may be dropped; a file's are not.
        reopens: whether `open` can be called again.
    """

    name: str
    live: bool
    reopens: bool

    def open(self, clock: Clock) -> FrameReader:
        """Return a reader; times are on `clock`.

        Args:
            clock: gives seconds that only grow.

        Raises:
            InputError: there is no such source.
        """


class IterableSource:
    """Pairs from any iterable of (left, right) or `SourceFrame`."""

    reopens = False

    def __init__(self, pairs: Iterable[Any], *, live: bool = False, name: str = "pairs") -> None:
        """Take the pairs; `live` says that they are a camera's, which is not kept waiting.

        Args:
            pairs: of (left, right), (H, W, 3) uint8 RGB; they are copied, so that an iterable may
                fill the same arrays again. Those of a `SourceFrame` are not, and must not change.
            live: a slow consumer loses pairs instead of holding the source up.
            name: for messages.
        """
        self._pairs = pairs
        self.live = live
        self.name = name

    def open(self, clock: Clock) -> FrameReader:
        """Return a reader.

        Args:
            clock: gives seconds that only grow.
        """
        return _IterableReader(iter(self._pairs), clock)


class RepeatedPair:
    """One pair, again and again at a fixed rate: a camera for tests, soaks and demonstrations."""

    live = True
    reopens = True

    def __init__(
        self, left: Image, right: Image, *, rate_hz: float, frames: int | None = None
    ) -> None:
        """Show the pair `frames` times (None: for ever) at `rate_hz`.

        Args:
            left: (H, W, 3) uint8 RGB, rectified.
            right: same of the right camera.
            rate_hz: pairs a second.
            frames: how often.

        Raises:
            InputError: `rate_hz` is not above 0.
        """
        if not rate_hz > 0:
            raise InputError(f"the rate is {rate_hz} Hz; it must be above 0")
        self.name = f"a repeated pair at {rate_hz:g} Hz"
        self._pair = left, right
        self._period_s = 1 / rate_hz
        self._frames = frames

    def open(self, clock: Clock) -> FrameReader:
        """Return a reader.

        Args:
            clock: gives seconds that only grow.
        """
        return _IterableReader(self._paced(clock), clock)

    def _paced(self, clock: Clock) -> Iterator[SourceFrame]:
        start_s, index = clock(), 0
        while self._frames is None or index < self._frames:
            time.sleep(max(0.0, start_s + index * self._period_s - clock()))
            yield SourceFrame(*self._pair, clock())
            index += 1


class PushSource:
    """Pairs that callbacks bring, such as a driver's or ROS's; safe from any thread.

    Example:
        source = PushSource()
        driver.on_pair(source.put)
        for result in engine.stream(source):
            drive(result)
    """

    live = True
    reopens = True

    def __init__(self, name: str = "pushed pairs") -> None:
        """Make a source that waits for its first pair.

        Args:
            name: for messages.
        """
        self.name = name
        self._slot: Slot[SourceFrame] = Slot(1, keep_latest=True)
        self._replaced = 0
        self._told = 0

    def put(
        self,
        left: Image,
        right: Image,
        *,
        captured_s: float | None = None,
        stamp_s: float | None = None,
        context: Any = None,  # noqa: ANN401 - the caller's own
    ) -> None:
        """Give a pair; the arrays must not change afterwards.

        Args:
            left: as for an engine.
            right: as for an engine.
            captured_s: when it was taken, on `time.monotonic`; None: now.
            stamp_s: the source's own time.
            context: what shall come back with the result.
        """
        at_s = time.monotonic() if captured_s is None else captured_s
        frame = SourceFrame(left, right, at_s, stamp_s=stamp_s, context=context)
        self._replaced += self._slot.put(frame) is not None

    def end(self) -> None:
        """Say that no more will come."""
        self._slot.finish()

    def open(self, clock: Clock) -> FrameReader:
        """Return a reader.

        Args:
            clock: gives seconds that only grow.
        """
        return _PushReader(self)

    @property
    def replaced(self) -> int:
        """Pairs that a newer one replaced before the stream took them."""
        return self._replaced

    def _newly_replaced(self) -> int:
        """Return how many were replaced since this was last asked, by any reader."""
        replaced = self._replaced
        before, self._told = self._told, replaced
        return replaced - before


class _IterableReader:
    """Reads an iterator."""

    unpaired = 0

    def __init__(self, pairs: Iterator[Any], clock: Clock) -> None:
        self._pairs = pairs
        self._clock = clock
        self._closed = False

    def read(self) -> SourceFrame | None:
        """Return the next pair; a plain one is copied and stamped now."""
        item = next(self._pairs, None)
        if item is None or self._closed or isinstance(item, SourceFrame):
            return None if self._closed else item
        if not (isinstance(item, tuple | list) and len(item) == 2):
            raise InputError(
                f"the source gave {type(item).__name__}; need (left, right) or a SourceFrame"
            )
        captured_s = self._clock()
        return SourceFrame(_own(item[0]), _own(item[1]), captured_s)

    def stop(self) -> None:
        """Read no more."""
        self._closed = True

    def close(self) -> None:
        """Read no more."""
        self._closed = True


def _own(picture: Any) -> Any:  # noqa: ANN401 - whatever the iterable gave
    """Return a copy of a picture; what is none is refused later, as it would be in a call."""
    return picture.copy() if isinstance(picture, np.ndarray) else picture


class _PushReader:
    """Reads what was pushed.

    Attributes:
        unpaired: pairs that were replaced, and that no reader before has told of.
    """

    def __init__(self, source: PushSource) -> None:
        self._source = source
        self._closed = False
        self.unpaired = 0

    def read(self) -> SourceFrame | None:
        """Return the newest pair, waiting for it."""
        while not self._closed:
            try:
                frame = self._source._slot.get(timeout_s=0.1)
            except Ended:
                return None
            if frame is not None:
                self.unpaired += self._source._newly_replaced()
                return frame
        return None

    def stop(self) -> None:
        """Read no more."""
        self._closed = True

    def close(self) -> None:
        """Read no more."""
        self._closed = True


def as_source(source: Any) -> FrameSource:  # noqa: ANN401 - whatever the caller has
    """Return a source as it is, or an iterable as a source.

    Args:
        source: of pairs.

    Raises:
        InputError: it is neither.
    """
    if hasattr(source, "open") and hasattr(source, "live"):
        found: FrameSource = source
        return found
    if isinstance(source, Iterable) and not isinstance(source, str | bytes):
        return IterableSource(source)
    raise InputError(
        f"{source!r} is no source of pairs; need cameras(0, 2), videos('left.mp4', 'right.mp4'), "
        "folders('left', 'right') or an iterable of (left, right)"
    )
