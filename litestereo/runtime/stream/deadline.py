"""The deadline mode: which pairs are worth computing, and at what size or by what model.

Nothing here looks at a clock or starts a thread: times are given, so that every rule is tested on
a clock of its own. Levels are a ladder from the finest to the quickest. It steps down when the
computation does not fit the period any more, when pairs arrive so old that it makes them late, or
when the machine is too hot, and up again when the next level would fit with room to spare for a
while; an ascent that fails makes the next one wait twice as long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from litestereo.errors import InputError

if TYPE_CHECKING:
    from litestereo.runtime.engine import StereoEngine

__all__ = ["Deadline", "DeadlineOptions", "Level", "Step"]

# A camera's frames come a little early or late; this much of the period is still on time.
_JITTER = 0.25
# After a change the first inferences allocate and choose algorithms for the new size.
_SETTLING = 2
# Pairs in a row that are taken for too old; the next one is computed, as times may have changed.
_MOST_TOO_OLD = 8
_LONGEST_HOLD_FACTOR = 16


@dataclass(frozen=True, slots=True)
class Level:
    """One rung of the ladder.

    Attributes:
        name: for logs and counters.
        shrink: inference size over what the engine would take by itself, above 0 and at most 1.
        engine: that computes this level; None: the stream's own. The caller closes it.
    """

    name: str
    shrink: float = 1.0
    engine: StereoEngine | None = None

    def __post_init__(self) -> None:
        """Refuse sizes that do not shrink."""
        if not 0 < self.shrink <= 1:
            raise InputError(
                f"level {self.name!r} has shrink {self.shrink}; it must be above 0, at most 1"
            )


@dataclass(frozen=True, slots=True)
class DeadlineOptions:
    """What the stream has to keep.

    Attributes:
        period_ms: target time between results; pairs that come sooner are skipped.
        max_age_ms: greatest age of a result; pairs that could not meet it are skipped, at most
            eight in a row, and results above it are late. None: two periods.
        deliver_late: whether late results are handed out, marked; otherwise they are withheld.
        levels: from the finest to the quickest; one level never changes.
        window: inferences that are looked at before stepping down.
        headroom: part of the period that a finer level may need to be tried.
        hold_s: how long that must have been so.
        too_hot: asked once a second; while it says yes, the stream steps down, one level each
            `hold_s`, and never up. For example whether a temperature file is above a limit.
    """

    period_ms: float
    max_age_ms: float | None = None
    deliver_late: bool = True
    levels: tuple[Level, ...] = (Level("full"),)
    window: int = 8
    headroom: float = 0.7
    hold_s: float = 3.0
    too_hot: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be kept."""
        if not self.period_ms > 0:
            raise InputError(f"the period is {self.period_ms} ms; it must be above 0")
        if self.max_age_ms is not None and not self.max_age_ms > 0:
            raise InputError(f"the greatest age is {self.max_age_ms} ms; it must be above 0")
        if not self.levels or len({level.name for level in self.levels}) < len(self.levels):
            raise InputError("the ladder needs at least one level, and a name of its own for each")
        if not (self.window >= 1 and 0 < self.headroom < 1 and self.hold_s >= 0):
            raise InputError(
                f"window {self.window}, headroom {self.headroom}, hold {self.hold_s} s; need at "
                "least 1, between 0 and 1, and at least 0"
            )

    @property
    def age_limit_ms(self) -> float:
        """The greatest age that a result may have."""
        return 2 * self.period_ms if self.max_age_ms is None else self.max_age_ms


@dataclass(frozen=True, slots=True)
class Step:
    """A change of level.

    Attributes:
        at_s: when, on the stream's clock.
        before: name of the level that was left.
        after: name of the level that is used from now on.
        reason: why, in words, with the numbers.
    """

    at_s: float
    before: str
    after: str
    reason: str


class Deadline:
    """The state of the deadline mode; for one thread, or under the caller's lock.

    Attributes:
        level: index of the level to use.
    """

    def __init__(self, options: DeadlineOptions) -> None:
        """Begin at the finest level.

        Args:
            options: the period, the limit of age and the ladder.
        """
        self.options = options
        self.level = 0
        self._recent_ms: deque[float] = deque(maxlen=options.window)
        self._arrival_ms: deque[float] = deque(maxlen=options.window)
        self._too_old_in_a_row = 0
        self._settling = _SETTLING
        self._due_s: float | None = None
        # How many times longer level i took than level i + 1, measured around each descent.
        self._ratios: dict[int, float] = {}
        self._left_at_ms: tuple[int, float] | None = None
        self._roomy_since_s: float | None = None
        self._hold_factor = 1
        self._climbed_at_s: float | None = None
        self._cooled_at_s: float | None = None
        self._hot = False

    def wants(self, *, captured_s: float, now_s: float) -> bool:
        """Whether a pair is worth computing: on the period's grid, and in time when it is done.

        Args:
            captured_s: when the pair was taken, seconds on the same clock; what lies ahead of the
                present, as stamps of another machine's clock may, counts as taken now.
            now_s: the present, seconds on the stream's clock.
        """
        captured_s = min(captured_s, now_s)
        period_s = self.options.period_ms / 1e3
        slack_s = _JITTER * period_s
        if self._due_s is not None and captured_s < self._due_s - slack_s:
            return False
        arrival_ms = 1e3 * (now_s - captured_s)
        self._arrival_ms.append(arrival_ms)
        # A level that can never be in time must still be measured, or no step down would follow.
        measured = len(self._recent_ms) == self.options.window
        too_old = arrival_ms + self._expected_ms() > self.options.age_limit_ms
        if measured and arrival_ms > self.options.period_ms and too_old:
            self._too_old_in_a_row += 1
            if self._too_old_in_a_row <= _MOST_TOO_OLD:
                return False
        self._too_old_in_a_row = 0
        # The grid goes on from where it was; after a gap it begins anew.
        due_s = captured_s if self._due_s is None else self._due_s
        self._due_s = max(due_s + period_s, captured_s + period_s - slack_s)
        return True

    def is_late(self, age_ms: float) -> bool:
        """Whether a result of this age is late.

        Args:
            age_ms: since the pair was taken.
        """
        return age_ms > self.options.age_limit_ms

    def computed(self, busy_ms: float, *, level: int, now_s: float) -> Step | None:
        """Take note of one inference; return the change of level that follows from it.

        Args:
            busy_ms: how long the slowest stage was busy with the pair.
            level: that it ran at.
            now_s: on the stream's clock.
        """
        if level != self.level:
            return None  # it was on its way when the level changed
        if self._settling:
            self._settling -= 1
            return None
        self._recent_ms.append(busy_ms)
        if len(self._recent_ms) < self.options.window:
            return None
        typical_ms = median(self._recent_ms)
        self._learn_ratio(typical_ms)
        period_ms = self.options.period_ms
        if typical_ms > period_ms:
            self._roomy_since_s = None
            reason = f"{typical_ms:.1f} ms a pair do not fit {period_ms:.1f} ms"
            return self._down(reason, typical_ms, now_s)
        if self._makes_late(typical_ms):
            self._roomy_since_s = None
            limit_ms, arrival_ms = self.options.age_limit_ms, median(self._arrival_ms)
            reason = f"{typical_ms:.1f} ms and {arrival_ms:.1f} before them are over {limit_ms:.1f}"
            return self._down(reason, typical_ms, now_s)
        return self._up_if_roomy(typical_ms, now_s)

    def felt_heat(self, hot: bool, *, now_s: float) -> Step | None:
        """Take note of the machine's heat; return the change of level that follows from it.

        Args:
            hot: whether the machine slows itself down.
            now_s: the present, seconds on the stream's clock.
        """
        self._hot = hot
        if not hot:
            return None
        self._roomy_since_s = None
        if self._cooled_at_s is not None and now_s - self._cooled_at_s < self.options.hold_s:
            return None
        self._cooled_at_s = now_s
        full = len(self._recent_ms) == self.options.window
        return self._down("too hot", median(self._recent_ms) if full else None, now_s)

    def _makes_late(self, busy_ms: float) -> bool:
        """Whether pairs come in time and a computation of so long makes them late."""
        arrival_ms = median(self._arrival_ms) if self._arrival_ms else 0.0
        return arrival_ms <= self.options.age_limit_ms < arrival_ms + busy_ms

    def _expected_ms(self) -> float:
        return median(self._recent_ms) if self._recent_ms else 0.0

    def _learn_ratio(self, typical_ms: float) -> None:
        """Compare with the level that was left for this one, once, when this one is settled."""
        if self._left_at_ms is not None and self._left_at_ms[0] == self.level - 1:
            self._ratios[self.level - 1] = max(1.0, self._left_at_ms[1] / max(typical_ms, 1e-6))
            self._left_at_ms = None

    def _down(self, reason: str, typical_ms: float | None, now_s: float) -> Step | None:
        if self.level + 1 >= len(self.options.levels):
            return None
        if self._climbed_at_s is not None:
            hold_s = self.options.hold_s * self._hold_factor
            failed = now_s - self._climbed_at_s < 2 * hold_s
            grown = min(2 * self._hold_factor, _LONGEST_HOLD_FACTOR)
            self._hold_factor = grown if failed else 1
            self._climbed_at_s = None
        self._left_at_ms = None if typical_ms is None else (self.level, typical_ms)
        return self._change(self.level + 1, reason, now_s)

    def _up_if_roomy(self, typical_ms: float, now_s: float) -> Step | None:
        if self.level == 0 or self._hot:
            return None
        finer = self.options.levels[self.level - 1]
        expected_ms = typical_ms * self._ratios.get(self.level - 1, self._area_ratio())
        too_slow = expected_ms > self.options.headroom * self.options.period_ms
        if too_slow or self._makes_late(expected_ms):
            self._roomy_since_s = None
            return None
        if self._roomy_since_s is None:
            self._roomy_since_s = now_s
        if now_s - self._roomy_since_s < self.options.hold_s * self._hold_factor:
            return None
        self._climbed_at_s = now_s
        reason = f"{finer.name} should take {expected_ms:.1f} of {self.options.period_ms:.1f} ms"
        return self._change(self.level - 1, reason, now_s)

    def _area_ratio(self) -> float:
        """Return the ratio of areas of the next finer level and this one, where it says more."""
        finer, here = self.options.levels[self.level - 1], self.options.levels[self.level]
        return max(1.0, (finer.shrink / here.shrink) ** 2)

    def _change(self, level: int, reason: str, now_s: float) -> Step:
        names = [each.name for each in self.options.levels]
        step = Step(now_s, names[self.level], names[level], reason)
        self.level = level
        self._recent_ms.clear()
        self._settling = _SETTLING
        self._roomy_since_s = None
        return step
