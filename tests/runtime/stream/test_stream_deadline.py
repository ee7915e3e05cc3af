"""The deadline mode on a virtual clock: down under load, up again, no see-saw, all counted."""

import itertools
import logging

import numpy as np
import pytest
from timed import TimedBackend, VirtualClock, VirtualRun

from litestereo.errors import InputError
from litestereo.runtime.engine import StereoEngine
from litestereo.runtime.stream import DeadlineOptions, Level
from litestereo.runtime.stream.deadline import Deadline
from litestereo.runtime.stream.frames import SourceFrame
from litestereo.runtime.stream.pipeline import Pipeline, Work

SIZE = (128, 192)
FULL = SIZE[0] * SIZE[1]
LADDER = (Level("full"), Level("half", 0.5), Level("quarter", 0.25))
PERIOD_MS = 40.0


def options(**changes):
    return DeadlineOptions(**{"period_ms": PERIOD_MS, "levels": LADDER, **changes})


def run_with(latency_s, *, seconds=30.0, **changes):
    """Run a camera of 25 Hz; `latency_s` takes the clock and the pixels that are computed."""
    run = VirtualRun(
        lambda pixels: latency_s(run.clock(), pixels), deadline=options(**changes), size=SIZE
    )
    run.shoot([k * PERIOD_MS / 1e3 for k in range(int(seconds * 1e3 / PERIOD_MS))])
    run.run()
    return run


def names(run):
    return [(step.before, step.after) for step in run.pipeline.steps]


def test_what_fits_never_steps():
    run = run_with(lambda _, pixels: 0.035 * pixels / FULL)
    assert names(run) == []
    assert {result.level for result in run.results} == {"full"}


def test_overload_steps_down_until_it_fits_and_stays():
    run = run_with(lambda _, pixels: 0.1 * pixels / FULL)  # 100 ms, 25 ms, 6 ms
    assert names(run) == [("full", "half")]
    assert run.results[-1].level == "half"
    assert run.results[-1].stereo.inference_size == (64, 96)
    assert run.results[-1].stereo.disparity_px.shape == SIZE
    health = run.pipeline.health.snapshot()
    assert (health["steps_down"], health["steps_up"]) == (1, 0)
    # Window and settling, at 100 ms each: about a second until it fits.
    assert run.pipeline.steps[0].at_s < 1.3


def test_it_goes_down_the_whole_ladder():
    run = run_with(lambda _, pixels: 0.6 * pixels / FULL)  # 600, 150, 37.5 ms
    assert names(run) == [("full", "half"), ("half", "quarter")]


def test_it_comes_up_again_when_the_load_is_gone(caplog):
    def latency_s(now_s, pixels):
        return (0.1 if now_s < 10 else 0.025) * pixels / FULL

    with caplog.at_level(logging.WARNING, logger="litestereo.stream"):
        run = run_with(latency_s)
    assert names(run) == [("full", "half"), ("half", "full")]
    # 3 s of room after the load ended, and not at once.
    assert 13 <= run.pipeline.steps[1].at_s < 15
    assert len([r for r in caplog.records if "step" in r.getMessage()]) == 2
    assert run.pipeline.health.snapshot()["steps_up"] == 1


def test_a_load_at_the_edge_does_not_see_saw():
    # At half size all looks roomy, but full size does not fit: a constant part deceives.
    def latency_s(_, pixels):
        return 0.06 if pixels == FULL else 0.005

    run = run_with(latency_s, seconds=120)
    # The ratio that was measured on the way down says 60 ms: it never tries.
    assert names(run) == [("full", "half")]


def test_failed_ascents_wait_longer_each_time():
    # The load answers each ascent: after it the machine slows down, as a throttled one would.
    state = {"hold": 0}

    def latency_s(_, pixels):
        if pixels == FULL:
            state["hold"] = 30
            return 0.06
        state["hold"] -= 1
        return 0.012 if state["hold"] > 0 else 0.002

    run = run_with(latency_s, seconds=150)
    ups = [step.at_s for step in run.pipeline.steps if step.after == "full"]
    gaps = [later - before for before, later in itertools.pairwise(ups)]
    assert len(gaps) >= 3
    # Holds of 6, 12, 24 s and so on, and the time until the overload is noticed.
    for gap, hold_s in zip(gaps, (6, 12, 24, 48), strict=False):
        assert hold_s < gap < hold_s + 2.5


def test_a_single_slow_inference_is_no_overload():
    slow = iter([0.3 if k % 20 == 19 else 0.02 for k in range(5000)])
    run = run_with(lambda *_: next(slow))
    assert names(run) == []


def test_heat_steps_down_and_holds_until_it_is_gone():
    deadline = Deadline(options(hold_s=3.0))
    assert deadline.felt_heat(True, now_s=0.0).after == "half"
    assert deadline.felt_heat(True, now_s=1.0) is None  # gives the step time to work
    assert deadline.felt_heat(True, now_s=3.5).after == "quarter"
    assert deadline.felt_heat(True, now_s=9.0) is None  # nothing below
    for k in range(200):
        assert deadline.computed(1.0, level=2, now_s=10 + k * 0.04) is None, "up while hot"
    deadline.felt_heat(False, now_s=20.0)
    steps = [deadline.computed(1.0, level=deadline.level, now_s=20 + k * 0.04) for k in range(300)]
    assert [step.after for step in steps if step] == ["half", "full"]


def test_the_heat_hook_is_asked_by_the_pipeline():
    run = VirtualRun(lambda _: 0.01, deadline=options(too_hot=lambda: True), size=SIZE)
    run.pipeline.feel_heat()
    assert names(run) == [("full", "half")]
    assert run.pipeline.health.snapshot()["steps_down"] == 1


def test_pairs_that_cannot_be_in_time_are_skipped():
    one = (Level("full"),)
    run = VirtualRun(lambda _: 0.03, deadline=options(levels=one, max_age_ms=60.0), size=SIZE)
    run.shoot([k * 0.04 for k in range(100)])
    run.run()
    run.shoot([run.clock() + 0.05])
    run.clock.advance(0.1)  # the pair has waited for 50 ms and would be 80 ms old when done
    run.run()
    health = run.pipeline.health.snapshot()
    assert (health["frames_out"], health["skipped"]) == (100, 1)


def run_with_old_pairs(latency_s, *, old_s, pairs=400, **changes):
    """Run a camera of 25 Hz whose pairs are on their way for `old_s` before they arrive."""
    run = VirtualRun(
        lambda pixels: latency_s(run.clock(), pixels), deadline=options(**changes), size=SIZE
    )
    picture = np.zeros((*SIZE, 3), np.uint8)

    def arrive():
        run.pipeline.capture(SourceFrame(picture, picture, run.clock() - old_s))

    for k in range(pairs):
        run.clock.at(k * PERIOD_MS / 1e3, arrive)
    run.run()
    return run


def test_pairs_that_arrive_old_step_down_to_what_is_in_time():
    # 45 ms on the way and 38 ms of computing are over 80; at half the size it is 55 ms.
    run = run_with_old_pairs(lambda _, pixels: 0.038 * pixels / FULL, old_s=0.045)
    assert names(run) == [("full", "half")]
    assert "38.0 ms and 45.0 before them are over 80.0" in run.pipeline.steps[0].reason
    assert run.pipeline.steps[0].at_s < 1
    assert not any(result.late for result in run.results[12:])
    assert len(run.results) > 380


def test_a_passing_load_does_not_leave_the_stream_blind():
    one = (Level("full"),)

    def latency_s(now_s, _):
        return 0.038 if now_s < 4 else 0.015

    run = run_with_old_pairs(latency_s, old_s=0.045, levels=one)
    early = [result for result in run.results if result.frame.captured_s < 4]
    assert 15 <= len(early) <= 25, "one of nine is computed while all are late"
    # Median of eight: five measurements, each after eight pairs, and all are computed again.
    assert len(run.results) - len(early) > 300 - 9 * 5
    assert run.results[-1].late is False


def test_pairs_that_arrive_too_old_do_not_step_down_in_vain():
    run = run_with_old_pairs(lambda *_: 0.01, old_s=0.5)
    assert names(run) == []
    assert 30 < len(run.results) < 60


def test_a_stamp_in_the_future_does_not_stop_what_follows():
    deadline = Deadline(options())
    wanted = 0
    for k in range(200):
        now_s = k * PERIOD_MS / 1e3
        wanted += deadline.wants(captured_s=now_s + (3600 if k == 10 else 0), now_s=now_s)
    assert wanted == 200


def test_late_results_are_counted_and_withheld_on_request():
    one = (Level("full"),)
    marked = run_with(lambda *_: 0.1, seconds=4, levels=one)
    assert all(result.late for result in marked.results)
    assert marked.pipeline.health.snapshot()["late"] == len(marked.results) > 30
    withheld = run_with(lambda *_: 0.1, seconds=4, levels=one, deliver_late=False)
    health = withheld.pipeline.health.snapshot()
    assert withheld.results == []
    assert health["late"] == health["withheld"] == len(marked.results)
    assert health["in_flight"] == 0


def test_a_level_may_have_a_model_of_its_own():
    clock = VirtualClock()
    small = StereoEngine(TimedBackend(clock.advance, lambda _: 0.01))
    ladder = (Level("large"), Level("small", engine=small))
    run = VirtualRun(lambda _: 0.1, deadline=options(levels=ladder), size=SIZE, clock=clock)
    run.shoot([k * 0.04 for k in range(300)])
    run.run()
    assert names(run) == [("large", "small")]
    assert run.results[-1].level == "small"
    assert run.results[-1].stereo.inference_size == SIZE


def test_a_ladder_that_cannot_be_quicker_is_refused():
    backend = TimedBackend(lambda _: None, lambda _: 0.0)
    backend.fixed_size = SIZE
    with pytest.raises(InputError, match="whatever it is given"):
        Pipeline(
            StereoEngine(backend), deadline=options(), work=Work(), live=True, clock=lambda: 0.0
        )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"period_ms": 0}, "period"),
        ({"max_age_ms": 0}, "age"),
        ({"levels": ()}, "at least one level"),
        ({"levels": (Level("a"), Level("a"))}, "name of its own"),
        ({"headroom": 1.0}, "headroom"),
    ],
)
def test_impossible_deadlines_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        options(**changes)


def test_a_level_only_shrinks():
    with pytest.raises(InputError, match="shrink"):
        Level("larger", 1.5)


def test_a_level_that_cannot_run_is_told_before_it_is_needed():
    ladder = (Level("full"), Level("0.2", 0.2))
    run = VirtualRun(lambda _: 0.01, deadline=options(levels=ladder), size=SIZE)
    with pytest.raises(InputError, match=r"level '0.2' cannot run: .*leave it \(--shrink 0.2\)"):
        run_of(run, SIZE)
    run = VirtualRun(lambda _: 0.01, deadline=options(levels=ladder), size=SIZE)
    run_of(run, (192, 256))
    run.clock.advance(1)
    with pytest.raises(InputError, match="images of 128x192 become 25x38"):
        run_of(run, SIZE)


def run_of(run, size):
    """Let a run have one pair of a size."""
    pixels = np.zeros((*size, 3), np.uint8)
    run.pipeline.capture(SourceFrame(pixels, pixels, run.clock()))
    run.run()
