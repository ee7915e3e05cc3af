"""NVIDIA's own parser and builder, which TensorRT-RTX brings to machines without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from trt_wheels import environment_of

from litestereo.export.artifact import write_artifact
from litestereo.models import MODEL_NAMES


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_artefact_parses_and_builds_strongly_typed(
    name, precision, exported, halved, pair, tmp_path
):
    environment = environment_of("rtx", module="tensorrt_rtx")
    graph = exported(name).graph if precision == "fp32" else halved(name).model
    path = write_artifact(graph, tmp_path / f"{name}.onnx")
    program = Path(__file__).with_name("rtx_build.py")
    size = [str(side) for side in pair.size]
    done = subprocess.run(
        [sys.executable, program, path, *size],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["errors"] == []
    assert answer["plan_bytes"] > path.stat().st_size / 4
