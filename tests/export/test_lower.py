"""Rewritten graphs say what they said before, in the form that was asked for."""

from collections import Counter

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from litestereo.assets import bundled_artifact
from litestereo.benchmarks.roofline_count import count_layers, with_size
from litestereo.errors import ExportError
from litestereo.export.lower import with_folded_gelu, with_folded_scales, with_spelled_softmax
from litestereo.export.lower_stem import with_stem_in_blocks, with_stem_in_planes
from litestereo.export.options import ExportOptions
from litestereo.export.pairs import Pair
from litestereo.export.parity import onnxruntime_outputs
from litestereo.export.pipeline import for_engines, fp32_graph
from litestereo.export.simplify import simplify
from litestereo.models import create, load_weights
from litestereo.runtime.tensorrt.plugin.convnext import find_convnext
from litestereo.runtime.tensorrt.plugin.onnx_graph import read_graph

SIZE = (64, 96)
FORMS = (
    with_folded_scales,
    with_folded_gelu,
    with_stem_in_blocks,
    with_stem_in_planes,
)


@pytest.fixture(scope="module")
def master():
    network = create("las1").eval()
    load_weights(network, bundled_artifact("las1"))
    graph = fp32_graph(network, options=ExportOptions(model="las1"))
    return simplify(with_spelled_softmax(graph))


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 256, (SIZE[0], SIZE[1] + 8, 3), np.uint8)
    return Pair("noise", texture[:, :-8].copy(), texture[:, 8:].copy())


@pytest.fixture(scope="module")
def expected(master, pair):
    return onnxruntime_outputs(master, pair)


def kinds(model):
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_answers_stay(form, master, pair, expected):
    before = master.SerializeToString()
    rewritten = form(master)
    assert master.SerializeToString() == before
    assert kinds(rewritten) != kinds(master)
    for ours, theirs in zip(onnxruntime_outputs(rewritten, pair), expected, strict=True):
        assert np.abs(ours - theirs).max() < 2e-4


def test_all_forms_go_together(master, pair, expected):
    rewritten = master
    for form in (with_folded_scales, with_folded_gelu, with_stem_in_blocks):
        rewritten = form(rewritten)
    assert np.abs(onnxruntime_outputs(rewritten, pair)[0] - expected[0]).max() < 2e-4


def test_every_layer_scale_is_folded(master):
    before, after = kinds(master), kinds(with_folded_scales(master))
    assert before["Mul"] - after["Mul"] == 28  # one in each ConvNeXt block
    assert before - after == Counter(Mul=28)


def test_a_gelu_is_three_steps(master):
    before, after = kinds(master), kinds(with_folded_gelu(master))
    assert before["Erf"] == 28  # one in each ConvNeXt block
    assert before - after == Counter(Div=28, Mul=28)
    assert after - before == Counter()


def test_the_plugin_finds_every_convnext_block(master):
    blocks = find_convnext(read_graph(for_engines(master).SerializeToString()))
    assert Counter(block.constants[0].shape[1] for block in blocks) == {48: 5, 96: 8, 192: 15}


def test_no_softmax_over_channels_is_left(master, rng):
    assert "Softmax" not in kinds(master)

    shape = [1, 9, 4, 5]
    given, out, last = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name in ("scores", "out", "last")
    )
    nodes = [
        helper.make_node("Softmax", ["scores"], ["out"], "over_channels", axis=1),
        helper.make_node("Softmax", ["scores"], ["last"], "over_columns", axis=-1),
    ]
    graph = helper.make_graph(nodes, "softmax", [given], [out, last])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    rewritten = with_spelled_softmax(model)
    assert [n.name for n in rewritten.graph.node if n.op_type == "Softmax"] == ["over_columns"]
    scores = (100 * rng.standard_normal(shape)).astype(np.float32)
    answers = [
        onnxruntime.InferenceSession(
            one.SerializeToString(), providers=["CPUExecutionProvider"]
        ).run(None, {"scores": scores})
        for one in (model, rewritten)
    ]
    for before, after in zip(*answers, strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)


@pytest.mark.parametrize(
    ("form", "times"),
    [(with_stem_in_blocks, 2), (with_stem_in_planes, 16)],
    ids=["blocks", "planes"],
)
def test_the_stem_costs_what_is_said(master, form, times):
    def middle(model):
        sized = count_layers(with_size(model, SIZE))
        stem = [n.macs for n in sized if "cost_stem_3d" in n.name and n.macs]
        assert len(stem) == 3
        return stem[1]

    assert middle(form(master)) == times * middle(master)


def test_the_stem_is_found_whatever_its_nodes_are_called(master):
    renamed = type(master)()
    renamed.CopyFrom(master)
    for index, node in enumerate(renamed.graph.node):
        node.name = f"node_{index}"
    assert kinds(for_engines(renamed)) == kinds(for_engines(master))


def test_scales_that_others_read_stay():
    def node(kind, inputs, output):
        return helper.make_node(kind, inputs, [output], output)

    shape = [1, 2, 4, 4]
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("x", "y", "z")]
    nodes = [node("Conv", ["x", "w"], "conv"), node("Mul", ["conv", "s"], "y")]
    graph = helper.make_graph(
        [*nodes, node("Relu", ["conv"], "z")],
        "shared",
        value[:1],
        value[1:],
        [
            numpy_helper.from_array(np.ones((2, 2, 1, 1), np.float32), "w"),
            numpy_helper.from_array(np.ones((2, 1, 1), np.float32), "s"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for form in (with_folded_scales, with_folded_gelu):
        assert kinds(form(model)) == kinds(model)
    for form in (with_stem_in_blocks, with_stem_in_planes):
        with pytest.raises(ExportError, match="the graph has no"):
            form(model)
