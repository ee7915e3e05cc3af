"""The soak tool: it counts, its slopes are right, and it finds what grows."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from stand_in import write_stand_in

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def soak():
    spec = importlib.util.spec_from_file_location("soak", ROOT / "benchmarks/soak.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_short_soak(soak, tmp_path, capsys):
    model = write_stand_in(tmp_path / "m.onnx")
    words = ["--frames", "300", "--model", str(model), "-o", str(tmp_path / "soak.json")]
    assert soak.main(words) == 0
    report = json.loads((tmp_path / "soak.json").read_text())
    assert json.loads(capsys.readouterr().out) == report
    assert report["came"]["frames"] == report["rows"][0]["trials"] == 300
    assert report["came"]["answers_unlike_the_first"] == report["came"]["garbage_objects"] == 0
    assert report["came"]["dropped"] == 0


def test_slope_and_interval(soak, rng):
    times_s = np.arange(0, 3600, 5.0)
    for slope in (0.0, 12.0):
        values = 200 + slope * times_s / 3600 + rng.normal(0, 0.5, times_s.size)
        found = soak.slope_per_hour(times_s, values)
        assert found["low"] < slope < found["high"]
        assert found["slope"] == pytest.approx(slope, abs=0.5)
    assert soak.slope_per_hour(times_s[:20], times_s[:20]) is None


def test_memory_is_kept_where_it_changes(soak):
    times_s, values = np.arange(6.0), np.array([5.0, 5.0, 5.25, 5.25, 5.0, 5.0])
    assert soak.changes(times_s, values) == [[0.0, 5.0], [2.0, 5.25], [4.0, 5.0]]


def test_what_grows_is_found(soak):
    steady = {"first": 8.0, "last": 8.0, "most": 9.0}
    growth = {"slope": 3.0, "low": 2.0, "high": 4.0}
    came = {"answers_unlike_the_first": 0, "garbage_objects": 0, "longest_gc_pause_ms": 1.0}
    state = {"handles": steady, "threads": steady, "rss_mib": None, "device_mib": None}
    assert soak.faults_of(came, state) == []
    assert soak.faults_of({**came, "answers_unlike_the_first": 2}, state)
    assert soak.faults_of(came, {**state, "handles": {**steady, "last": 9.0}})
    grows = {**steady, "per_hour": growth, "later_half_per_hour": growth}
    assert soak.faults_of(came, {**state, "device_mib": grows})
    once = {**growth, "slope": 0.0, "low": -0.1, "high": 0.1}
    assert soak.faults_of(came, {**state, "rss_mib": {**grows, "later_half_per_hour": once}}) == []


def test_a_step_at_first_is_no_growth_and_a_slope_is(soak, rng):
    steps, slope = np.arange(0, 3600, 5.0), 20 / 3600
    for name in ("step", "slope"):
        samples = soak.Samples(("rss_mib", "handles", "threads", "device_mib"), most=1000)
        for time_s in steps:
            grown = 6.0 * (time_s > 700) if name == "step" else slope * time_s
            samples.add(time_s, 200 + grown + rng.normal(0, 0.05), 9, 9, np.nan)
        came = {"answers_unlike_the_first": 0, "garbage_objects": 0, "longest_gc_pause_ms": 1.0}
        faults = soak.faults_of(came, soak.state_summary(samples))
        assert bool(faults) == (name == "slope"), faults
