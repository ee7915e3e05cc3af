"""Streams: every pair is accounted for, live sources never queue up, errors reach the caller."""

import time

import numpy as np
import pytest
from stand_in import write_stand_in

from litestereo.errors import InputError, LiteStereoError
from litestereo.runtime.engine import StereoEngine
from litestereo.runtime.stream import PushSource, RepeatedPair, StreamOptions


@pytest.fixture
def engine(tmp_path):
    with StereoEngine.load(write_stand_in(tmp_path / "stand_in.onnx")) as engine:
        yield engine


def pair(value):
    picture = np.full((64, 96, 3), value, np.uint8)
    return picture, picture


def test_pairs_that_can_wait_all_come_out_in_order(engine):
    with engine.stream([pair(v) for v in range(12)]) as stream:
        results = list(stream)
        health = stream.health
    assert [float(r.stereo.disparity_px[0, 0]) for r in results] == [v * 0.5 for v in range(12)]
    assert health["frames_in"] == health["frames_out"] == 12
    assert health["dropped"] == health["invalid"] == 0


def test_an_iterable_may_fill_the_same_arrays_again(engine):
    def pairs():
        left, right = pair(0)
        for value in range(12):
            left[:] = right[:] = value
            yield left, right

    with engine.stream(pairs()) as stream:
        results = list(stream)
    assert [float(r.stereo.disparity_px.max()) for r in results] == [v * 0.5 for v in range(12)]
    assert [int(r.left.max()) for r in results] == list(range(12))


def test_the_pictures_of_a_repeated_pair_are_not_copied(engine):
    left, right = pair(4)
    with engine.stream(RepeatedPair(left, right, rate_hz=100, frames=2)) as stream:
        assert all(result.left is left and result.right is right for result in stream)


def test_a_live_source_faster_than_the_engine_is_dropped_not_queued(engine, monkeypatch):
    infer = engine.infer

    def slow(prepared):
        time.sleep(0.1)
        return infer(prepared)

    monkeypatch.setattr(engine, "infer", slow)
    with engine.stream(RepeatedPair(*pair(8), rate_hz=30, frames=60)) as stream:
        results = list(stream)
        health = stream.health
    assert health["longest_queue"] <= 1
    assert health["frames_in"] == 60
    assert health["frames_out"] == len(results)
    accounted = sum(health[name] for name in ("frames_out", "dropped", "skipped", "invalid"))
    assert accounted == 60
    # Two seconds at 0.1 s an inference: about 20; a busy machine makes fewer, never more.
    assert 8 <= len(results) <= 23
    ages = [result.age_ms for result in results]
    assert ages[-1] < 1000, "the age grows: frames were queued"


def test_an_invalid_pair_is_counted_and_the_rest_goes_on(engine):
    left, _ = pair(4)
    broken = (left, left[:32])
    with engine.stream([pair(1), broken, pair(2)]) as stream:
        results = list(stream)
        assert stream.health["invalid"] == 1
    assert len(results) == 2


def test_a_source_that_fails_says_so(engine):
    def source():
        yield pair(1)
        raise OSError("the cable fell out")

    with (
        pytest.raises((LiteStereoError, OSError), match="cable fell out"),
        engine.stream(source()) as stream,
    ):
        list(stream)


def test_pushed_pairs_arrive(engine):
    source = PushSource()
    with engine.stream(source) as stream:
        stream.start()
        source.put(*pair(6))
        result = stream.latest(timeout_s=10)
        assert result is not None
        assert float(result.stereo.disparity_px[0, 0]) == 3.0
        source.end()


def test_what_was_replaced_is_counted_once_whoever_reads(engine):
    source = PushSource()
    for _ in range(5):
        source.put(*pair(1))
    options = StreamOptions(source_timeout_s=0.05, reconnects=10**6, reconnect_after_s=0.0)
    with engine.stream(source, options=options) as stream:
        until_s = time.monotonic() + 10
        while stream.health["reconnects"] < 3 and time.monotonic() < until_s:
            time.sleep(0.1)  # twice what the source may be silent for
            source.put(*pair(2))
            stream.latest(timeout_s=0.1)
        while stream.health["unpaired"] != source.replaced and time.monotonic() < until_s:
            time.sleep(0.01)
        assert stream.health["reconnects"] >= 3
        assert stream.health["unpaired"] == source.replaced >= 4


def test_health_reads_as_a_line_and_as_prometheus_text(engine):
    with engine.stream([pair(1)] * 3) as stream:
        list(stream)
        assert "out 3" in stream.health_line()
        text = stream.prometheus_text(stream="front")
    assert 'litestereo_frames_out_total{stream="front"} 3' in text


def test_options_are_checked():
    with pytest.raises(InputError, match="timeouts"):
        StreamOptions(engine_timeout_s=0)
