"""Warm-up, turns and both loops on a clock that the test moves."""

import numpy as np
import pytest

from litestereo.benchmarks.latency.loops import Case, closed_turn, open_turn, turns, within
from litestereo.benchmarks.latency.sensors import NoSensor, Reading
from litestereo.benchmarks.latency.subjects import Iteration
from litestereo.benchmarks.latency.warmup import WarmupOptions, warm_up


class Clock:
    """Seconds that pass only when something takes time."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class Subject:
    """Takes so many milliseconds for each pair, the last figure for ever."""

    def __init__(self, clock, *latencies_ms):
        self.clock, self.latencies_ms, self.calls = clock, list(latencies_ms), 0

    def __call__(self, left, right):
        self.calls += 1
        taken_ms = self.latencies_ms[min(self.calls, len(self.latencies_ms)) - 1]
        self.clock.now += taken_ms / 1e3
        stages_ms = {"inference": taken_ms, "total": taken_ms}
        return Iteration(stages_ms, np.zeros((1, 1), np.float32))


class Sensor(NoSensor):
    def read(self):
        return Reading(power_w=7.0)


@pytest.fixture
def clock():
    return Clock()


def case(subject, key="one"):
    return Case(key, subject, (None, None))


def warmed(clock, *latencies_ms, limit_s=20.0):
    subject = Subject(clock, *latencies_ms)
    return warm_up(
        lambda: subject(None, None).stages_ms["total"],
        options=WarmupOptions(limit_s=limit_s),
        clock=clock,
    )


def test_steady_latency_is_at_rest_after_three_windows(clock):
    warmup = warmed(clock, 10.0)
    assert warmup.at_rest
    assert warmup.spread == 0
    assert warmup.iterations == 1 + 3 * 10  # a window is 0.1 s of 10 ms


def test_falling_latency_is_waited_for(clock):
    falling = [5000.0, *(10 * 1.03**n for n in range(60, 0, -1)), 10.0]
    warmup = warmed(clock, *falling)
    assert warmup.at_rest
    assert warmup.first_ms == 5000
    assert warmup.iterations > 60


def test_restless_latency_is_given_up_on_and_said(clock):
    warmup = warmed(clock, *([10.0] * 10 + [20.0] * 10) * 100, limit_s=3.0)
    assert not warmup.at_rest
    assert warmup.spread > 0.05
    assert 3.0 <= warmup.seconds < 3.1


def test_compiling_does_not_eat_the_limit(clock):
    assert warmed(clock, 60_000.0, 10.0, limit_s=5.0).at_rest


def test_every_round_has_every_case_in_another_order():
    cases = [case(None, key) for key in "abcd"]
    listed = turns(cases, rounds=20, seed=1)
    orders = ["".join(turn.case.key for turn in listed if turn.round == i) for i in range(20)]
    assert all(sorted(order) == list("abcd") for order in orders)
    assert len(set(orders)) > 10
    assert [t.key for t in turns(cases, rounds=20, seed=1)] == [t.key for t in listed]
    assert [t.key for t in turns(cases, rounds=20, seed=2)] != [t.key for t in listed]


def test_the_limit_ends_whole_rounds(clock):
    listed = turns([case(None, key) for key in "ab"], rounds=5, seed=1)
    taken = []
    for turn in within(iter(listed), limit_s=2.5, clock=clock):
        taken.append(turn)
        clock.now += 1
    assert len(taken) == 4  # the second round ends after the limit, the third does not begin
    assert len(list(within(iter(listed), limit_s=None))) == 10


def test_closed_turn_counts_all_but_the_settling(clock):
    one = case(Subject(clock, 99.0, 99.0, 5.0))
    closed_turn(one, settle=2, block=10, sensor=Sensor())
    assert one.closed.stages_ms["total"] == [5.0] * 10
    assert one.closed.readings == [Reading(power_w=7.0)]
    assert one.closed.turns == [10]


def open_case(clock, *latencies_ms, frames):
    one = case(Subject(clock, *latencies_ms))
    open_turn(one, rate_hz=10.0, frames=frames, sensor=NoSensor(), clock=clock, sleep=clock.sleep)
    return one.open


def test_fast_subject_answers_every_frame_and_idles(clock):
    loop = open_case(clock, 20.0, frames=10)
    assert loop.dropped == 0
    np.testing.assert_allclose(loop.stages_ms["response"], [20.0] * 10, atol=1e-6)
    assert clock.now == pytest.approx(100 + 0.9 + 0.02)


def test_slow_subject_drops_overtaken_frames_and_takes_the_newest(clock):
    # 250 ms at 10 Hz: frame 0 is done at 250 ms, when frame 2 is the newest, due 50 ms ago.
    loop = open_case(clock, 250.0, frames=10)
    assert len(loop.stages_ms["response"]) + loop.dropped == 10
    np.testing.assert_allclose(loop.stages_ms["response"][:3], [250.0, 300.0, 250.0], atol=1e-6)
    assert loop.stages_ms["total"][0] == 250.0
    assert loop.turns == [len(loop.stages_ms["total"])]


def test_each_open_turn_keeps_its_own_length(clock):
    one = case(Subject(clock, *[250.0] * 4, 20.0))
    for _ in range(2):
        open_turn(one, rate_hz=10.0, frames=10, sensor=NoSensor(), clock=clock, sleep=clock.sleep)
    first, second = one.open.turns
    assert first < second == 10
    assert first + second == len(one.open.stages_ms["total"])


def test_one_hiccup_delays_the_next_frame(clock):
    loop = open_case(clock, 20.0, 150.0, 20.0, frames=5)
    np.testing.assert_allclose(loop.stages_ms["response"], [20, 150, 70, 20, 20], atol=1e-6)
    assert loop.dropped == 0
