"""`stereo-export --int8` from a set to an artefact, and every way in which there is none."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
from int8_graphs import made_set
from test_cli_export import stereo_export

from litestereo import StereoEngine
from litestereo.errors import ExportError
from litestereo.export.options import ExportOptions, Int8Options
from litestereo.runtime.manifest import METADATA_KEY, Manifest

SIZE = ("--height", 64, "--width", 128)


@pytest.fixture(scope="session")
def int8_set(tmp_path_factory):
    return made_set(tmp_path_factory.mktemp("int8"))


def test_an_artefact_is_calibrated_searched_and_judged(
    int8_set, las1_weights, pair_files, tmp_path, capsys
):
    path = tmp_path / "las1.onnx"
    arguments = ("--int8", "--calibration", int8_set.folder, "--budget", 1.0, "-o", path)
    common = ("--weights", las1_weights, *SIZE, "--pair", *pair_files)
    status = stereo_export(*common, *arguments)
    output = capsys.readouterr()
    curve = json.loads((tmp_path / "las1_sensitivity.json").read_text())
    assert len(curve["alone"]) > 40, "the curve is there whether the gate passed or not"
    assert (tmp_path / "las1_sensitivity.svg").read_text().startswith("<svg")
    if status:  # weights without training may leave nothing that bears 8 bits
        assert "held-out pairs" in output.err or "no block bears" in output.err, output.err
        assert not path.exists()
        pytest.skip("these weights do not pass the gate, and nothing was written")
    assert output.out == f"{path}\n"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    manifest = Manifest.from_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    assert (manifest.precision, manifest.opset) == ("int8", 17)
    assert manifest.quantization["calibration_sha256"] == int8_set.sha256
    assert manifest.quantization["blocks"] == curve["chosen"]
    assert manifest.quantization["convolutions"] == manifest.precision_map["nodes"]["int8"]
    assert manifest.parity["passed"] is True
    assert len(manifest.parity["pairs"]) == len(int8_set.part(held_out=True))
    kept = manifest.quantization["kept"]
    assert {"cost volume", "last aggregation", "upsampling"} <= set(kept)
    pair = int8_set.read(int8_set.pairs[0])
    with StereoEngine.load(path) as engine:
        assert np.isfinite(engine(pair.left, pair.right).disparity_px).all()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--int8"], 2, "go together"),
        (["--calibration", "."], 2, "go together"),
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
