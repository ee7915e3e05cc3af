"""A camera at 30 Hz and engines of fixed latency, on a virtual clock and, briefly, on the real."""

import time

import numpy as np
import pytest
from timed import TimedBackend, VirtualRun, picture

from litestereo.runtime.engine import StereoEngine
from litestereo.runtime.stream import DeadlineOptions, RepeatedPair, StreamOptions

RATE_HZ = 30


def newest_free(times_s, latency_s):
    """Return the indices that an engine computes which always takes the newest pair."""
    done, free_s, index = [], 0.0, -1
    while True:
        waiting = [i for i in range(index + 1, len(times_s)) if times_s[i] <= free_s]
        if not waiting and index + 1 >= len(times_s):
            return done
        index = waiting[-1] if waiting else index + 1
        done.append(index)
        free_s = max(free_s, times_s[index]) + latency_s


@pytest.mark.parametrize("latency_ms", [5, 30, 34, 50, 90, 250])
def test_drops_are_those_of_a_naive_simulation(latency_ms):
    times_s = [k / RATE_HZ for k in range(600)]
    run = VirtualRun(lambda _: latency_ms / 1e3)
    run.shoot(times_s)
    run.run()
    computed = newest_free(times_s, latency_ms / 1e3)
    health = run.pipeline.health.snapshot()
    assert [result.sequence for result in run.results] == computed
    assert health["frames_in"] == 600
    assert health["frames_out"] == len(computed)
    assert health["dropped"] == 600 - len(computed)
    assert health["in_flight"] == 0
    assert max(slot.longest for slot in run.pipeline.slots) == 1


@pytest.mark.parametrize("latency_ms", [5, 34, 250])
def test_ages_do_not_grow(latency_ms):
    run = VirtualRun(lambda _: latency_ms / 1e3)
    run.shoot([k / RATE_HZ for k in range(600)])
    run.run()
    # A pair waits for at most one period before the engine takes it, being the newest.
    assert max(r.age_ms for r in run.results) <= latency_ms + 1e3 / RATE_HZ + 1e-6


def test_a_source_above_the_target_rate_is_thinned_to_it():
    run = VirtualRun(lambda _: 0.002, deadline=DeadlineOptions(period_ms=1e3 / 30))
    run.shoot([k / 60 for k in range(600)])
    run.run()
    health = run.pipeline.health.snapshot()
    assert health["frames_out"] == health["skipped"] == 300
    assert health["rate_hz"] == pytest.approx(30, abs=0.1)


def test_jitter_on_the_target_rate_loses_nothing():
    rng = np.random.default_rng(3)
    run = VirtualRun(lambda _: 0.002, deadline=DeadlineOptions(period_ms=1e3 / 30))
    run.shoot([0.01 + k / 30 + rng.uniform(-0.003, 0.003) for k in range(600)])
    run.run()
    assert run.pipeline.health.snapshot()["frames_out"] == 600


def test_the_real_clock_agrees():
    """Two seconds at 30 Hz with 50 ms an inference: bounds that a busy machine keeps, too."""
    engine = StereoEngine(TimedBackend(time.sleep, lambda _: 0.05))
    source = RepeatedPair(picture(), picture(), rate_hz=RATE_HZ, frames=60)
    with engine, engine.stream(source, options=StreamOptions()) as stream:
        results = list(stream)
        health = stream.health
    assert health["frames_in"] == 60
    assert health["frames_out"] == len(results)
    assert health["frames_out"] + health["dropped"] == 60
    assert health["longest_queue"] == 1
    assert health["in_flight"] == 0
    # 40 fit into two seconds; never more than one each 50 ms and those at the ends.
    assert 20 <= len(results) <= 43
    sequences = [result.sequence for result in results]
    assert sequences == sorted(set(sequences))


@pytest.mark.alone
def test_stages_overlap():
    """Preparation, inference and post-processing of 40 ms each give 25 Hz, not 8."""
    engine = StereoEngine(TimedBackend(time.sleep, lambda _: 0.04))

    def prepare(left, right):
        time.sleep(0.04)
        return left, right

    pairs = [(picture(), picture())] * 16
    with engine:
        start_s = time.perf_counter()
        with engine.stream(pairs, prepare=prepare, post=lambda _: time.sleep(0.04)) as stream:
            count = len(list(stream))
        took_s = time.perf_counter() - start_s
    assert count == 16
    assert took_s < 16 * 0.12 * 0.75  # 18 x 0.04 = 0.72 s when all overlap, 1.92 s when none do
