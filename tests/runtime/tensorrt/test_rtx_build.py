"""Our builder with a real one of NVIDIA's, that of TensorRT-RTX, a sibling of TensorRT 11."""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from stand_in import stand_in_model, write_stand_in
from trt_wheels import environment_of

from litestereo.assets import bundled_artifact, bundled_models


def build(path, size, precision="fp32"):
    program = Path(__file__).with_name("rtx_plan.py")
    done = subprocess.run(
        [sys.executable, program, path, *map(str, size), precision],
        env=environment_of("rtx", module="tensorrt_rtx"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("size", [None, (64, 96)])
def test_the_real_builder_takes_our_calls(tmp_path, size):
    answer = build(write_stand_in(tmp_path / "a.onnx", size=size), (64, 96))
    assert answer.get("error") is None
    assert answer["plan_bytes"] > 1000
    assert answer["timing_cache_bytes"] > 0
    assert answer["typing"] == "strong"
    assert answer["said"][-1].startswith("building: done in")
    assert answer["phase"], "the progress monitor was never called"


def test_the_real_parsers_words_are_in_the_error(tmp_path):
    model = stand_in_model()
    model.graph.node[2].op_type = "NoSuchOperator"
    (tmp_path / "bad.onnx").write_bytes(model.SerializeToString())
    error = build(tmp_path / "bad.onnx", (64, 96))["error"]
    assert "parser refuses" in error
    assert "node 2: " in error
    assert "Plugin not found" in error


def test_the_real_builders_words_are_in_the_error(tmp_path):
    """A graph that parses and that no size of ours fits."""
    model = stand_in_model()
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[2].dim_value = 4
    onnx.save(model, tmp_path / "bad.onnx")
    error = build(tmp_path / "bad.onnx", (64, 96))["error"]
    assert "TensorRT" in error
    assert "left" in error


@pytest.mark.parametrize("model", bundled_models())
def test_bundled_artefacts_build(model):
    answer = build(bundled_artifact(model), (96, 128))
    assert answer.get("error") is None
    assert answer["plan_bytes"] > 5_000_000
