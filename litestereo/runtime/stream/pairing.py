"""Finding the two pictures that were taken together."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

from litestereo.errors import InputError

__all__ = ["Pairer", "Side", "Stamped"]

Side = Literal["left", "right"]

# More than a few pictures without a partner mean that the other eye is away.
_WAITING = 8
# A stamp so far behind is no late picture: the clock was set, or a recording plays again.
_RESTART_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Stamped:
    """A picture and when it was taken.

    Attributes:
        picture: whatever is paired.
        stamp_s: on a clock that both eyes share.
    """

    picture: Any
    stamp_s: float


class Pairer:
    """Matches two sequences by time stamps; for one thread, or under the caller's lock.

    Attributes:
        unpaired: pictures that were given up without a partner.
    """

    def __init__(self, tolerance_ms: float) -> None:
        """Pair what lies at most `tolerance_ms` apart; best under half of a frame's period.

        Args:
            tolerance_ms: 0 or more.

        Raises:
            InputError: `tolerance_ms` is below 0.
        """
        if not tolerance_ms >= 0:
            raise InputError(f"the pairing tolerance is {tolerance_ms} ms; it must be 0 or more")
        self._tolerance_s = tolerance_ms / 1e3
        self._waiting: dict[Side, deque[Stamped]] = {"left": deque(), "right": deque()}
        self._last_s: dict[Side, float] = {"left": float("-inf"), "right": float("-inf")}
        self.unpaired = 0

    def offer(self, side: Side, picture: Stamped) -> list[tuple[Stamped, Stamped]]:
        """Add a picture and return the pairs, oldest first, that it completes.

        A stamp that does not follow the eye's last one is a repeated or late picture: unpaired.
        One that lies more than a second before it begins a new sequence of both eyes.

        Args:
            side: which eye.
            picture: with its time in seconds.
        """
        if picture.stamp_s < self._last_s[side] - _RESTART_S:
            self._restart()
        if picture.stamp_s <= self._last_s[side]:
            self.unpaired += 1
            return []
        self._last_s[side] = picture.stamp_s
        waiting = self._waiting[side]
        waiting.append(picture)
        if len(waiting) > _WAITING:
            waiting.popleft()
            self.unpaired += 1
        return self._matched()

    def older_side(self) -> Side:
        """Return the eye whose last picture is the older one: the one to read next."""
        return "left" if self._last_s["left"] <= self._last_s["right"] else "right"

    def _restart(self) -> None:
        for side, waiting in self._waiting.items():
            self.unpaired += len(waiting)
            waiting.clear()
            self._last_s[side] = float("-inf")

    def _matched(self) -> list[tuple[Stamped, Stamped]]:
        pairs = []
        lefts, rights = self._waiting["left"], self._waiting["right"]
        while lefts and rights:
            gap_s = lefts[0].stamp_s - rights[0].stamp_s
            older, other = (rights, lefts) if gap_s > 0 else (lefts, rights)
            if abs(gap_s) > self._tolerance_s or _second_is_closer(older, other[0]):
                older.popleft()
                self.unpaired += 1
            else:
                pairs.append((lefts.popleft(), rights.popleft()))
        return pairs


def _second_is_closer(older: deque[Stamped], head: Stamped) -> bool:
    """Whether the picture after the first one of `older` was taken closer to `head`."""
    if len(older) < 2:
        return False
    first, second = (abs(older[index].stamp_s - head.stamp_s) for index in (0, 1))
    return second < first
