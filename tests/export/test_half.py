from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from typed_graphs import tiny_graph

from litestereo.export.graph import tensor_types
from litestereo.export.half import KEEP_LIST, half_from_master
from litestereo.export.half_run import half_outputs
from litestereo.export.pairs import Pair
from litestereo.export.parity import onnxruntime_outputs
from litestereo.export.ranges import measure_ranges, out_of_half_range


def assert_strongly_typed(model: onnx.ModelProto) -> None:
    """Check by the operators' own schemas that each node's inputs agree in type."""
    types = tensor_types(model)
    for node in model.graph.node:
        schema = onnx.defs.get_schema(node.op_type, 17, node.domain)
        bound: dict[str, int] = {}
        for names, parameters in ((node.input, schema.inputs), (node.output, schema.outputs)):
            for index, name in enumerate(names):
                parameter = parameters[min(index, len(parameters) - 1)]
                if name and not parameter.type_str.startswith("tensor("):
                    expected = bound.setdefault(parameter.type_str, types[name])
                    assert types[name] == expected, (node.name, name)


@pytest.fixture
def noise(rng) -> Pair:
    left, right = rng.integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    return Pair("noise", left, right)


def test_regions_have_the_types_that_the_keep_list_says():
    half = half_from_master(tiny_graph())
    types = tensor_types(half.model)
    halves = {name for name, kind in types.items() if kind == TensorProto.FLOAT16}
    assert {"features", "loud", "relu", "cost"} <= halves
    assert halves.isdisjoint({"picture", "normed", "p", "pk", "d", "disparity", "confidence"})
    assert half.islands["instance_norm"] == ("norm",)
    assert set(half.islands["disparity"]) >= {"softmax", "times_levels", "expectation", "peak"}
    assert "range" not in half.islands
    assert_strongly_typed(half.model)


def test_inputs_and_outputs_keep_their_types():
    graph = half_from_master(tiny_graph()).model.graph
    assert {v.type.tensor_type.elem_type for v in graph.input} == {TensorProto.UINT8}
    assert {v.type.tensor_type.elem_type for v in graph.output} == {TensorProto.FLOAT}


def test_casts_stand_at_the_borders_only_and_constants_are_stored_in_their_type():
    half = half_from_master(tiny_graph())
    between = {
        node.input[0]
        for node in half.model.graph.node
        if node.op_type == "Cast" and node.input[0] not in ("left", "right")
    }
    assert between == {"picture", "relu", "normed", "cost"}
    stored = {t.name: t.data_type for t in half.model.graph.initializer}
    assert stored["w::float16"] == TensorProto.FLOAT16
    assert stored["levels"] == TensorProto.FLOAT
    assert "w" not in stored


def test_the_precision_map_counts_every_node():
    half = half_from_master(tiny_graph())
    made = half.precision_map()
    assert sum(half.nodes_by_type.values()) == len(half.model.graph.node)
    assert sum(made["share"].values()) == pytest.approx(1, abs=1e-3)
    assert {name: i["reason"] for name, i in made["islands"].items()}.items() <= KEEP_LIST.items()


def test_a_widened_tensor_stays_fp32_with_its_maker_and_reader():
    half = half_from_master(tiny_graph(), widened=["loud"])
    assert half.islands["range"] == ("amplify", "relu")
    types = tensor_types(half.model)
    assert types["loud"] == TensorProto.FLOAT
    assert types["features"] == TensorProto.FLOAT16
    assert_strongly_typed(half.model)


def test_the_range_check_finds_what_overflows_and_what_vanishes(noise):
    assert not out_of_half_range(tiny_graph(), pairs=[noise])
    assert set(out_of_half_range(tiny_graph(gain=4e4), pairs=[noise])) == {"gain", "loud", "relu"}
    faint = set(out_of_half_range(tiny_graph(gain=1e-7), pairs=[noise]))
    assert faint == {"gain", "loud", "relu", "normed"}, "the norm's eps is larger than its input"


def test_ranges_are_the_worst_of_all_pairs(noise):
    black = Pair("black", np.zeros_like(noise.left), np.zeros_like(noise.left))
    both = measure_ranges(tiny_graph(), pairs=[noise, black])
    assert both["loud"] == measure_ranges(tiny_graph(), pairs=[noise])["loud"]
    assert both["loud"].largest > 0
    assert both["loud"].rounding < 5e-4


def test_overflow_shows_in_half_and_widening_cures_it(noise):
    # A norm follows, so in FP32 the gain changes next to nothing.
    loud = tiny_graph(gain=4e5)
    expected, _ = onnxruntime_outputs(loud, noise)
    broken, _ = half_outputs(half_from_master(loud).model, noise)
    assert not np.isfinite(broken).all()
    widened = tuple(out_of_half_range(loud, pairs=[noise]))
    cured, _ = half_outputs(half_from_master(loud, widened=widened).model, noise)
    assert np.abs(cured - expected).max() < 0.02


def test_numbers_of_columns_stay_whole(noise):
    """Half holds whole numbers up to 2048 alone, and a refiner reads pictures by their columns."""
    torch = pytest.importorskip("torch")
    from litestereo.export import ExportOptions
    from litestereo.export.pipeline import fp16_graph, fp32_graph
    from litestereo.models import create
    from litestereo.models.refiner import Refiner

    torch.manual_seed(0)
    network = create("las2_s").eval()
    network.refiner = Refiner().eval()
    half = fp16_graph(fp32_graph(network, options=ExportOptions("las2_s")), pairs=[noise])
    types = tensor_types(half.model)
    ranges = [node for node in half.model.graph.node if node.op_type == "Range"]
    assert ranges
    for node in ranges:
        assert node.name in half.islands["columns"]
        readers = [r for r in half.model.graph.node if node.output[0] in r.input]
        assert all(types[reader.output[0]] == TensorProto.FLOAT for reader in readers)
    gathers = [node for node in half.model.graph.node if node.op_type == "GatherElements"]
    assert len(gathers) == 16  # of two passes
    assert all(types[node.input[0]] == TensorProto.FLOAT for node in gathers)
