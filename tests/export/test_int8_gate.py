"""The figures of INT8, and the gate that holds them."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
from int8_graphs import made_set

from litestereo.calibration.frames import network_pair
from litestereo.calibration.sensitivity import Block, search_blocks
from litestereo.errors import ExportError, InputError
from litestereo.export import int8_gate
from litestereo.export.disagreement import Disagreement, disagreement, roughness_px
from litestereo.export.held_out import HeldOut, find_judges
from litestereo.export.int8_gate import judge, judge_int8
from litestereo.export.options import ExportOptions, Int8Options
from litestereo.export.sensitivity_curve import curve_svg, rename_curve, write_curve
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


def test_each_pair_judges_though_names_are_alike(ramp):
    same = [dataclasses.replace(one, pair=named(one.pair, "000000")) for one in held(3)]
    answers = iter([ramp + 5, ramp + 5, ramp])
    report = judge(same, quantised=lambda _: next(answers), reference=lambda _: ramp, words="")
    assert [name for name, _ in report.pairs] == ["000000"] * 3
    assert len(report.as_json()["pairs"]) == 3
    assert report.mean.mean_px == pytest.approx(10 / 3, abs=1e-4)
    assert not report.passed


def named(pair, name):
    return dataclasses.replace(pair, name=name)


@pytest.mark.parametrize("unknown", [math.nan, math.inf, 0.0])
def test_ground_truth_that_says_nothing_is_none(unknown, ramp):
    silent = np.full_like(ramp, unknown)
    changed = ramp.copy()
    changed[:2] += 4  # 3 % of the pixels
    found = disagreement(changed, ramp, truth=(changed, ramp, silent))
    assert found == disagreement(changed, ramp)
    assert found.d1_points == pytest.approx(100 * 2 / 64)
    (one,) = held(1)
    with_truth = [dataclasses.replace(one, truth_px=truth) for truth in (silent, ramp)]
    report = judge(with_truth, quantised=lambda _: changed, reference=lambda _: ramp, words="")
    assert report.with_truth == 1


@pytest.mark.parametrize("half", [False, True])
def test_all_held_out_pairs_judge_in_every_form(half, ramp, tmp_path, monkeypatch):
    class FiveJudges:
        left_out = 2

        def __len__(self):
            return 5

        def pairs(self, *, size):
            return iter(held(5))

    monkeypatch.setattr(int8_gate, "literal_session", lambda _: lambda _: ramp)
    monkeypatch.setattr(int8_gate, "plain_session", lambda _: lambda _: ramp)
    monkeypatch.setattr(int8_gate, "half_outputs", lambda *_: (ramp, ramp))
    options = ExportOptions(precision="int8", int8=Int8Options(tmp_path, half=half))
    report = judge_int8(None, None, judges=FiveJudges(), options=options)
    assert len(report.pairs) == 5
    assert str(report).startswith("5 held-out pairs, 2 left out that gave ranges:")
    assert report.as_json()["left_out"] == 2
    monkeypatch.setattr(FiveJudges, "pairs", lambda self, size: iter(held(4)))
    with pytest.raises(AssertionError):
        judge_int8(None, None, judges=FiveJudges(), options=options)


def test_scenes_that_gave_ranges_do_not_judge(tmp_path):
    made = made_set(tmp_path)
    for stored in made.pairs:
        scene = tmp_path / "judges" / stored.file
        scene.mkdir(parents=True)
        for side in ("left", "right"):
            picture = made.folder / f"{stored.file}_{side}.png"
            shutil.copy(picture, scene / f"{side}.png")
        files = {"left": "left.png", "right": "right.png"}
        (scene / "meta.json").write_text(json.dumps({"files": files}))
    judges = find_judges(made, (tmp_path / "judges",))
    held_out = made.part(held_out=True)
    assert (len(judges), judges.left_out) == (len(held_out), 13 - len(held_out))
    names = [one.pair.name for one in judges.pairs(size=None)]
    assert sorted(names) == sorted(f"judges/{pair.file}" for pair in held_out)
    used = tmp_path / "judges" / made.part(held_out=False)[0].file
    with pytest.raises(ExportError, match="all 1 scenes of --held-out gave ranges"):
        find_judges(made, (used,))
    assert len(find_judges(made, ())) == len(held_out)
    everything = tuple(dataclasses.replace(pair, held_out=False) for pair in made.pairs)
    with pytest.raises(ExportError, match="holds out no pair"):
        find_judges(dataclasses.replace(made, pairs=everything), ())


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
    moved = rename_curve(tmp_path / "las1_int8.onnx", tmp_path / "b.onnx")
    assert json.loads(moved.read_text()) == data
    assert {one.name for one in tmp_path.iterdir()} == {"b_sensitivity.json", "b_sensitivity.svg"}
    with pytest.raises(InputError, match="cannot rename"):
        rename_curve(tmp_path / "las1_int8.onnx", tmp_path / "b.onnx")
