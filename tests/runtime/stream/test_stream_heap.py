"""The garbage collector stays out of a stream's way when its caller says so."""

import gc

import numpy as np
from stand_in import write_stand_in

from litestereo.runtime.engine import StereoEngine
from litestereo.runtime.stream import PauseMeter, RepeatedPair, steady_heap


def test_the_meter_sees_a_collection_of_many_objects():
    ballast = [[k] for k in range(300_000)]
    with PauseMeter() as meter:
        gc.collect()
    assert len(meter.pauses_ms) == 1
    assert meter.longest_ms > 1
    assert len(ballast) == 300_000
    gc.collect()
    assert len(meter.pauses_ms) == 1, "it goes on counting"


def test_what_was_there_is_set_aside_and_all_is_undone():
    ballast = [[k] for k in range(300_000)]
    before = gc.get_freeze_count()
    with steady_heap() as collect:
        assert not gc.isenabled()
        assert gc.get_freeze_count() >= before + 300_000
        with PauseMeter() as meter:
            collect()
    with PauseMeter() as full:
        gc.collect()
    assert meter.longest_ms < full.longest_ms / 2
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert len(ballast) == 300_000


def test_a_stream_makes_no_cycles_and_no_pause_above_5_ms(tmp_path):
    """The 30-minute run of the same is benchmarks/soak.py."""
    left = np.zeros((96, 128, 3), np.uint8)
    with StereoEngine.load(write_stand_in(tmp_path / "stand_in.onnx"), threads=1) as engine:
        source = RepeatedPair(left, left, rate_hz=30, frames=60)
        garbage = 0
        with steady_heap() as collect, PauseMeter() as meter, engine.stream(source) as stream:
            for result in stream:
                if result.sequence == 5:
                    collect()  # what opening made
                elif result.sequence % 10 == 9:
                    garbage += collect()
    assert garbage == 0
    assert len(meter.pauses_ms) >= 3
    # Another process may have interrupted one of them.
    assert sorted(meter.pauses_ms)[-2] < 5
