"""ONNX graphs of what plugins compute, in the form that engines are built from."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

__all__ = ["convnext_graph", "fasternet_graph", "head_graph"]


class _Blocks:
    """Nodes and random weights of blocks in a row."""

    def __init__(self, seed, dtype):
        self._rng, self._dtype = np.random.default_rng(seed), dtype
        self.nodes, self.weights = [], []

    def constant(self, name, values):
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def weight(self, name, *shape, scale):
        return self.constant(name, self._rng.normal(0, scale, shape).astype(self._dtype))

    def node(self, kind, inputs, name, outputs=1, **attributes):
        made = [f"{name}.out{n or ''}" for n in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, made, name=name, **attributes))
        return made[0] if outputs == 1 else made

    def two_layers(self, x, b, channels, wide):
        """Add both pixelwise layers, as `with_folded_gelu` leaves them."""
        first = self.weight(f"{b}.a", wide, channels, 1, 1, scale=channels**-0.5)
        bias = self.weight(f"{b}.ab", wide, scale=0.1)
        y = self.node("Conv", [x, first, bias], f"{b}/inward")
        erf = self.node("Erf", [y], f"{b}/erf")
        y = self.node("Add", [self.node("Mul", [y, erf], f"{b}/mul"), y], f"{b}/gelu")
        second = self.weight(f"{b}.c", channels, wide, 1, 1, scale=wide**-0.5)
        bias = self.weight(f"{b}.cb", channels, scale=0.1)
        return self.node("Conv", [y, second, bias], f"{b}/outward")

    def model(self, x, channels, size):
        self.nodes.append(helper.make_node("Identity", [x], ["y"], name="end"))
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self._dtype))
        ends = [helper.make_tensor_value_info(n, kind, [1, channels, *size]) for n in ("x", "y")]
        graph = helper.make_graph(self.nodes, "blocks", ends[:1], ends[1:], self.weights)
        opset = helper.make_opsetid("", 17)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
        checker.check_model(model)
        return model


def convnext_graph(channels, size, *, blocks=1, seed=0, dtype=np.float32, **changes):
    """Return a model of blocks in a row, (1, C, H, W) to the same; `changes` are to attributes."""
    made, x = _Blocks(seed, dtype), "x"
    for number in range(blocks):
        b = f"block{number}"
        kernel = made.weight(f"{b}.k", channels, 1, 7, 7, scale=1 / 7)
        y = made.node(
            "Conv",
            [x, kernel, made.weight(f"{b}.kb", channels, scale=0.1)],
            f"{b}/dw",
            **{
                "kernel_shape": [7, 7],
                "pads": [3, 3, 3, 3],
                "group": channels,
                "dilations": [1, 1],
                **{name: changes[name] for name in ("pads", "dilations") if name in changes},
            },
        )
        y = made.node("Transpose", [y], f"{b}/last", perm=[0, 2, 3, 1])
        scale = (
            made.weight(f"{b}.s", channels, scale=1.0),
            made.weight(f"{b}.sb", channels, scale=0.1),
        )
        norm = {"axis": -1, "epsilon": 1e-6}
        norm |= {name: changes[name] for name in norm.keys() & changes}
        y = made.node("LayerNormalization", [y, *scale], f"{b}/norm", **norm)
        y = made.node("Transpose", [y], f"{b}/first", perm=[0, 3, 1, 2])
        y = made.two_layers(y, b, channels, 4 * channels)
        x = made.node("Add", [x, y], f"{b}/sum")
    return made.model(x, channels, size)


def fasternet_graph(
    channels, size, *, expansion, blocks=1, seed=0, dtype=np.float32, mixed=None, **changes
):
    """Return a model of blocks in a row, (1, C, H, W) to the same; `changes` are to the 3x3.

    `mixed` channels, a quarter of all unless given, go through the 3x3; "swap" in `changes` takes
    it behind the others.
    """
    made, x = _Blocks(seed, dtype), "x"
    mixed, swap = mixed or channels // 4, changes.pop("swap", False)
    shares = made.constant("shares", np.array([mixed, channels - mixed]))
    for number in range(blocks):
        b = f"block{number}"
        first, kept = made.node("Split", [x, shares], f"{b}/split", outputs=2, axis=1)
        kernel = made.weight(f"{b}.k", mixed, mixed, 3, 3, scale=(9 * mixed) ** -0.5)
        how = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], **changes}
        y = made.node("Conv", [first, kernel], f"{b}/mix", **how)
        y = made.node("Concat", [kept, y] if swap else [y, kept], f"{b}/all", axis=1)
        y = made.two_layers(y, b, channels, expansion * channels)
        x = made.node("Add", [x, y], f"{b}/sum")
    return made.model(x, channels, size)


def head_graph(size, *, seed=0):
    """Return a model from scores at a quarter and features at half of a size to both answers."""
    rng = np.random.default_rng(seed)
    height, width = size
    nodes = []
    constants = {
        "kernel": rng.normal(0, 0.3, (16, 9, 4, 4)).astype(np.float16).astype(np.float32),
        "levels": np.arange(48, dtype=np.float32).reshape(1, 48, 1, 1),
        "four": np.float32(4.0),
        "one": np.float32(1.0),
        "least": np.float32(1e-6),
        "channels": np.array([1]),
        "around": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "scales": np.array([1, 1, 4, 4], np.float32),
        "axes": np.array([2, 3]),
        "steps": np.array([1, 1]),
    }

    def node(kind, *inputs, out=None, **attributes):
        out = out or f"{kind}{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [out], name=out, **attributes))
        return out

    share = node("Softmax", "cost", axis=1)
    mean = node("ReduceSum", node("Mul", share, "levels"), "channels", keepdims=1)
    padded = node("Pad", node("Mul", mean, "four"), "around", "", mode="constant")
    slices = []
    for y in range(3):
        for x in range(3):
            name = f"slice{y}{x}"
            constants[f"{name}.from"] = np.array([y, x])
            constants[f"{name}.to"] = np.array([y + height // 4, x + width // 4])
            slices.append(node("Slice", padded, f"{name}.from", f"{name}.to", "axes", "steps"))
    nearest = {"mode": "nearest", "nearest_mode": "floor"}
    near = node(
        "Resize",
        node("Concat", *slices, axis=1),
        "",
        "scales",
        coordinate_transformation_mode="asymmetric",
        **nearest,
    )
    scores = node("ConvTranspose", "features", "kernel", strides=[2, 2], pads=[1, 1, 1, 1])
    weighted = node("Mul", node("Softmax", scores, axis=1), near)
    full = node("ReduceSum", weighted, "channels", keepdims=1)
    off = node("Sub", "levels", mean)
    squares = node("Mul", node("Mul", share, off), off)
    variance = node("Clip", node("ReduceSum", squares, "channels", keepdims=1), "least")
    sure = node("Reciprocal", node("Add", node("Sqrt", variance), "one"))
    linear = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    sure = node("Resize", sure, "", "scales", **linear)
    node("Flatten", full, out="disparity", axis=3)
    node("Flatten", sure, out="confidence", axis=3)
    kind = TensorProto.FLOAT
    ends = {
        "cost": [1, 48, height // 4, width // 4],
        "features": [1, 16, height // 2, width // 2],
        "disparity": [height, width],
        "confidence": [height, width],
    }
    values = [helper.make_tensor_value_info(name, kind, shape) for name, shape in ends.items()]
    weights = [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()]
    graph = helper.make_graph(nodes, "head", values[:2], values[2:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model
