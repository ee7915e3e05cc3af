"""ONNX graphs of ConvNeXt blocks, in the form that engines are built from."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

__all__ = ["block_graph"]


def block_graph(channels, size, *, blocks=1, seed=0, dtype=np.float32, **changes):
    """Return a model of blocks in a row, (1, C, H, W) to the same; `changes` are to attributes."""
    rng = np.random.default_rng(seed)
    nodes, weights, x = [], [], "x"

    def weight(name, *shape, scale):
        values = rng.normal(0, scale, shape).astype(dtype)
        weights.append(numpy_helper.from_array(values, name))
        return name

    def node(kind, inputs, name, **attributes):
        nodes.append(helper.make_node(kind, inputs, [f"{name}.out"], name=name, **attributes))
        return f"{name}.out"

    for number in range(blocks):
        b = f"block{number}"
        wide = 4 * channels
        kernel = weight(f"{b}.k", channels, 1, 7, 7, scale=1 / 7)
        y = node(
            "Conv",
            [x, kernel, weight(f"{b}.kb", channels, scale=0.1)],
            f"{b}/dw",
            kernel_shape=[7, 7],
            pads=[3, 3, 3, 3],
            group=channels,
            dilations=[1, 1],
        )
        y = node("Transpose", [y], f"{b}/last", perm=[0, 2, 3, 1])
        scale = weight(f"{b}.s", channels, scale=1.0), weight(f"{b}.sb", channels, scale=0.1)
        norm = {"axis": -1, "epsilon": 1e-6, **changes}
        y = node("LayerNormalization", [y, *scale], f"{b}/norm", **norm)
        y = node("Transpose", [y], f"{b}/first", perm=[0, 3, 1, 2])
        first = weight(f"{b}.a", wide, channels, 1, 1, scale=channels**-0.5)
        y = node("Conv", [y, first, weight(f"{b}.ab", wide, scale=0.1)], f"{b}/inward")
        erf = node("Erf", [y], f"{b}/erf")
        y = node("Add", [node("Mul", [y, erf], f"{b}/mul"), y], f"{b}/gelu")
        second = weight(f"{b}.c", channels, wide, 1, 1, scale=wide**-0.5)
        y = node("Conv", [y, second, weight(f"{b}.cb", channels, scale=0.1)], f"{b}/outward")
        x = node("Add", [x, y], f"{b}/sum")
    nodes.append(helper.make_node("Identity", [x], ["y"], name="end"))
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    ends = [helper.make_tensor_value_info(n, kind, [1, channels, *size]) for n in ("x", "y")]
    graph = helper.make_graph(nodes, "blocks", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    assert TensorProto.FLOAT16 == 10
    return model
