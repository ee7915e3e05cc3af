"""What hangs, dies or is interrupted: the caller hears of it soon, and no thread stays behind."""

import _thread
import logging
import threading
import time
import traceback

import pytest
from timed import TimedBackend, picture

from litestereo.errors import EngineError, InputError
from litestereo.runtime.engine import StereoEngine
from litestereo.runtime.stream import PushSource, RepeatedPair, StreamOptions
from litestereo.runtime.stream.frames import SourceFrame


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    deadline_s = time.monotonic() + 5
    while time.monotonic() < deadline_s:
        left = [t.name for t in threading.enumerate() if t.name.startswith("litestereo")]
        if not left:
            return
        time.sleep(0.02)
    pytest.fail(f"threads are left: {left}")


def quick_engine(latency_s=0.001):
    return StereoEngine(TimedBackend(time.sleep, lambda _: latency_s))


class FlakySource:
    """A source of which each of `good` readers gives `pairs` pairs and then does `at_end`."""

    live, reopens, name = True, True, "the flaky camera"

    def __init__(self, pairs, at_end, *, good=10**6):
        self.pairs, self.at_end, self.good = pairs, at_end, good
        self.opened = self.closed = 0
        self.released = threading.Event()

    def open(self, clock):
        self.opened += 1
        return FlakyReader(self, clock, last=self.opened)


class FlakyReader:
    unpaired = 0

    def __init__(self, source, clock, *, last):
        self.source, self.clock, self.number = source, clock, last
        self.left = source.pairs if last <= source.good else 0

    def read(self):
        if self.left == 0:
            return self.source.at_end(self)
        self.left -= 1
        time.sleep(0.01)
        return SourceFrame(picture(), picture(), self.clock())

    def stop(self):
        pass

    def close(self):
        self.source.closed += 1


def dies(reader):
    raise InputError("the camera stopped giving pictures")


def hangs(reader):
    reader.source.released.wait(20)
    return SourceFrame(picture(), picture(), 0.0)  # what comes after all is void


def test_an_engine_that_does_not_answer_is_an_error_within_its_time():
    answer = threading.Event()
    engine = StereoEngine(TimedBackend(lambda _: answer.wait(20), lambda _: 0))
    options = StreamOptions(engine_timeout_s=0.3, close_timeout_s=0.2)
    stream = engine.stream(RepeatedPair(picture(), picture(), rate_hz=50), options=options)
    start_s = time.monotonic()
    with pytest.raises(EngineError, match=r"engine has not answered for 0\.[3-9] s"):
        stream.latest(timeout_s=10)
    assert time.monotonic() - start_s < 3
    assert stream.health["stalls"] == 1
    assert stream.health["engine_silent_s"] >= 0.3
    stream.close()  # leaves the hanging thread behind, and returns
    engine.close()  # which a call that hangs does not hold up
    with pytest.raises(EngineError, match="closed"):
        engine(picture(), picture())
    answer.set()


def test_a_slow_engine_is_told_from_a_hanging_one():
    options = StreamOptions(engine_timeout_s=1.0)
    pairs = [(picture(), picture())] * 3
    with quick_engine(0.2).stream(pairs, options=options) as stream:
        assert len(list(stream)) == 3
    assert stream.health["stalls"] == 0


class Builder(TimedBackend):
    """A backend that builds for a while when a size first comes."""

    is_preparing = False
    sizes = frozenset()

    def infer(self, left, right):
        if left.shape not in self.sizes:
            self.is_preparing = True
            time.sleep(0.6)
            self.sizes, self.is_preparing = self.sizes | {left.shape}, False
        return super().infer(left, right)


def test_getting_a_size_ready_is_no_stall():
    engine = StereoEngine(Builder(time.sleep, lambda _: 0.0))
    options = StreamOptions(engine_timeout_s=0.4)
    with engine.stream([(picture(), picture())] * 3, options=options) as stream:
        assert len(list(stream)) == 3
    assert stream.health["stalls"] == 0


def test_an_engine_that_hangs_once_it_is_ready_is_an_error():
    answer = threading.Event()
    engine = StereoEngine(Builder(lambda _: answer.wait(20), lambda _: 0.0))
    options = StreamOptions(engine_timeout_s=0.4, close_timeout_s=0.1)
    stream = engine.stream([(picture(), picture())], options=options)
    start_s = time.monotonic()
    with pytest.raises(EngineError, match=r"has not answered for 0\.[4-9] s"):
        stream.latest(timeout_s=10)
    assert time.monotonic() - start_s > 0.9
    answer.set()


def test_a_source_that_dies_delivers_what_it_gave_and_then_raises():
    source = FlakySource(5, dies)
    stream = quick_engine().stream(source)
    assert stream.latest(timeout_s=10) is not None
    with pytest.raises(InputError, match="stopped giving pictures"):
        for _ in stream:
            pass
    assert (source.opened, source.closed) == (1, 1)


def test_a_source_that_dies_is_opened_again_and_counted():
    source = FlakySource(4, dies, good=1)
    options = StreamOptions(reconnects=2, reconnect_after_s=0.01)
    stream = quick_engine().stream(source, options=options)
    with pytest.raises(InputError, match="stopped giving pictures"):
        list(stream)
    assert stream.health["reconnects"] == 2
    assert stream.health["frames_in"] == 4
    assert (source.opened, source.closed) == (3, 3)


def test_a_source_that_heals_gets_its_reconnects_back():
    source = FlakySource(1, dies, good=6)
    options = StreamOptions(reconnects=2, reconnect_after_s=0.0)
    stream = quick_engine().stream(source, options=options)
    with pytest.raises(InputError, match="stopped giving pictures"):
        list(stream)
    # After each of six glitches a pair arrived; only then come two in vain.
    assert stream.health["frames_in"] == 6
    assert stream.health["reconnects"] == 5 + 2


def test_failures_without_end_are_opened_again_without_end():
    class Away(FlakySource):
        def open(self, clock):
            if self.opened == 1100:  # 2.0**1024 is no float any more
                return super().open(clock)
            self.opened += 1
            raise InputError("no camera")

    options = StreamOptions(reconnects=10**9, reconnect_after_s=0.0)
    logging.getLogger("litestereo.stream").disabled = True
    try:
        with quick_engine().stream(Away(2, lambda _: None), options=options) as stream:
            assert list(stream)  # under load a live source may lose one of its two
    finally:
        logging.getLogger("litestereo.stream").disabled = False
    assert stream.health["reconnects"] == 1100


def test_a_reconnect_that_fails_ends_the_stream(monkeypatch):
    start = threading.Thread.start

    def starved(thread):
        if thread.name == "litestereo capture" and source.opened:
            raise RuntimeError("can't start new thread")
        start(thread)

    source = FlakySource(1, dies)
    monkeypatch.setattr(threading.Thread, "start", starved)
    stream = quick_engine().stream(source, options=StreamOptions(reconnects=5))
    with pytest.raises(RuntimeError, match="can't start new thread"):
        list(stream)


def test_a_source_that_hangs_is_an_error():
    source = FlakySource(3, hangs)
    options = StreamOptions(source_timeout_s=0.3, close_timeout_s=0.2)
    stream = quick_engine().stream(source, options=options)
    with pytest.raises(InputError, match=r"flaky camera gave nothing for 0\.\d s after 3 pairs"):
        list(stream)
    source.released.set()


def test_a_source_that_hangs_is_opened_again_and_what_it_says_later_is_void():
    source = FlakySource(3, lambda reader: hangs(reader) if reader.number == 1 else None)
    options = StreamOptions(source_timeout_s=0.3, reconnects=1, reconnect_after_s=0.0)
    stream = quick_engine().stream(source, options=options)
    for count, _ in enumerate(stream, start=1):
        if count == 4:
            source.released.set()
    assert stream.health["frames_in"] == 6
    assert stream.health["reconnects"] == 1


def test_a_source_that_cannot_be_opened_again_is_an_error():
    def pairs():
        yield picture(), picture()
        raise InputError("gone")

    options = StreamOptions(reconnects=5)
    with pytest.raises(InputError, match="gone"):
        list(quick_engine().stream(pairs(), options=options))


def test_leaving_the_loop_stops_everything():
    for result in quick_engine().stream(RepeatedPair(picture(), picture(), rate_hz=100)):
        if result.sequence >= 3:
            break


def test_closing_accounts_for_all_and_may_be_repeated():
    stream = quick_engine(0.05).stream(RepeatedPair(picture(), picture(), rate_hz=100))
    assert stream.latest(timeout_s=5) is not None
    stream.close()
    stream.close()
    health = stream.health
    assert health["in_flight"] == 0
    assert health["frames_in"] == health["frames_out"] + health["dropped"] > 0
    assert stream.latest() is None
    assert stream.is_over


def test_an_interrupt_from_the_keyboard_ends_the_loop_and_the_threads():
    threading.Timer(0.3, _thread.interrupt_main).start()
    start_s = time.monotonic()
    stream = quick_engine().stream(PushSource())  # nothing ever comes
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    assert time.monotonic() - start_s < 5
    assert stream.is_over


def test_closing_a_camera_that_hangs_returns():
    source = FlakySource(1, hangs)
    stream = quick_engine().stream(source, options=StreamOptions(close_timeout_s=0.2))
    assert stream.latest(timeout_s=5) is not None
    start_s = time.monotonic()
    stream.close()
    assert time.monotonic() - start_s < 2
    source.released.set()


def test_an_error_of_the_callers_own_function_reaches_the_caller():
    def post(result):
        raise ZeroDivisionError("in post")

    stream = quick_engine().stream([(picture(), picture())] * 3, post=post)
    with pytest.raises(ZeroDivisionError, match="in post"):
        list(stream)
    health = stream.health
    assert health["in_flight"] == 0
    assert health["frames_in"] == health["dropped"]


def test_an_error_is_not_over_before_it_was_raised():
    def refused(_):
        raise EngineError("CUDA_ERROR_ILLEGAL_ADDRESS (700)")

    engine = StereoEngine(TimedBackend(refused, lambda _: 0))
    stream = engine.stream([(picture(), picture())])
    stream.start()
    until_s = time.monotonic() + 5
    while not stream._has_ended and time.monotonic() < until_s:
        time.sleep(0.005)
    assert not stream.is_over
    with pytest.raises(EngineError, match="ILLEGAL_ADDRESS"):
        stream.latest(timeout_s=0)
    assert stream.is_over


def test_closing_an_erroneous_stream_is_its_end():
    stream = quick_engine().stream(FlakySource(0, dies))
    stream.start()
    stream.close()
    assert stream.is_over


def test_an_error_that_is_raised_again_does_not_grow_and_keeps_its_cause():
    def pairs():
        try:
            raise OSError("the cable fell out")
        except OSError as error:
            raise InputError("gone") from error
        yield

    stream = quick_engine().stream(pairs())
    lengths = set()
    for _ in range(20):
        with pytest.raises(InputError, match="gone") as caught:
            stream.latest(timeout_s=5)
        lengths.add(len(list(traceback.walk_tb(caught.value.__traceback__))))
        assert isinstance(caught.value.__cause__, OSError)
    assert len(lengths) == 1


def test_many_invalid_pairs_in_a_row_end_the_stream():
    options = StreamOptions(max_invalid=4)
    pairs = [(picture(), picture((32, 32)))] * 20
    stream = quick_engine().stream(pairs, options=options)
    with pytest.raises(InputError, match="4 pairs in a row were invalid: left image is 64x96"):
        list(stream)
    assert stream.health["invalid"] == 4
    assert stream.health["in_flight"] == 0


def test_answers_that_are_no_numbers_are_counted_and_not_handed_out():
    class Sick(TimedBackend):
        calls = 0

        def infer(self, left, right):
            disparity, confidence = super().infer(left, right)
            self.calls += 1
            if self.calls == 2:
                disparity[0, 0] = float("nan")
            return disparity, confidence

    engine = StereoEngine(Sick(time.sleep, lambda _: 0.0))
    stream = engine.stream([(picture(), picture())] * 4)
    assert [result.sequence for result in stream] == [0, 2, 3]
    assert stream.health["invalid"] == 1


def test_latest_does_not_wait_longer_than_told():
    stream = quick_engine().stream(PushSource())
    for timeout_s in (0.0, 0.05, 0.3):
        start_s = time.monotonic()
        assert stream.latest(timeout_s=timeout_s) is None
        assert timeout_s <= time.monotonic() - start_s < timeout_s + 1
    stream.close()
