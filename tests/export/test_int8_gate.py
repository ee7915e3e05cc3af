"""The figures of INT8, and the gate that holds them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from litestereo.calibration.frames import network_pair
from litestereo.calibration.sensitivity import Block, search_blocks
from litestereo.errors import ExportError
from litestereo.export.disagreement import Disagreement, disagreement, roughness_px
from litestereo.export.int8_gate import HeldOut, judge
from litestereo.export.sensitivity_curve import curve_svg, write_curve
from litestereo.runtime.images import StereoPair

NOTHING = Disagreement(0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.fixture
def ramp():
    rows, columns = np.mgrid[0:64, 0:96]
    return (20 + 0.1 * rows + 0.05 * columns).astype(np.float32)


def test_equal_maps_do_not_disagree(ramp):
    assert disagreement(ramp, ramp) == NOTHING


def test_the_figures_of_a_known_change(ramp):
    changed = ramp.copy()
    changed[:16] += 4  # a quarter of the rows, far enough for D1
    changed[16:32] -= 0.5
    found = disagreement(changed, ramp)
    assert found.mean_px == pytest.approx(1.125, abs=1e-4)
    assert found.bias_px == pytest.approx(0.875, abs=1e-4)
    assert found.d1_points == pytest.approx(25)
    assert found.bad_1_points == pytest.approx(25)


def test_against_ground_truth_only_the_growth_counts(ramp):
    wrong = ramp + 5
    found = disagreement(wrong, wrong + 0.01, truth=(wrong, wrong, ramp))
    assert (found.d1_points, found.bad_1_points) == (0, 0)
    assert found.mean_px == pytest.approx(0.01, abs=1e-5)
    better = disagreement(ramp, wrong, truth=(ramp, wrong, ramp))
    assert better.d1_points == -100


def test_a_checkerboard_is_rough_and_a_slope_is_not(ramp):
    board = 0.1 * ((np.indices(ramp.shape).sum(axis=0) % 2) * 2 - 1).astype(np.float32)
    assert roughness_px(ramp + board, ramp) == pytest.approx(0.1, abs=0.001)
    assert roughness_px(1.1 * ramp + 3, ramp) == pytest.approx(0, abs=1e-4)
    assert abs(disagreement(ramp + board, ramp).bias_px) < 1e-5, "the mean does not see it"


def held(count):
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    pair = StereoPair(picture, picture)
    return [HeldOut(network_pair(pair, name=str(i), size=(64, 96)), None) for i in range(count)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ramp, name: ramp + 0.02, ""),
        (lambda ramp, name: ramp + 0.031, "bias_px is 0.0310"),
        (lambda ramp, name: ramp + (0.11 if name == "0" else -0.11), "mean_px is 0.1100"),
        (lambda ramp, name: np.where(np.arange(96) == 0, ramp + 9, ramp - 0.09), "d1_points"),
        (lambda ramp, name: ramp * np.float32(math.nan), "mean_px is nan"),
    ],
)
def test_the_gate(change, words, ramp):
    report = judge(
        held(2),
        quantised=lambda pair: np.asarray(change(ramp, pair.name), np.float32),
        reference=lambda pair: ramp,
        words="this test",
    )
    assert report.passed is (not words)
    assert report.as_json()["passed"] is report.passed
    if words:
        with pytest.raises(ExportError, match=words):
            report.require()
    else:
        report.require()


def test_each_limit_of_the_issue():
    for name, limit in {
        "mean_px": 0.10,
        "bias_px": 0.03,
        "d1_points": 0.2,
        "bad_1_points": 0.5,
    }.items():
        assert not dataclasses.replace(NOTHING, **{name: limit}).exceeded()
        assert dataclasses.replace(NOTHING, **{name: limit + 1e-6}).exceeded()
    assert dataclasses.replace(NOTHING, bias_px=-0.04).exceeded()
    assert not dataclasses.replace(NOTHING, d1_points=-3.0).exceeded(), "better is allowed"


def test_the_curve_is_written_as_json_and_as_a_drawing(tmp_path):
    import json
    from xml.etree import ElementTree as Xml

    curve = search_blocks(
        [Block("good", 3), Block("bad & worse", 1)],
        score=lambda names: {"e": 0.05 + (9 if len(names) > 1 or "good" not in names else 0)},
        limits={"e": 0.1},
    )
    path = write_curve(curve, tmp_path / "las1_int8.onnx")
    assert path.name == "las1_int8_sensitivity.json"
    data = json.loads(path.read_text())
    assert data["chosen"] == ["good"]
    assert data["alone"][0]["budget_used"] == pytest.approx(0.5)
    drawing = Xml.fromstring(path.with_suffix(".svg").read_text())
    words = " ".join(element.text or "" for element in drawing.iter())
    assert "1 of 2 blocks in 8 bits, 75% of their multiply-adds" in words
    assert "bad & worse (25.0%)" in words
    assert curve_svg(curve) == path.with_suffix(".svg").read_text()
