"""The range chooser: numbers by hand, the rate, and latencies that are never invented."""

import json

import pytest

from litestereo.cli import plan_main
from litestereo.errors import InputError
from litestereo.runtime.measurements import read_measurements
from litestereo.runtime.plan import PlanRequest, make_plan
from litestereo.runtime.plan_text import plan_text
from litestereo.runtime.preprocess import ScaleOptions, frame_for
from litestereo.runtime.reach import REACH_PX


def request(**changes):
    fields = {
        "focal_px": 700.0,
        "baseline_m": 0.12,
        "size": (720, 1280),
        "near_m": 0.6,
        "far_m": 12.0,
        "rate_hz": 30.0,
    }
    return PlanRequest(**(fields | changes))


def subject(model="las1", size=(736, 1280), p50=20.0, p99=24.0, backend="tensorrt", device="a GPU"):
    """Return a receipt's subject, as far as the plan looks at it."""
    total = {"samples": 900, "p50_ms": p50, "p99_ms": p99, "max_ms": 99.0}
    return {
        "model": model,
        "backend": backend,
        "device": device,
        "precision": "fp16",
        "inference_size": list(size),
        "closed": {"summary": {"total": total}},
    }


def measured(tmp_path, *subjects):
    path = tmp_path / "receipt.json"
    path.write_text(json.dumps({"schema": "litestereo.latency", "subjects": subjects}))
    return read_measurements([path])


def test_a_range_that_fits_runs_at_full_size():
    plan = make_plan(request())
    assert plan.option.scale == 1
    assert plan.option.inference_size == (736, 1280)
    assert plan.max_disparity_px == 145  # 700 * 0.12 / 0.6 = 140 px, and 3 % of the range beyond
    first, last = plan.expected[0], plan.expected[-1]
    assert (first.distance_m, first.disparity_px) == (0.6, pytest.approx(140))
    assert last.distance_m == pytest.approx(12)
    assert last.error_m == pytest.approx(144 / 84 * 0.25)
    assert last.error_share == pytest.approx(12 / 84 * 0.25)


def test_a_longer_range_runs_smaller_by_just_as_much():
    plan = make_plan(request(near_m=0.2))
    assert plan.max_disparity_px == 433
    assert plan.option.scale == pytest.approx(188 / 433)
    assert plan.option.width_ratio == 555 / 1280  # in whole pixels
    assert plan.option.nearest_m == pytest.approx(84 / (0.97 * 188 * 1280 / 555))
    assert plan.option.inference_size == (320, 576)
    assert plan.expected[0].error_m == pytest.approx(0.04 / 84 * 0.25 * 1280 / 555)
    assert "runs at 0.434 of the size" in plan.notes[0]


@pytest.mark.parametrize("size", [(480, 640), (376, 672), (800, 1280), (1080, 1920), (1242, 2208)])
@pytest.mark.parametrize("near_m", [0.2, 0.3, 0.4, 0.5, 0.7])
@pytest.mark.parametrize(("focal_px", "baseline_m"), [(520.0, 0.12), (1000.0, 0.2)])
def test_the_size_is_the_one_that_max_disparity_runs(size, near_m, focal_px, baseline_m):
    plan = make_plan(request(size=size, near_m=near_m, focal_px=focal_px, baseline_m=baseline_m))
    asked = ScaleOptions(max_disparity_px=plan.max_disparity_px)
    frame = frame_for(
        size,
        scale=asked.scale_for(size, range_px=REACH_PX),
        largest_ratio=asked.largest_ratio(range_px=REACH_PX),
    )
    assert plan.option.inference_size == frame.padded_size
    assert plan.option.nearest_m <= near_m * (1 + 1e-6)


def test_every_size_reaches_what_is_said_of_it():
    """Widths are stretched to whole multiples, which takes from the range."""
    plan = make_plan(request(size=(360, 626), near_m=1.0))
    (half,) = [option for option in plan.options if option.scale == 0.5]
    assert half.width_ratio == 320 / 626
    assert half.nearest_m == pytest.approx(84 / (0.97 * 188 * 626 / 320))
    assert half.far_error_m == pytest.approx(144 / 84 * 0.25 * 626 / 320)


def test_doffs_counts():
    plan = make_plan(request(doffs_px=40.0))
    assert plan.expected[0].disparity_px == pytest.approx(100)
    assert plan.option.nearest_m == pytest.approx(84 / (0.97 * 188 + 40))


def test_nothing_is_said_about_speed_without_measurements():
    plan = make_plan(request())
    assert plan.model == "las1"
    assert "not measured" in plan.why
    assert plan.to_json()["latency"] is None
    assert "latency       not measured; 30 Hz leave 33.3 ms" in plan_text(plan)


def test_the_costliest_model_within_the_rate_is_taken(tmp_path):
    found = measured(
        tmp_path,
        subject(),
        subject("las2_l", p50=30, p99=32),
        subject("las2_h", p50=40, p99=45),
        subject("las2_l", p50=90, p99=95, backend="slow"),
        subject("las2_m", size=(384, 1280), p99=1),
        subject("las2_s", p50=None),
    )
    plan = make_plan(request(), measurements=found)
    assert plan.model == "las2_l"
    assert plan.option.measured["las2_l"].backend == "tensorrt"
    assert any(note.startswith("no weights for las2_l come with litestereo") for note in plan.notes)
    assert plan.to_json()["latency"]["p99_ms"] == 32
    text = plan_text(plan)
    assert "p50 30.0 ms, p99 32.0 ms on a GPU (tensorrt, fp16" in text
    assert "las2_m 72.0, not measured" in text
    assert "las2_s 47.6, not measured" in text


def test_a_smaller_size_is_taken_where_only_that_keeps_the_rate(tmp_path):
    small = subject(size=(384, 640), p50=8, p99=None)  # too few samples: the slowest counts
    assert measured(tmp_path, small)[0].p99_ms == 99
    small = subject(size=(384, 640), p50=8, p99=9)
    plan = make_plan(request(), measurements=measured(tmp_path, subject(p99=99), small))
    assert (plan.option.scale, plan.option.inference_size) == (0.5, (384, 640))
    plan = make_plan(request(rate_hz=500), measurements=measured(tmp_path, subject(), small))
    assert "at 384x640, the smallest size that was measured" in plan.why


def test_nothing_is_concluded_about_sizes_that_were_not_measured(tmp_path):
    """What was measured is too slow; whether a smaller size is quick enough nobody knows."""
    found = measured(tmp_path, subject(p50=90, p99=99), subject("las2_h", p50=190, p99=199))
    plan = make_plan(request(), measurements=found)
    assert plan.option.scale == 0.75
    assert plan.model == "las1"
    assert "the smallest size that was measured, the quickest takes p99 99.0 ms on" in plan.why
    assert "more than 33.3 ms; how long smaller sizes take is not known" in plan.why
    assert "stereo-bench las1@tensorrt --size" in plan.why
    assert "latency       not measured" in plan_text(plan)
    smallest = plan.options[-1].inference_size
    everything = measured(tmp_path, subject(p99=99), subject(size=smallest, p50=50, p99=60))
    plan = make_plan(request(), measurements=everything)
    assert plan.option.inference_size == smallest
    assert plan.why.endswith(
        "p99 60.0 ms on a GPU (las1, tensorrt, fp16), more than 33.3 ms; lower the rate"
    )


def test_of_two_backends_the_one_that_keeps_the_rate_is_taken(tmp_path):
    found = measured(tmp_path, subject(p50=10, p99=60), subject(p50=20, p99=25, backend="steady"))
    for given in (found, found[::-1]):
        plan = make_plan(request(), measurements=given)
        assert plan.option.scale == 1
        assert plan.option.measured["las1"].backend == "steady"


def test_devices_are_not_mixed(tmp_path):
    small = (384, 640)
    found = measured(
        tmp_path,
        subject(p99=99, device="slow"),
        subject(size=small, p99=9, device="slow"),
        subject(p99=30, device="quick"),
        subject("las2_h", size=small, p50=1, p99=2, device="other"),
    )
    plan = make_plan(request(), measurements=found)
    assert plan.option.scale == 1
    assert {m.device for option in plan.options for m in option.measured.values()} == {"quick"}
    assert "of 3 devices and the plan is for quick" in plan.notes[-1]
    plan = make_plan(request(), measurements=found[:2])
    assert plan.option.inference_size == small
    assert not any("devices" in note for note in plan.notes)


def test_disparities_that_turn_negative_are_said():
    plan = make_plan(request(doffs_px=40.0))
    assert "from 2.1 m on the disparity is negative" in plan.notes[0]


def test_a_far_error_that_is_useless_names_the_baseline_for_better():
    plan = make_plan(request(far_m=60))
    (note,) = plan.notes
    assert "at 60 m the expected error is 18% of the distance" in note
    assert "0.429 m" in note


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"near_m": 0}, "near_m is 0"),
        ({"near_m": 20}, "need near < far"),
        ({"baseline_m": 120}, r"give metres \(0\.12\?\)"),
        ({"size": (10, 10)}, "too small"),
        ({"rate_hz": float("nan")}, "rate_hz is nan"),
        ({"far_m": 1e200}, r"far_m is 1e\+200; it must be from 1e-06 to 1e\+06"),
        ({"near_m": 1e-310}, "near_m is"),
        ({"focal_px": 1e308}, "focal_px is"),
    ],
)
def test_impossible_rigs_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        request(**changes)


def test_a_nearest_distance_that_no_size_reaches():
    with pytest.raises(InputError, match="shorter baseline"):
        make_plan(request(near_m=0.01))


def test_broken_measurements(tmp_path):
    path = tmp_path / "receipt.json"
    path.write_text("{")
    with pytest.raises(InputError, match="cannot read measurements"):
        read_measurements([path])
    path.write_text('{"schema": "litestereo.latency", "subjects": [{"model": "las1"}]}')
    with pytest.raises(InputError, match="is not whole"):
        read_measurements([tmp_path])
    path.write_text('{"schema": "litestereo.accuracy"}')
    assert read_measurements([tmp_path]) == []
    with pytest.raises(InputError, match="no receipt of latency"):
        read_measurements([path])


def status_of(*arguments):
    try:
        return plan_main([*map(str, arguments)])
    except SystemExit as leaving:
        return leaving.code or 0


def test_command(capsys, tmp_path):
    known = ("--near", 0.5, "--far", 10, "--size", 720, 1280)
    assert status_of("--focal", 700, "--baseline", 0.12, *known) == 0
    assert "run at        736x1280" in capsys.readouterr().out
    for size in (["--size", "720x1280"], ["--size=720x1280"]):
        assert status_of("--focal", 700, "--baseline", 0.12, *known[:4], *size) == 0
        assert "run at        736x1280" in capsys.readouterr().out
    path = tmp_path / "K.txt"
    path.write_text("700 0 640 0 700 360 0 0 1\n120\n")
    assert status_of("--calib", path, *known, "--json") == 0
    assert json.loads(capsys.readouterr().out)["request"]["baseline_m"] == 0.12
    assert status_of("--focal", 700, *known) == 2
    assert "need --focal and --baseline, or --calib FILE" in capsys.readouterr().err
    assert status_of("--focal", 700, "--baseline", 120, *known) == 1
    assert "give metres (0.12?)" in capsys.readouterr().err
