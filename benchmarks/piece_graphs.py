"""Write small networks, each one part of LAS1 in one form, eight times in a row.

    python benchmarks/piece_graphs.py -o build/pieces
    benchmarks/proof/proof.sh pieces build/pieces

An engine for all of LAS1 takes minutes to build; one of these takes a second, so that many ways to
say the same can be timed in one go. Shapes are those of 384x1248, in FP16, with any weights. A file
is called PART_FORM.onnx; forms of one part do the same work, or work that bounds it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from needs import leave_without

if __name__ == "__main__":
    leave_without("onnx", extra="export", opencv=False)

import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["TIMES", "pieces"]

TIMES = 8
_OPSET = 17
_SIZES = {48: (96, 312), 96: (48, 156), 192: (24, 78)}  # channels -> height and width at 384x1248


class _Graph:
    """Nodes in the order that they are computed, with random weights."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._values = np.random.default_rng(0).normal(0, 1, 997)  # again and again: packs well

    def constant(self, value: NDArray[np.generic] | float) -> str:
        array = np.asarray(value, np.float16) if np.isscalar(value) else np.asarray(value)
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def conv(self, x: str, into: int, out: int, kernel: tuple[int, ...], groups: int = 1) -> str:
        shape = (out, into // groups, *kernel)
        scale = 1.0 / np.sqrt(np.prod(shape[1:]))
        weight = np.resize(self._values * scale, shape).astype(np.float16)
        inputs = self.constant(weight), self.constant(np.zeros(out, np.float16))
        pads = [length // 2 for length in kernel]
        return self.node("Conv", x, *inputs, kernel_shape=kernel, group=groups, pads=pads + pads)

    def matmul(self, x: str, into: int, out: int) -> str:
        weight = np.resize(self._values * into**-0.5, (into, out)).astype(np.float16)
        product = self.node("MatMul", x, self.constant(weight))
        return self.node("Add", product, self.constant(np.zeros(out, np.float16)))

    def norm(self, x: str, channels: int) -> str:
        ones, zeros = np.ones(channels, np.float16), np.zeros(channels, np.float16)
        inputs = self.constant(ones), self.constant(zeros)
        return self.node("LayerNormalization", x, *inputs, axis=-1, epsilon=1e-6)

    def gelu(self, x: str) -> str:
        y = self.node("Erf", self.node("Div", x, self.constant(2**0.5)))
        y = self.node("Mul", x, self.node("Add", y, self.constant(1.0)))
        return self.node("Mul", y, self.constant(0.5))

    def folded_gelu(self, x: str) -> str:
        """What is left where the factors are in the weights before and behind it."""
        return self.node("Add", self.node("Mul", x, self.node("Erf", x)), x)

    def clip(self, x: str) -> str:
        return self.node("Clip", x, self.constant(0.0), self.constant(6.0))


Piece = Callable[[_Graph, str], str]


def pieces() -> Iterator[tuple[str, tuple[int, ...], Piece]]:
    """Yield name, shape of what goes in and comes out, and what one repetition adds to a graph."""
    for channels, size in _SIZES.items():
        yield from _depthwise(channels, (1, channels, *size))
    for channels in (192, 48):
        shape = (1, channels, *_SIZES[channels])
        yield from _norms(channels, shape)
        yield from _pixelwise(channels, shape)
        yield from _blocks(channels, shape)
    yield from _stems()
    yield from _strips(48, (1, 48, *_SIZES[48]))


def _depthwise(c: int, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...], Piece]]:
    """7x7 depthwise, and grouped ever more coarsely: the blocks of zeros are multiplied, too."""
    for width in (1, 8, 16, 32, c):
        name = "depthwise" if width == 1 else "dense" if width == c else f"groups-of-{width}"
        if c % width == 0:
            yield (
                f"dw{c}_{name}",
                shape,
                lambda g, x, groups=c // width: g.conv(x, c, c, (7, 7), groups),
            )
    yield f"dw{c}_3x3", shape, lambda g, x: g.conv(x, c, c, (3, 3), c)
    yield f"dw{c}_5x5", shape, lambda g, x: g.conv(x, c, c, (5, 5), c)


def _norms(c: int, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...], Piece]]:
    def last(g: _Graph, x: str) -> str:
        y = g.norm(g.node("Transpose", x, perm=[0, 2, 3, 1]), c)
        return g.conv(g.node("Transpose", y, perm=[0, 3, 1, 2]), c, c, (1, 1))

    def spelled(g: _Graph, x: str) -> str:
        d = g.node("Sub", x, g.node("ReduceMean", x, axes=[1]))
        square = g.node("ReduceMean", g.node("Mul", d, d), axes=[1])
        root = g.node("Sqrt", g.node("Add", square, g.constant(1e-3)))
        return g.conv(g.node("Div", d, root), c, c, (1, 1))

    def by_conv(g: _Graph, x: str) -> str:
        # Centred by weights before it, so that only a sum of squares is left, which a 1x1 makes.
        square = g.conv(g.node("Mul", x, x), c, 8, (1, 1))
        root = g.node("Sqrt", g.node("Abs", g.node("Slice", square, *_slice(g))))
        return g.conv(g.node("Div", x, g.node("Add", root, g.constant(1e-3))), c, c, (1, 1))

    yield f"norm{c}_transposed", shape, last
    yield f"norm{c}_spelled", shape, spelled
    yield f"norm{c}_by-conv", shape, by_conv
    yield f"norm{c}_none", shape, lambda g, x: g.conv(x, c, c, (1, 1))


def _slice(g: _Graph) -> tuple[str, str, str]:
    return tuple(g.constant(np.array([value])) for value in (0, 1, 1))  # first channel


def _pixelwise(c: int, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...], Piece]]:
    def with_(act: Callable[[_Graph, str], str]) -> Piece:
        return lambda g, x: g.node(
            "Add", x, g.conv(act(g, g.conv(x, c, 4 * c, (1, 1))), 4 * c, c, (1, 1))
        )

    def tanh(g: _Graph, x: str) -> str:
        cube = g.node("Mul", g.node("Mul", x, x), x)
        inner = g.node("Add", x, g.node("Mul", cube, g.constant(0.044715)))
        y = g.node("Tanh", g.node("Mul", inner, g.constant(0.7978845)))
        y = g.node("Mul", x, g.node("Add", y, g.constant(1.0)))
        return g.node("Mul", y, g.constant(0.5))

    yield f"mlp{c}_gelu", shape, with_(lambda g, x: g.gelu(x))
    yield f"mlp{c}_gelu-folded", shape, with_(lambda g, x: g.folded_gelu(x))
    yield f"mlp{c}_gelu-tanh", shape, with_(tanh)
    yield f"mlp{c}_swish", shape, with_(lambda g, x: g.node("Mul", x, g.node("Sigmoid", x)))
    yield f"mlp{c}_relu", shape, with_(lambda g, x: g.node("Relu", x))


def _blocks(c: int, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...], Piece]]:
    def block(*, products: bool, folded: bool) -> Piece:
        def add(g: _Graph, x: str) -> str:
            act = g.folded_gelu if folded else g.gelu
            y = g.norm(g.node("Transpose", g.conv(x, c, c, (7, 7), c), perm=[0, 2, 3, 1]), c)
            if products:
                y = g.matmul(act(g.matmul(y, c, 4 * c)), 4 * c, c)
                return g.node("Add", x, g.node("Transpose", y, perm=[0, 3, 1, 2]))
            y = g.conv(g.node("Transpose", y, perm=[0, 3, 1, 2]), c, 4 * c, (1, 1))
            return g.node("Add", x, g.conv(act(y), 4 * c, c, (1, 1)))

        return add

    yield f"block{c}_ours", shape, block(products=False, folded=True)
    yield f"block{c}_gelu", shape, block(products=False, folded=False)
    yield f"block{c}_products", shape, block(products=True, folded=True)
    yield f"block{c}_products-gelu", shape, block(products=True, folded=False)


def _stems() -> Iterator[tuple[str, tuple[int, ...], Piece]]:
    height, width = _SIZES[48]
    deep = (1, 4, 48, height, width)
    yield "stem_3d", deep, lambda g, x: g.clip(g.conv(x, 4, 4, (3, 3, 3)))
    flat = (1, 192, height, width)
    yield "stem_planes", flat, lambda g, x: g.clip(g.conv(x, 192, 192, (3, 3)))
    for levels in (4, 8, 16):
        # Blocks of so many levels, with one more on each side to read, as a batch. As many channels
        # come out as go in: a bound, and without gathering what a block reads.
        channels = 4 * (levels + 2)
        yield (
            f"stem_blocks-of-{levels}",
            (48 // levels, channels, height, width),
            lambda g, x, c=channels: g.clip(g.conv(x, c, c, (3, 3))),
        )


def _strips(c: int, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...], Piece]]:
    def ours(g: _Graph, x: str) -> str:
        y = x
        for n in (7, 11, 21):
            y = g.node("Add", y, g.conv(g.conv(x, c, c, (1, n), c), c, c, (n, 1), c))
        return y

    def merged(g: _Graph, x: str) -> str:
        return g.node("Add", x, g.conv(g.conv(x, c, 3 * c, (1, 21), c), 3 * c, c, (21, 1), c))

    yield f"strips{c}_ours", shape, ours
    yield f"strips{c}_merged", shape, merged


def model_of(shape: tuple[int, ...], piece: Piece) -> onnx.ModelProto:
    """Return the network of a piece, `TIMES` times in a row."""
    graph, x = _Graph(), "x"
    for _ in range(TIMES):
        x = piece(graph, x)
    graph.nodes.append(helper.make_node("Identity", [x], ["y"], name="out"))
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT16, shape) for n in "xy"]
    made = helper.make_graph(graph.nodes, "piece", ends[:1], ends[1:], graph.weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Write all pieces."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    for name, shape, piece in pieces():
        onnx.save(model_of(shape, piece), folder / f"{name}.onnx")
        print(folder / f"{name}.onnx")


if __name__ == "__main__":
    main()
