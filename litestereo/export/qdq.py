"""Write Q/DQ around convolutions: explicit INT8 as TensorRT 8.6, 10 and 11 read it.

Each quantised convolution reads its activation through QuantizeLinear and DequantizeLinear with one
FP32 step, and its weights, stored in 8 bits, through DequantizeLinear with a step for each output
channel. Zero points are 0; what a convolution writes is not quantised.

onnxruntime.quantization would place the same nodes (a test holds the two against each other), but
takes no range of ours, no steps that float16 can hold, and no switches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from litestereo.calibration.ranges import LEVELS, ActivationStatistics, RangeMethod, step_of
from litestereo.export.blocks import Convolution

__all__ = ["QuantizeOptions", "quantized", "switch_of", "switched"]

_Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class QuantizeOptions:
    """How convolutions are quantised.

    Attributes:
        ranges: how an activation's range follows from what was seen.
        correct_bias: take the mean error that rounded weights make out of each bias.
    """

    ranges: RangeMethod = "mse"
    correct_bias: bool = True


def quantized(
    master: ModelProto,
    convolutions: Iterable[Convolution],
    *,
    statistics: Mapping[str, ActivationStatistics],
    options: QuantizeOptions,
) -> ModelProto:
    """Return a copy of an FP32 graph in which `convolutions` compute in 8 bits.

    Args:
        master: simplified FP32 graph of opset 17, weights as initializers.
        convolutions: which.
        statistics: of their activations.
        options: how.
    """
    writer = _Writer(master, statistics, options)
    return writer.write({convolution.name: (convolution, "") for convolution in convolutions})


def switched(
    master: ModelProto,
    blocks: Mapping[str, Collection[Convolution]],
    *,
    statistics: Mapping[str, ActivationStatistics],
    options: QuantizeOptions,
) -> ModelProto:
    """Return a graph that quantises each block where its boolean input (`switch_of`) is true.

    It computes what `quantized` would for the blocks that are on, and is for measuring only: one
    session scores every set of blocks.

    Args:
        master: the simplified FP32 graph.
        blocks: their convolutions, by name.
        statistics: of activations, by tensor.
        options: how ranges are chosen.
    """
    writer = _Writer(master, statistics, options)
    model = writer.write(
        {
            member.name: (member, switch_of(name))
            for name, members in blocks.items()
            for member in members
        }
    )
    model.graph.input.extend(
        helper.make_tensor_value_info(switch_of(name), TensorProto.BOOL, []) for name in blocks
    )
    return model


def switch_of(block: str) -> str:
    """Return the name of the input that switches a block to 8 bits.

    Args:
        block: its name.
    """
    return f"quantize::{block}"


@dataclass(slots=True)
class _Writer:
    """Rewrites a graph node by node; tensors that several convolutions read are quantised once."""

    master: ModelProto
    statistics: Mapping[str, ActivationStatistics]
    options: QuantizeOptions
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, TensorProto] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)

    def write(self, wanted: Mapping[str, tuple[Convolution, str]]) -> ModelProto:
        """Return the graph; a name is that of a switch, or "" for none."""
        model = ModelProto()
        model.CopyFrom(self.master)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.name in wanted:
                convolution, switch = wanted[node.name]
                self._quantize(node, convolution, switch)
            self.nodes.append(node)
        used = {name for node in self.nodes for name in node.input}
        nodes = list(self.nodes)
        del model.graph.node[:], model.graph.initializer[:]
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(t for t in self.constants.values() if t.name in used)
        return model

    def _quantize(self, node: NodeProto, convolution: Convolution, switch: str) -> None:
        weights = numpy_helper.to_array(self.constants[convolution.weight])
        axis = 1 if convolution.transposed else 0
        statistics = self.statistics[convolution.activation]
        codes, steps = _codes(weights, axis)
        node.input[0] = self._switched(
            convolution.activation, self._activation(convolution.activation, statistics), switch
        )
        node.input[1] = self._switched(
            convolution.weight, self._weights(convolution.weight, codes, steps, axis), switch
        )
        if self.options.correct_bias:
            correction = _bias_error(weights, codes, steps, axis, statistics)
            correction = correction / np.float32(convolution.stride_area)
            self._correct_bias(node, correction, switch)

    def _activation(self, name: str, statistics: ActivationStatistics) -> str:
        """Return the name of an activation that went through 8 bits."""
        made = f"{name}::dequantized"
        if made not in self.made:
            self.made.add(made)
            step = self._constant(
                f"{name}::step", step_of(statistics.threshold(self.options.ranges))
            )
            zero = self._constant(f"{name}::zero", np.zeros((), np.int8))
            self.nodes += [
                helper.make_node(
                    "QuantizeLinear", [name, step, zero], [f"{name}::int8"], f"{name}/Quantize"
                ),
                helper.make_node(
                    "DequantizeLinear", [f"{name}::int8", step, zero], [made], f"{name}/Dequantize"
                ),
            ]
        return made

    def _weights(self, name: str, codes: npt.NDArray[np.int8], steps: _Array, axis: int) -> str:
        """Return the name of weights that are stored in 8 bits."""
        made = f"{name}::dequantized"
        if made not in self.made:
            self.made.add(made)
            inputs = [
                self._constant(f"{name}::int8", codes),
                self._constant(f"{name}::steps", steps),
                self._constant(f"{name}::zeros", np.zeros(len(steps), np.int8)),
            ]
            self.nodes.append(
                helper.make_node(
                    "DequantizeLinear", inputs, [made], f"{name}/Dequantize", axis=axis
                )
            )
        return made

    def _correct_bias(self, node: NodeProto, correction: _Array, switch: str) -> None:
        """Add a correction to a convolution's bias, or give it one."""
        plain = node.input[2] if len(node.input) > 2 else ""
        zeros = np.zeros_like(correction)
        bias = numpy_helper.to_array(self.constants[plain]) if plain else zeros
        corrected = self._constant(f"{node.name}::bias", (bias + correction).astype(np.float32))
        if switch and not plain:
            plain = self._constant(f"{node.name}::no_bias", zeros)
        node.input[2:] = [self._switched(plain, corrected, switch)]

    def _switched(self, plain: str, changed: str, switch: str) -> str:
        """Return the name of what a switch chooses; without one, of what is changed."""
        if not switch:
            return changed
        made = f"{changed}::{switch}"
        if made not in self.made:
            self.made.add(made)
            self.nodes.append(
                helper.make_node("Where", [switch, changed, plain], [made], f"{made}/Where")
            )
        return made

    def _constant(self, name: str, values: npt.NDArray[np.generic]) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(values), name)
        return name


def _codes(weights: _Array, axis: int) -> tuple[npt.NDArray[np.int8], _Array]:
    """Return the 8-bit codes and the step of each output channel."""
    others = tuple(index for index in range(weights.ndim) if index != axis)
    steps = step_of(np.abs(weights).max(axis=others))
    codes = np.rint(weights / _along(steps, axis, weights.ndim))
    return np.clip(codes, -LEVELS, LEVELS).astype(np.int8), steps


def _bias_error(
    weights: _Array,
    codes: npt.NDArray[np.int8],
    steps: _Array,
    axis: int,
    statistics: ActivationStatistics,
) -> _Array:
    """Return what rounded weights take from the mean of each output channel.

    By the mean of each input channel over the calibration pairs; borders are treated as interior.
    """
    lost = weights - codes * _along(steps, axis, weights.ndim)
    if axis == 1:
        lost = np.swapaxes(lost, 0, 1)
    per_input = lost.sum(axis=tuple(range(2, lost.ndim)))
    means = statistics.channel_means
    groups = len(means) // per_input.shape[1]
    by_group = means.reshape(groups, per_input.shape[1])
    error = np.einsum("goi,gi->go", per_input.reshape(groups, -1, per_input.shape[1]), by_group)
    return np.asarray(error.ravel(), np.float32)


def _along(steps: _Array, axis: int, rank: int) -> _Array:
    shape = [1] * rank
    shape[axis] = len(steps)
    return steps.reshape(shape)
