"""Copy a pair's two pictures at the same time: one thread does not fill the memory's bandwidth."""

from __future__ import annotations

import itertools
import threading
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SideCopier"]

# Below it, waking a thread takes as long as copying.
_LEAST_BYTES = 1 << 18

_Copy = tuple[NDArray[Any], NDArray[Any]]


class SideCopier:
    """A thread that copies one array while the caller copies another; not for two callers at once.

    It starts with the first copy that is large enough, and ends with `close`.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._jobs: SimpleQueue[tuple[int, _Copy] | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[int, Exception | None]] = SimpleQueue()
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def copy(self, here: _Copy, aside: _Copy) -> None:
        """Copy both, and return when both are done.

        Args:
            here: destination and source of what the caller's thread copies.
            aside: likewise of what the other thread copies.

        Raises:
            ValueError: an array does not fit its destination.
        """
        if here[0].nbytes < _LEAST_BYTES:
            np.copyto(*here)
            np.copyto(*aside)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="litestereo-copy", daemon=True)
            self._thread.start()
        number = next(self._numbers)
        self._jobs.put((number, aside))
        try:
            np.copyto(*here)
        finally:
            done, error = self._done.get()
            # After an interrupted call the answer to its job may still stand before this one's.
            while done != number:
                done, error = self._done.get()
        if error is not None:
            raise error

    def close(self) -> None:
        """End the thread; closing twice is fine."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            number, (destination, source) = job
            error = None
            try:
                np.copyto(destination, source)
            except Exception as failed:  # for the caller to raise
                error = failed
            del job, destination, source  # nothing of the caller's is kept until the next call
            self._done.put((number, error))
