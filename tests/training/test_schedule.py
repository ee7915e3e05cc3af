"""A schedule by the clock and the pauses of its sitting."""

import time

import pytest

from litestereo.training.options import TrainOptions
from litestereo.training.schedule import Schedule


@pytest.fixture
def now(monkeypatch):
    seconds = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    return seconds


def test_a_pause_takes_nothing_from_the_schedule(tmp_path, now):
    schedule = Schedule(TrainOptions(output=tmp_path, minutes=10, fit_schedule=True))
    with schedule.paused():  # before the first step: nothing counts yet
        now[0] = 1.0
    schedule.advance()
    progress, jumps, over = [0.0], [], False
    while not over:
        now[0] += 1.0
        if now[0] == 200.0:
            with schedule.paused():
                now[0] += 150.0
        schedule.progress, over = schedule.clock()
        jumps.append(schedule.progress - progress[-1])
        progress.append(schedule.progress)
        schedule.advance()
    assert max(jumps) < 1 / 300
    assert progress[-1] == 1.0
    assert 580 < now[0] <= 600
    assert progress[199] == pytest.approx(199 / 587, abs=0.01)


def test_a_pause_beyond_the_sitting_ends_it(tmp_path, now):
    schedule = Schedule(TrainOptions(output=tmp_path, minutes=1, fit_schedule=True))
    schedule.advance()
    with schedule.paused():
        now[0] = 70.0
    now[0] = 70.1
    assert schedule.clock() == (1.0, True)
