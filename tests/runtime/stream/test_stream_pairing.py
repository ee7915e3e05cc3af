"""Pairing two eyes by time, against the naive answer."""

import numpy as np
import pytest

from litestereo.errors import InputError
from litestereo.runtime.stream.pairing import Pairer, Stamped

PERIOD_S = 1 / 30


def offered(pairer, arrivals):
    """Offer (side, stamp) in order and return the (left, right) stamps that were paired."""
    pairs = [pair for side, s in arrivals for pair in pairer.offer(side, Stamped(None, s))]
    return [(left.stamp_s, right.stamp_s) for left, right in pairs]


def test_jittered_eyes_with_lost_pictures_pair_as_they_should():
    rng = np.random.default_rng(1)
    frames = {side: set(rng.choice(300, 270, replace=False).tolist()) for side in ("left", "right")}
    stamps = {
        side: {k: k * PERIOD_S + rng.uniform(-0.003, 0.003) for k in sorted(kept)}
        for side, kept in frames.items()
    }
    arrivals = sorted(
        (stamp + rng.uniform(0, 0.01), side, stamp)
        for side in stamps
        for stamp in stamps[side].values()
    )
    pairer = Pairer(tolerance_ms=8)
    pairs = offered(pairer, [(side, stamp) for _, side, stamp in arrivals])
    both = sorted(frames["left"] & frames["right"])
    assert pairs == [(stamps["left"][k], stamps["right"][k]) for k in both]
    alone = len(frames["left"]) + len(frames["right"]) - 2 * len(both)
    # What arrives at the very end may still wait for its partner.
    assert alone - 2 <= pairer.unpaired <= alone


def test_a_wide_tolerance_still_prefers_the_closer_picture():
    arrivals = [("left", 0.0), ("left", 1.0), ("right", 0.9), ("left", 2.0), ("right", 2.1)]
    pairer = Pairer(tolerance_ms=1000)
    assert offered(pairer, arrivals) == [(1.0, 0.9), (2.0, 2.1)]
    assert pairer.unpaired == 1


def test_eyes_too_far_apart_never_pair():
    pairer = Pairer(tolerance_ms=5)
    arrivals = [
        (side, k + shift) for k in range(20) for side, shift in (("left", 0), ("right", 0.01))
    ]
    assert offered(pairer, arrivals) == []
    assert pairer.unpaired >= 38


def test_a_dead_eye_does_not_fill_the_memory():
    pairer = Pairer(tolerance_ms=5)
    assert offered(pairer, [("left", float(k)) for k in range(1000)]) == []
    assert pairer.unpaired == 1000 - 8


def test_repeated_and_late_stamps_are_not_paired():
    pairer = Pairer(tolerance_ms=5)
    arrivals = [("left", 1.0), ("left", 1.0), ("left", 0.5), ("right", 1.0), ("right", 1.0)]
    assert offered(pairer, arrivals) == [(1.0, 1.0)]
    assert pairer.unpaired == 3


@pytest.mark.parametrize("tolerance_ms", [-1, float("nan")])
def test_impossible_tolerances_are_refused(tolerance_ms):
    with pytest.raises(InputError, match="tolerance"):
        Pairer(tolerance_ms)


def test_a_recording_that_plays_again_pairs_again():
    pairer = Pairer(tolerance_ms=5)
    once = [(side, float(k)) for k in range(5) for side in ("left", "right")]
    assert offered(pairer, once + once) == [(float(k), float(k)) for k in range(5)] * 2
    assert pairer.unpaired == 0
