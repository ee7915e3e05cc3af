from __future__ import annotations

import json
import subprocess
import sys

import onnxruntime
import pytest

from litestereo import cli
from litestereo.export.artifact import sha256_of
from litestereo.runtime.manifest import METADATA_KEY, Manifest


def stereo_export(*arguments):
    """Run the command in this process and return its exit status."""
    try:
        return cli.export_main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return ended.code or 0


def test_an_export_says_its_path_on_stdout_and_carries_its_manifest(
    las1_weights, pair_files, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    size = ("--height", 64, "--width", 128)
    status = stereo_export("--weights", las1_weights, *size, "--fp16", "--pair", *pair_files)
    output = capsys.readouterr()
    assert status == 0, output.err
    assert output.out == "las1_64x128_fp16.onnx\n"
    assert "judged by ONNX's reference evaluator" in output.err
    assert "comparing with torch: left.png 64x128, 1 of 2; half precision takes min" in output.err
    assert "left.png mirrored 64x128, 2 of 2" in output.err
    session = onnxruntime.InferenceSession(
        tmp_path / "las1_64x128_fp16.onnx", providers=["CPUExecutionProvider"]
    )
    manifest = Manifest.from_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    assert manifest.precision == "fp16"
    assert manifest.opset == 17
    assert manifest.input.fixed_size == (64, 128)
    assert manifest.weights_sha256 == sha256_of(las1_weights.read_bytes())
    assert manifest.parity["passed"] is True
    assert [case["height"] for case in manifest.parity["cases"]] == [64, 64]
    assert manifest.precision_map["share"]["fp16"] > 0.7
    assert manifest.tools["exporter"] == "torchscript"
    assert [path.name for path in tmp_path.iterdir()] == ["las1_64x128_fp16.onnx"]


def test_half_weights_fit_the_package_and_say_where_they_are_from(las1_weights, tmp_path, capsys):
    path = tmp_path / "las1.onnx"
    size = ("--height", 64, "--width", 128, "--skip-gate", "--source", "made for this test")
    assert stereo_export("--weights", las1_weights, *size, "--half-weights", "-o", path) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert path.stat().st_size < 16_000_000
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    manifest = Manifest.from_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    assert manifest.weights_source == "made for this test"
    assert manifest.precision == "fp32"
    assert manifest.parity == {}, "the gate was skipped, and the manifest says so"


def test_list_prints_the_models(capsys):
    assert stereo_export("--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[1].split()[:3] == ["las1", "7,603,626", "27.7"]


def test_without_weights_it_says_what_to_pass(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("litestereo.assets._WEIGHTS", tmp_path)
    assert stereo_export("--model", "las2_m") == 1
    error = capsys.readouterr().err
    assert "no weights for las2_m" in error
    assert "--weights FILE" in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "las9"], "choose one of: las1"),
        (["--height", 480], "a fixed size needs both"),
        (["--exporter", "magic"], "torchscript, dynamo"),
        (["--weights", "absent.pth"], "absent.pth"),
    ],
)
def test_errors_are_one_line(arguments, words, capsys, pair_files):
    assert stereo_export(*arguments, "--pair", *pair_files) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("stereo-export: error: ")
    assert words in error


def test_another_suffix_is_refused(las1_weights, tmp_path, capsys):
    size = ("--height", 64, "--width", 128, "--skip-gate")
    assert stereo_export("--weights", las1_weights, *size, "-o", tmp_path / "model.engine") == 1
    assert "does not end in .onnx" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("argument", ["--help", "--list"])
def test_help_and_list_load_nothing_heavy(argument):
    code = (
        "import sys, json\n"
        "from litestereo.cli import export_main\n"
        "try:\n"
        f"    export_main([{argument!r}])\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not loaded & {"torch", "onnx", "onnxruntime", "onnxslim", "tensorrt", "cv2"}
