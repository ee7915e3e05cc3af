"""The bounded queue between two threads of a stream."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

from litestereo.errors import InputError

__all__ = ["Ended", "Slot"]

T = TypeVar("T")


class Ended(Exception):
    """Nothing is left and nothing will come."""


class Slot(Generic[T]):
    """A queue that never grows beyond its capacity.

    Attributes:
        longest: the most that it ever held.
    """

    def __init__(self, capacity: int = 1, *, keep_latest: bool) -> None:
        """Make an empty queue.

        Args:
            capacity: how much it holds.
            keep_latest: whether a full queue lets its oldest item go; otherwise `put` waits.

        Raises:
            InputError: `capacity` is below 1.
        """
        if capacity < 1:
            raise InputError(f"the capacity is {capacity}; a queue holds at least 1")
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._keep_latest = keep_latest
        self._changed = threading.Condition()
        self._finished = False
        self.longest = 0

    def __len__(self) -> int:
        """Return how much it holds."""
        return len(self._items)

    @property
    def is_finished(self) -> bool:
        """Whether nothing more is taken."""
        return self._finished

    def put(self, item: T) -> T | None:
        """Add `item`; return what was let go for it: the oldest, or `item` after the end.

        Args:
            item: the newest one.
        """
        with self._changed:
            while not self._keep_latest and self._is_full() and not self._finished:
                self._changed.wait()
            if self._finished:
                return item
            dropped = self._items.popleft() if self._is_full() else None
            self._items.append(item)
            self.longest = max(self.longest, len(self._items))
            self._changed.notify_all()
            return dropped

    def get(self, timeout_s: float | None = None) -> T | None:
        """Return the oldest item; None where none comes within `timeout_s` (None: no limit).

        Args:
            timeout_s: seconds.

        Raises:
            Ended: nothing is left and nothing will come.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._finished, timeout_s)
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            if self._finished:
                raise Ended
            return None

    def finish(self) -> None:
        """Take no more; what is held can still be fetched."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def close(self) -> list[T]:
        """Take no more and return what was held."""
        with self._changed:
            self._finished = True
            left = list(self._items)
            self._items.clear()
            self._changed.notify_all()
            return left

    def _is_full(self) -> bool:
        return len(self._items) >= self._capacity
