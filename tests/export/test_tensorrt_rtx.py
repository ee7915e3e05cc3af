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
from litestereo.export.half import half_from_master
from litestereo.export.int8 import typed_int8
from litestereo.export.lower import with_spelled_softmax
from litestereo.export.lower_stem import with_stem_in_blocks
from litestereo.export.pipeline import for_engines
from litestereo.export.simplify import simplify
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


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_8_6_would_be_held_to_the_fp32_of_the_graph_and_to_nothing_else(name, halved, tmp_path):
    write_artifact(halved(name).model, tmp_path / "model.onnx")
    islands = [node for nodes in halved(name).islands.values() for node in nodes]
    (tmp_path / "islands.json").write_text(json.dumps(islands))
    answer = answer_of("rtx_pins.py", tmp_path / "model.onnx", tmp_path / "islands.json")
    assert answer["half"] == []
    assert answer["full"] == []
    assert 10 < answer["pinned"] < 300


FORMS = {
    "stem in blocks": with_stem_in_blocks,
    "for engines": for_engines,
}


@pytest.mark.parametrize("form", FORMS)
def test_other_forms_of_the_graph_parse_and_build(form, exported, pair, tmp_path):
    graph = FORMS[form](simplify(exported("las1").graph))
    # The FP32 islands of the half graph begin at a softmax: it is spelled out in the typed one.
    typed = with_spelled_softmax(half_from_master(graph).model)
    require_build(typed, pair.size, tmp_path / "las1.onnx")


def require_build(graph, size, path):
    """Parse and build in a process of its own; nothing may be refused."""
    write_artifact(graph, path)
    answer = answer_of("rtx_build.py", path, *size)
    assert answer["errors"] == []
    assert answer["plan_bytes"] > path.stat().st_size / 4


def answer_of(program, *arguments):
    """Return what a program beside this file prints as JSON."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name(program), *map(str, arguments)],
        env=environment_of("rtx", module="tensorrt_rtx"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
