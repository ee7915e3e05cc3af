"""The jitter of a static scene, against NumPy over all frames at once."""

import numpy as np
import pytest

from litestereo.errors import InputError
from litestereo.runtime.stream import JitterMeter


def test_figures_are_those_of_all_frames_at_once(rng):
    frames = rng.normal(50, 0.4, (30, 24, 32)).astype(np.float32)
    frames[:, :6] += rng.normal(0, 2, (30, 6, 32)).astype(np.float32)
    meter = JitterMeter()
    for frame in frames:
        meter.add(frame)
    expected = frames.std(axis=0, ddof=1, dtype=np.float64)
    np.testing.assert_allclose(meter.deviation_px(), expected, rtol=1e-5)
    report = meter.report()
    assert report["frames"] == 30
    assert report["median_px"] == pytest.approx(np.median(expected), abs=1e-4)
    assert report["p95_px"] == pytest.approx(np.percentile(expected, 95), abs=1e-4)
    jumps = (np.abs(np.diff(frames, axis=0)) > 1).mean()
    assert report["jumps"] == pytest.approx(jumps, abs=1e-5)


def test_what_stands_still_has_none_and_frames_may_be_reused():
    meter, buffer = JitterMeter(), np.full((8, 8), 3, np.float32)
    for value in (3, 3, 3):
        buffer[:] = value
        meter.add(buffer)
    assert meter.report() == {"frames": 3, "median_px": 0.0, "p95_px": 0.0, "jumps": 0.0}
    buffer[:] = 9
    meter.add(buffer)
    assert meter.report()["jumps"] == pytest.approx(1 / 3, abs=1e-5)


def test_one_frame_and_other_sizes_are_refused():
    meter = JitterMeter()
    meter.add(np.zeros((8, 8), np.float32))
    with pytest.raises(InputError, match="at least 2"):
        meter.report()
    with pytest.raises(InputError, match="one size"):
        meter.add(np.zeros((8, 9), np.float32))
