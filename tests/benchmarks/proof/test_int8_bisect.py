"""The search for what TensorRT 8.6 refuses, on a TensorRT made of Python."""

import sys
from pathlib import Path

import pytest
from fake_tensorrt import fake_tensorrt
from onnx import helper
from stand_in import stand_in_manifest

from litestereo.errors import EngineError
from litestereo.runtime.tensorrt.artifact import Artifact

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks/proof"))

from int8_bisect import FORMS, build, quantized_convolutions, smallest_refused, watch

ENGINE = "small_int8@64x96"
NODES = [
    helper.make_node("QuantizeLinear", ["x", "s"], ["x8"], "/quantize"),
    helper.make_node("DequantizeLinear", ["x8", "s"], ["xd"], "/dequantize"),
    helper.make_node("DequantizeLinear", ["w8", "s"], ["wd"], "/weights"),
    helper.make_node("Conv", ["xd", "wd"], ["y"], "/conv"),
    helper.make_node("InstanceNormalization", ["y", "a", "b"], ["z"], "/norm"),
    helper.make_node("Softmax", ["z"], ["disparity"], "/softmax"),
]
FLOAT = ("FLOAT",)
LAYERS = (
    ("/before", "SOFTMAX", FLOAT),
    ("/quantize", "QUANTIZE", FLOAT, ("/before:0",)),
    ("/dequantize", "DEQUANTIZE", FLOAT, ("/quantize:0",)),
    ("/weights", "DEQUANTIZE", FLOAT, ("w8",)),
    ("/conv", "CONVOLUTION", FLOAT, ("/dequantize:0", "/weights:0")),
    ("/norm", "SOFTMAX", FLOAT, ("/conv:0",)),
    ("/softmax", "SOFTMAX", FLOAT, ("/norm:0",)),
)


@pytest.fixture
def artifact(tmp_path):
    model = helper.make_model(helper.make_graph(NODES, "small", [], []))
    islands = {"disparity": {"nodes": ["/softmax"]}, "instance_norm": {"nodes": ["/norm"]}}
    manifest = stand_in_manifest(precision="int8", precision_map={"islands": islands})
    return Artifact(tmp_path / "a.onnx", model.SerializeToString(), manifest, "")


def built(artifact, form):
    trt = fake_tensorrt("8.6.2", network_layers=LAYERS, input_shape=(64, 96, 3))
    build(trt, artifact, ENGINE, form)
    ((network, config),) = trt.builds
    held = {layer.name for layer in network.layers if layer.precision}
    level = config.builder_optimization_level
    return network, held, level, {flag.name.split("_")[0] for flag in config.flags}


def test_each_form_is_built_as_it_says(artifact):
    forms = {label: built(artifact, form)[1:] for label, form in FORMS.items()}
    prefer, obey = {"FP16", "INT8", "PREFER"}, {"FP16", "INT8", "OBEY"}
    assert forms == {
        "as litestereo does": ({"/softmax"}, 3, prefer),
        "obeyed": ({"/softmax"}, 3, obey),
        "all islands, obeyed": ({"/softmax", "/norm"}, 3, obey),
        "all islands": ({"/softmax", "/norm"}, 3, prefer),
        "no islands": (set(), 3, prefer),
        "no islands, level 0": (set(), 0, prefer),
    }


@pytest.mark.parametrize("kept", [["/conv"], []])
def test_quantisers_are_taken_out(kept, artifact):
    assert quantized_convolutions(artifact) == ["/conv"]
    network = built(artifact, {"quantized": kept})[0]
    conv = network.layers[4]
    reads = [conv.get_input(index).name for index in range(2)]
    assert reads == (["/dequantize:0", "/weights:0"] if kept else ["/before:0", "constant 7:0"])


def test_kernels_that_are_timed_are_told(artifact, capsys):
    words = "=============== Computing costs for x"
    trt = fake_tensorrt("8.6.2", input_shape=(64, 96, 3), refuse_build=words)
    with pytest.raises(EngineError, match="cannot build small_int8"):
        build(trt, artifact, ENGINE, {})
    assert capsys.readouterr().out.count("timing kernels\n") == 1


@pytest.mark.parametrize(
    ("program", "known"),
    [
        ("print('a timing kernels')", {"refused": False, "status": 0, "layers_timed": 1}),
        ("raise SystemExit('no kernel')", {"refused": True, "last_words": "no kernel"}),
        ("import time; time.sleep(60)", {"refused": False, "status": None, "layers_timed": 0}),
    ],
)
def test_a_build_is_watched(program, known, tmp_path, monkeypatch):
    monkeypatch.setenv("PROOF_LIMIT", "2" if "sleep" in program else "60")
    found = watch([sys.executable, "-c", program], tmp_path / "log")
    assert found == {**found, **known}


@pytest.mark.parametrize(
    ("culprits", "found"), [({"c"}, ["c"]), ({"a", "d"}, ["a", "b", "c", "d"])]
)
def test_halving_ends_at_what_no_half_explains(culprits, found):
    assert smallest_refused(list("abcd"), lambda names: culprits <= set(names)) == found
