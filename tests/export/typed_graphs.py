"""Tiny FP32 graphs with the interface of an artefact, to test typing and ranges on."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def tiny_graph(*, gain: float = 1.0) -> onnx.ModelProto:
    """Return a graph: pictures, a convolution, times `gain`, a norm, a softmax, two outputs."""
    constants = {
        "scale": np.float32(1 / 255),
        "w": np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3, 1, 1),
        "gain": np.float32(gain),
        "one": np.ones(8, np.float32),
        "zero": np.zeros(8, np.float32),
        "v": np.linspace(1, -1, 64, dtype=np.float32).reshape(8, 8, 1, 1),
        "levels": np.arange(8, dtype=np.float32).reshape(1, 8, 1, 1),
        "batch": np.array([0], np.int64),
        "channel": np.array([1], np.int64),
    }
    nodes = []
    for side in ("left", "right"):
        nodes += [
            helper.make_node("Cast", [side], [f"{side}_f"], f"{side}/Cast", to=FLOAT),
            helper.make_node("Transpose", [f"{side}_f"], [f"{side}_t"], perm=[2, 0, 1]),
            helper.make_node("Unsqueeze", [f"{side}_t", "batch"], [f"{side}_u"]),
        ]
    nodes += [
        helper.make_node("Add", ["left_u", "right_u"], ["both"]),
        helper.make_node("Mul", ["both", "scale"], ["picture"], "scale_picture"),
        helper.make_node("Conv", ["picture", "w"], ["features"], "conv"),
        helper.make_node("Mul", ["features", "gain"], ["loud"], "amplify"),
        helper.make_node("Relu", ["loud"], ["relu"], "relu"),
        helper.make_node("InstanceNormalization", ["relu", "one", "zero"], ["normed"], "norm"),
        helper.make_node("Conv", ["normed", "v"], ["cost"], "conv2"),
        helper.make_node("Softmax", ["cost"], ["p"], "softmax", axis=1),
        helper.make_node("Mul", ["p", "levels"], ["pk"], "times_levels"),
        helper.make_node("ReduceSum", ["pk", "channel"], ["d"], "expectation", keepdims=0),
        helper.make_node("Squeeze", ["d", "batch"], ["disparity"], "out0"),
        helper.make_node("ReduceMax", ["p"], ["c"], "peak", axes=[1], keepdims=0),
        helper.make_node("Squeeze", ["c", "batch"], ["confidence"], "out1"),
    ]
    size = ["height", "width"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(n, TensorProto.UINT8, [*size, 3])
            for n in ("left", "right")
        ],
        [helper.make_tensor_value_info(n, FLOAT, size) for n in ("disparity", "confidence")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
