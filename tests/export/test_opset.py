from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from litestereo.errors import ExportError
from litestereo.export.graph import opset_of
from litestereo.export.opset import opset_17_from_18


def model_of(*nodes, constants, outputs=1, rank=3):
    graph = helper.make_graph(
        list(nodes),
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 6, 4))],
        [
            helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [None] * rank)
            for i in range(outputs)
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(model, x):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})


AXES = {"axes": np.array([1], np.int64)}
CASES = {
    "mean": ([helper.make_node("ReduceMean", ["x", "axes"], ["y0"], keepdims=0)], AXES, 1),
    "max": ([helper.make_node("ReduceMax", ["x", "axes"], ["y0"])], AXES, 1),
    "mean of all": ([helper.make_node("ReduceMean", ["x"], ["y0"])], {}, 1),
    "pad": (
        [helper.make_node("Pad", ["x", "pads"], ["y0"], mode="edge")],
        {"pads": np.array([0, 1, 0, 0, 2, 1], np.int64)},
        1,
    ),
    "split": ([helper.make_node("Split", ["x"], ["y0", "y1", "y2"], axis=1, num_outputs=3)], {}, 3),
    "resize": (
        [
            helper.make_node(
                "Resize",
                ["x", "", "scales"],
                ["y0"],
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
                antialias=0,
                keep_aspect_ratio_policy="stretch",
            )
        ],
        {"scales": np.array([1, 2, 2], np.float32)},
        1,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_older_graph_is_valid_and_computes_the_same(case, rng):
    nodes, constants, outputs = CASES[case]
    rank = 2 if case == "mean" else 3
    newer = model_of(*nodes, constants=constants, outputs=outputs, rank=rank)
    older = opset_17_from_18(newer)
    onnx.checker.check_model(older, full_check=True)
    assert opset_of(older) == 17
    assert opset_of(newer) == 18, "the argument is not changed"
    x = rng.standard_normal((2, 6, 4)).astype(np.float32)
    for ours, theirs in zip(run(older, x), run(newer, x), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_axes_become_the_attribute_that_older_parsers_read():
    older = opset_17_from_18(model_of(*CASES["mean"][0], constants=AXES))
    (node,) = older.graph.node
    assert list(node.input) == ["x"]
    assert helper.get_node_attr_value(node, "axes") == [1]


@pytest.mark.parametrize(
    ("node", "constants", "message"),
    [
        (
            helper.make_node("Pad", ["x", "pads", "", "axes"], ["y0"]),
            {"pads": np.array([1, 1], np.int64), **AXES},
            "names its axes",
        ),
        (
            helper.make_node("ReduceMean", ["x", "axes"], ["y0"], noop_with_empty_axes=1),
            AXES,
            "noop_with_empty_axes 1; opset 17 has none",
        ),
        (helper.make_node("ReduceMean", ["x", "later"], ["y0"]), {}, "needs it constant"),
        (helper.make_node("Mish", ["x"], ["y0"]), {}, "Mish .* has no conversion to 17"),
    ],
)
def test_what_opset_17_cannot_say_is_refused(node, constants, message):
    with pytest.raises(ExportError, match=message):
        opset_17_from_18(model_of(node, constants=constants))


def test_another_opset_is_refused():
    model = model_of(helper.make_node("Relu", ["x"], ["y0"]), constants={})
    model.opset_import[0].version = 20
    with pytest.raises(ExportError, match="has opset 20; the converter takes 18"):
        opset_17_from_18(model)
