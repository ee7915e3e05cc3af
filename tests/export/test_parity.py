from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from litestereo.errors import ExportError, InputError
from litestereo.export import export_artifact
from litestereo.export.options import ExportOptions
from litestereo.export.pairs import gate_pairs, mirrored
from litestereo.export.parity import REFINED_LIMIT_P995_PX, ParityCase, ParityReport
from litestereo.runtime.tensorrt.artifact import read_artifact

CASE = ParityCase(
    pair="p",
    height=64,
    width=96,
    max_px=5e-4,
    p995_px=1e-5,
    mean_px=1e-5,
    bias_px=0.0,
    max_confidence=1e-4,
    mean_confidence=1e-6,
)


@pytest.mark.parametrize(
    ("change", "passed"),
    [
        ({}, True),
        ({"max_px": 1e-3}, True),
        ({"max_px": 1.1e-3}, False),
        ({"max_px": float("nan")}, False),
        ({"mean_confidence": 2e-3}, False),
        ({"mean_confidence": float("nan")}, False),
    ],
)
def test_one_case_over_a_limit_fails_the_report(change, passed):
    report = ParityReport("judge", "max_px", 1e-3, (CASE, dataclasses.replace(CASE, **change)))
    assert report.passed is passed
    if passed:
        report.require()
        return
    with pytest.raises(ExportError, match=r"nothing was written: .*judged by judge"):
        report.require()


@pytest.mark.parametrize(("within_px", "passed"), [(1e-4, True), (2e-3, False)])
def test_of_a_refined_graph_single_pixels_may_differ(within_px, passed):
    case = dataclasses.replace(CASE, max_px=0.2, p995_px=within_px)
    report = ParityReport("judge", "p995_px", REFINED_LIMIT_P995_PX, (case,))
    assert report.passed is passed
    assert "99.5 % within" in str(report)


@pytest.mark.parametrize(("passes", "limit"), [(2, "p995_px"), (0, "max_px")])
def test_which_figure_is_limited_goes_by_the_refiner(tmp_path, pair_files, passes, limit):
    output = tmp_path / "one.onnx"
    options = ExportOptions("las1", height=64, width=128, pair=pair_files, refiner_passes=passes)
    export_artifact(options, output=output)
    judged = read_artifact(output).manifest.parity
    assert judged["limit"] == limit
    assert judged["passed"]


def test_a_dynamic_artefact_is_judged_at_two_sizes(pair_files):
    pairs = gate_pairs(ExportOptions(pair=pair_files))
    assert [pair.size for pair in pairs] == [(64, 128), (288, 416)]


def test_a_fixed_artefact_is_judged_on_two_pairs_of_its_size(pair_files):
    pairs = gate_pairs(ExportOptions(pair=pair_files, height=96, width=160))
    assert [pair.size for pair in pairs] == [(96, 160)] * 2
    assert not np.array_equal(pairs[0].left, pairs[1].left)


@pytest.mark.parametrize("size", [(384, 1248), (320, 64), (64, 128)])
def test_a_fixed_size_is_filled_with_picture(pair_files, size):
    """Repeated pixels match everywhere equally well: what is said of them judges nothing."""
    first, _ = gate_pairs(ExportOptions(pair=pair_files, height=size[0], width=size[1]))
    assert first.size == size
    for eye in (first.left, first.right):
        edges = [eye[:8], eye[-8:], eye[:, :8].swapaxes(0, 1), eye[:, -8:].swapaxes(0, 1)]
        assert all(len(np.unique(edge, axis=0)) > 1 for edge in edges)


def test_a_mirrored_pair_swaps_the_eyes(pair):
    twice = mirrored(mirrored(pair))
    np.testing.assert_array_equal(mirrored(pair).left, pair.right[:, ::-1])
    np.testing.assert_array_equal(twice.left, pair.left)


def test_missing_pictures_are_named(tmp_path):
    absent = tmp_path / "left.png"
    with pytest.raises(InputError, match=r"left\.png"):
        gate_pairs(ExportOptions(pair=(absent, absent)))


def test_a_failed_gate_writes_nothing_and_says_the_figures(
    las1_weights, pair_files, tmp_path, monkeypatch
):
    from litestereo.export import pipeline

    def shifted(graph, pair):
        height, width = pair.size
        return np.full((height, width), 7, np.float32), np.zeros((height, width), np.float32)

    monkeypatch.setattr(pipeline, "onnxruntime_outputs", shifted)
    options = ExportOptions(weights=las1_weights, height=64, width=128, pair=pair_files)
    with pytest.raises(ExportError, match=r"left.png 64x128: max \d\.\d+e"):
        export_artifact(options, output=tmp_path / "las1.onnx")
    assert list(tmp_path.iterdir()) == []
