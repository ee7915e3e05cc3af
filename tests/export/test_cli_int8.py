"""`stereo-export --int8` from a set to an artefact, and every way in which there is none."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
from int8_graphs import made_set
from test_cli_export import stereo_export

from litestereo import StereoEngine
from litestereo.calibration.sensitivity import Sensitivity
from litestereo.errors import ExportError
from litestereo.export import export_artifact
from litestereo.export.options import ExportOptions, Int8Options
from litestereo.export.pipeline import fp32_graph
from litestereo.runtime.manifest import METADATA_KEY, Manifest

SIZE = ("--height", 64, "--width", 128)


@pytest.fixture(scope="session")
def int8_set(tmp_path_factory):
    return made_set(tmp_path_factory.mktemp("int8"))


@pytest.fixture(scope="session")
def exported_int8(int8_set, pair_files, tmp_path_factory):
    """Return the artefact of the bundled weights, what was said on the way, and the FP32 graph."""
    path = tmp_path_factory.mktemp("artefact") / "las1.onnx"
    int8 = Int8Options(int8_set.folder, budget=0.3, search_pairs=1)
    options = ExportOptions(precision="int8", int8=int8, pair=pair_files)
    said, graphs = [], []

    def kept(model, *, options):
        graphs.append(fp32_graph(model, options=options))
        return graphs[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("litestereo.export.pipeline.fp32_graph", kept)
        export_artifact(options, output=path, progress=said.append)
    return path, said, graphs[0]


def test_the_manifest_says_what_was_calibrated_searched_and_judged(exported_int8, int8_set):
    path, said, _ = exported_int8
    curve = json.loads(path.with_name("las1_sensitivity.json").read_text())
    assert len(curve["alone"]) > 40
    assert path.with_name("las1_sensitivity.svg").read_text().startswith("<svg")
    assert not list(path.parent.glob("*_failed_*"))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    manifest = Manifest.from_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    assert (manifest.precision, manifest.opset) == ("int8", 17)
    assert manifest.quantization["calibration_sha256"] == int8_set.sha256
    assert manifest.quantization["blocks"] == curve["chosen"] != []
    assert manifest.quantization["convolutions"] == manifest.precision_map["nodes"]["int8"]
    assert manifest.parity["passed"] is True
    held_out = {pair.name for pair in int8_set.part(held_out=True)}
    assert {one["pair"] for one in manifest.parity["pairs"]} == held_out
    nodes = manifest.precision_map["nodes"]
    assert (nodes["fp16"], nodes["cast"]) == (0, 0), "the rest of the file is FP32"
    assert nodes["fp32"] > nodes["int8"]
    kept = manifest.quantization["kept"]
    assert {"cost volume", "last aggregation", "upsampling"} <= set(kept)
    assert any("held-out pairs: mean" in line for line in said)


def test_the_artefact_runs_and_is_near_fp32(exported_int8, int8_set):
    pair = int8_set.read(int8_set.pairs[0])
    answers = []
    for model in (exported_int8[0], "las1"):
        with StereoEngine.load(model) as engine:
            answers.append(engine(pair.left, pair.right).disparity_px)
    assert 0 < np.abs(answers[0] - answers[1]).mean() < 0.5


def test_a_failed_gate_writes_nothing_but_its_own_curve(
    exported_int8, int8_set, pair_files, tmp_path, monkeypatch
):
    path, _, graph = exported_int8
    monkeypatch.setattr("litestereo.export.pipeline.fp32_graph", lambda model, options: graph)
    chosen = json.loads(path.with_name("las1_sensitivity.json").read_text())["chosen"]
    curve = Sensitivity({"mean_px": 0.1}, (), (), tuple(chosen))
    monkeypatch.setattr("litestereo.export.int8.choose_blocks", lambda *_, **__: curve)
    limits = {"mean_px": 1e-6, "bias_px": 0.03, "d1_points": 0.2, "bad_1_points": 0.5}
    monkeypatch.setattr("litestereo.export.disagreement.GATE_LIMITS", limits)
    options = ExportOptions(precision="int8", int8=Int8Options(int8_set.folder), pair=pair_files)
    for kept in ("a.onnx", "a_sensitivity.json", "a_sensitivity.svg"):
        (tmp_path / kept).write_text("of an earlier run")
    with pytest.raises(ExportError, match=r"3 held-out pairs, so no artefact.*with --fp16"):
        export_artifact(options, output=tmp_path / "a.onnx")
    changed = {path.name for path in tmp_path.iterdir() if path.read_text() != "of an earlier run"}
    assert changed == {"a_failed_sensitivity.json", "a_failed_sensitivity.svg"}
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--int8"], 2, "go together"),
        (["--calibration", "."], 2, "go together"),
        (["--held-out", "."], 2, "belong to --int8"),
        (["--ranges", "magic"], 2, "belong to --int8"),
        (["--budget", 0], 2, "belong to --int8"),
        (["--engine-cache", "."], 2, "add --engine, or drop it"),
        (["--calib", "rig.yml", "--camera-size", 0, 0], 1, "raw size is 0x0"),
        (["--int8", "--calibration", ".", "--exporter", "dynamo"], 1, "dynamo gives others"),
        (["--int8", "--calibration", "absent"], 1, "no calibration set"),
        (["--int8", "--calibration", ".", "--budget", 0], 1, "budget is 0"),
        (["--int8", "--calibration", ".", "--ranges", "magic"], 1, "minmax, percentile"),
        (["--int8", "--calibration", ".", "--half-weights"], 1, "choose one of the two"),
    ],
)
def test_wrong_use_is_refused_before_any_work(arguments, status, words, tmp_path, capsys):
    assert stereo_export(*arguments, *SIZE, "--skip-gate", "-o", tmp_path / "a.onnx") == status
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "words"),
    [("las1_64x128_fp16.onnx", "is where the FP16 artefact goes"), ("", "does not end in .onnx")],
)
def test_a_name_without_room_for_fp16_is_refused_before_any_work(name, words, tmp_path, capsys):
    arguments = ("--int8", "--calibration", tmp_path / "absent", "--engine")
    assert stereo_export(*arguments, *SIZE, "-o", tmp_path / name) == 1
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_set_of_another_size_is_refused(int8_set, las1_weights, tmp_path, capsys):
    larger = ("--height", 384, "--width", 640)
    arguments = ("--weights", las1_weights, "--int8", "--calibration", int8_set.folder)
    output = ("-o", tmp_path / "a.onnx")
    assert stereo_export(*arguments, *larger, *output, "--skip-gate") == 1
    assert "fill 3% of 384x640" in capsys.readouterr().err


def test_options_belong_together(tmp_path):
    with pytest.raises(ExportError, match="never with made-up ones"):
        ExportOptions(precision="int8")
    with pytest.raises(ExportError, match="never with made-up ones"):
        ExportOptions(int8=Int8Options(tmp_path))
    half = ExportOptions(precision="int8", int8=Int8Options(tmp_path, half=True))
    assert half.file_name == "las1_int8_fp16.onnx"
