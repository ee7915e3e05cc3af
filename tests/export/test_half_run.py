"""The judge's fast operators against the definitions of ONNX's own reference evaluator."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from litestereo.errors import ExportError
from litestereo.export import half_run

CASES = {
    "conv": (
        helper.make_node(
            "Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1], strides=[2, 1], group=2
        ),
        {"w": (6, 2, 3, 3), "b": (6,)},
    ),
    "depthwise": (helper.make_node("Conv", ["x", "w"], ["y"], group=4), {"w": (4, 1, 3, 1)}),
    "transposed": (
        helper.make_node(
            "ConvTranspose",
            ["x", "w"],
            ["y"],
            pads=[1, 1, 1, 1],
            strides=[2, 2],
            output_padding=[1, 1],
        ),
        {"w": (4, 3, 3, 3)},
    ),
    "matmul": (helper.make_node("MatMul", ["x", "w"], ["y"]), {"w": (6, 5)}),
    "layer norm": (
        helper.make_node("LayerNormalization", ["x", "w", "b"], ["y"], axis=-1, epsilon=1e-6),
        {"w": (6,), "b": (6,)},
    ),
    "erf": (helper.make_node("Erf", ["x"], ["y"]), {}),
    "gather": (
        helper.make_node("GatherElements", ["x", "indices"], ["y"], axis=1),
        {"indices": np.arange(2 * 3 * 8 * 6).reshape(2, 3, 8, 6) % 4},
    ),
    "nearest": (
        helper.make_node(
            "Resize",
            ["x", "", "scales"],
            ["y"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        {"scales": np.array([1, 1, 4, 4], np.float32)},
    ),
    "linear": (
        helper.make_node(
            "Resize",
            ["x", "", "scales"],
            ["y"],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        ),
        {"scales": np.array([1, 1, 4, 4], np.float32)},
    ),
}


def one_node(case, rng, dtype):
    node, shapes = CASES[case]
    constants = {
        name: value if isinstance(value, np.ndarray) else rng.standard_normal(value).astype(dtype)
        for name, value in shapes.items()
    }
    kind = TensorProto.FLOAT if dtype == np.float32 else TensorProto.FLOAT16
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", kind, [2, 4, 8, 6])],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model, rng.standard_normal((2, 4, 8, 6)).astype(dtype)


def outputs(model, x, *, fast):
    evaluator = ReferenceEvaluator(model, new_ops=list(half_run._FAST) if fast else None)
    return evaluator.run(None, {"x": x})[0]


@pytest.mark.parametrize("case", CASES)
def test_in_float32_it_is_the_reference(case, rng):
    model, x = one_node(case, rng, np.float32)
    ours, theirs = (outputs(model, x, fast=fast) for fast in (True, False))
    assert ours.dtype == theirs.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_in_float16_it_is_the_exact_result_rounded_once(case, rng):
    model, x = one_node(case, rng, np.float16)
    ours = outputs(model, x, fast=True)
    assert ours.dtype == np.float16
    wide = type(model)()
    wide.CopyFrom(model)
    for tensor in wide.graph.initializer:
        array = numpy_helper.to_array(tensor)
        array = array.astype(np.float32) if array.dtype == np.float16 else array
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    exact = outputs(wide, x.astype(np.float32), fast=False)
    ulp = np.spacing(np.abs(exact).astype(np.float16)).astype(np.float32)
    assert (np.abs(ours.astype(np.float32) - exact) <= 0.51 * ulp + 1e-6).all()


def test_what_it_cannot_run_is_said(rng):
    model, x = one_node("linear", rng, np.float32)
    model.graph.node[0].attribute[1].s = b"align_corners"
    with pytest.raises(ExportError, match="align_corners"):
        outputs(model, x, fast=True)
    uneven = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 0, 0, 1])
    model, x = one_node("depthwise", rng, np.float32)
    uneven.attribute.append(helper.make_attribute("group", 4))
    model.graph.node[0].CopyFrom(uneven)
    with pytest.raises(ExportError, match="unequal padding"):
        outputs(model, x, fast=True)
