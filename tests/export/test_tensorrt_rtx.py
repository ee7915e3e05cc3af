"""NVIDIA's own parser and builder, which TensorRT-RTX brings to machines without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from int8_graphs import fully_quantized
from trt_wheels import environment_of

from litestereo.export.artifact import write_artifact
from litestereo.export.int8 import typed_int8
from litestereo.models import MODEL_NAMES


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_artefact_parses_and_builds_strongly_typed(
    name, precision, exported, halved, pair, tmp_path
):
    graph = exported(name).graph if precision == "fp32" else halved(name).model
    require_build(graph, pair.size, tmp_path / f"{name}.onnx")


@pytest.mark.parametrize("rest", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["las1", "las2_s"])
def test_int8_artefacts_parse_and_build_strongly_typed(name, rest, exported, pair, tmp_path):
    graph = fully_quantized(exported(name).graph, pair)
    typed = graph if rest == "fp32" else typed_int8(graph)
    require_build(typed, pair.size, tmp_path / f"{name}.onnx")


def require_build(graph, size, path):
    """Parse and build in a process of its own; nothing may be refused."""
    environment = environment_of("rtx", module="tensorrt_rtx")
    write_artifact(graph, path)
    program = Path(__file__).with_name("rtx_build.py")
    done = subprocess.run(
        [sys.executable, program, path, *map(str, size)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["errors"] == []
    assert answer["plan_bytes"] > path.stat().st_size / 4
