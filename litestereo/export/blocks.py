"""Which convolutions may be quantised, and the blocks that the sensitivity search takes them in."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto

from litestereo.export.graph import attribute_of

__all__ = ["FLOAT_PARTS", "Convolution", "Plan", "blocks_of", "plan_convolutions"]

FLOAT_PARTS = {
    "cost volume": "disparities come from small differences of its correlations",
    "last aggregation": "its result goes into the soft-argmax, where a step is a disparity",
    "upsampling": "its masks mix neighbouring disparities at full size",
    "recurrent tail": "each step adds to the disparity, and the next one starts from it",
    "refiner": "it weighs a pixel of disparity more or less by small differences of the pictures",
    "dynamic weights": "its weights are computed, not stored",
    "3-D": "three small layers of LAS1, with at most four channels",
    "pictures": "three channels in, and 8-bit levels must stay apart",
    "few channels": "under 16 channels, and not one side a multiple of 8 with a square kernel: "
    "8-bit kernels pad them",
    "narrow groups": "not a multiple of 4 channels a group, as in depthwise ones: TensorRT's 8-bit "
    "kernels do not take them, and they wait for memory, not for arithmetic",
    "range": "it reads or writes values that half cannot hold",
}
"""Why a convolution stays in floating point whatever its sensitivity is."""

# Parts of the networks, by the module path that torch gives their nodes.
_PARTS = (
    ("cost volume", re.compile(r"/cost_stem")),
    ("last aggregation", re.compile(r"/cost_agg[^/]*/(redir1|upconv2|conv6)/")),
    ("refiner", re.compile(r"/refiner/")),
    ("upsampling", re.compile(r"/(refine_\d|stem_2|spx[^/]*|update_block/mask[^/]*)/")),
    ("recurrent tail", re.compile(r"/(update_block|cnet|cam|sam)/")),
)
# NVIDIA ModelOpt's rule for INT8 convolutions, which its users' complaints shaped; it takes
# depthwise ones up to 5 wide, which TensorRT 8.6 refuses (NVIDIA/TensorRT issues 3040, 4060).
_WIDE_CHANNELS = 16
_CHANNEL_MULTIPLE = 8
_GROUP_MULTIPLE = 4  # TensorRT's, of INT8
_CONVOLUTIONS = ("Conv", "ConvTranspose")
_NUMBERED = re.compile(r".+\.\d+")


@dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution of an FP32 graph.

    Attributes:
        name: of its node.
        activation: the tensor that it reads.
        weight: name of its weights.
        weights_per_input: multiply-adds for each position of the input, stride included.
        transposed: whether it is a ConvTranspose.
        stride_area: of a transposed one, output positions for each input position: only so large a
            part of the kernel meets each output; 1 for others.
    """

    name: str
    activation: str
    weight: str
    weights_per_input: float
    transposed: bool
    stride_area: int

    @property
    def block(self) -> str:
        """The block of the network that it belongs to, from its module path."""
        parts = self.name.strip("/").split("/")[1:-1]  # without "model" and the operator
        for index, part in enumerate(parts):
            if part == "block":
                return "/".join(parts[:index])
            if _NUMBERED.fullmatch(part):
                return "/".join(_without_repeats(parts[: index + 1]))
        return "/".join(parts[:-1] if len(parts) > 2 else parts)

    def cost(self, shape: tuple[int, ...]) -> float:
        """Return the multiply-adds for an input of `shape` (N, C, H, W).

        Args:
            shape: (N, C, H, W) of what goes in.
        """
        return float(shape[0] * np.prod(shape[2:]) * self.weights_per_input)


@dataclass(frozen=True, slots=True)
class Plan:
    """What may be quantised in a graph.

    Attributes:
        candidates: convolutions that may, in the graph's order.
        kept: name of each other convolution -> its part in `FLOAT_PARTS`.
    """

    candidates: tuple[Convolution, ...]
    kept: Mapping[str, str]


def plan_convolutions(master: ModelProto, *, widened: Collection[str] = ()) -> Plan:
    """Return which convolutions of a simplified FP32 graph may be quantised, and why not others.

    Args:
        master: the simplified FP32 graph.
        widened: tensors that half cannot hold.
    """
    weights = {tensor.name: tensor for tensor in master.graph.initializer}
    candidates, kept = [], {}
    for node in master.graph.node:
        if node.op_type not in _CONVOLUTIONS:
            continue
        stored = weights.get(node.input[1])
        shape = None if stored is None else tuple(stored.dims)
        reason = _reason(node, shape, widened)
        if reason:
            kept[node.name] = reason
        elif shape is not None:
            candidates.append(_convolution(node, shape))
    return Plan(tuple(candidates), kept)


def blocks_of(convolutions: tuple[Convolution, ...]) -> dict[str, tuple[Convolution, ...]]:
    """Return the convolutions by block, in the graph's order.

    Args:
        convolutions: in the graph's order.
    """
    blocks: dict[str, list[Convolution]] = defaultdict(list)
    for convolution in convolutions:
        blocks[convolution.block].append(convolution)
    return {name: tuple(members) for name, members in blocks.items()}


def _reason(node: NodeProto, shape: tuple[int, ...] | None, widened: Collection[str]) -> str:
    """Return why a convolution stays in floating point, "" if it need not."""
    for part, pattern in _PARTS:
        if pattern.search(node.name):
            return part
    if shape is None:
        return "dynamic weights"
    if len(shape) != 4:
        return "3-D"
    group = attribute_of(node, "group", 1)
    channels_in, channels_out = _channels(node, shape, group)
    square = shape[2] == shape[3]
    if channels_in == 3:
        return "pictures"
    if group == 1:
        wide = min(channels_in, channels_out) >= _WIDE_CHANNELS
        multiple = channels_in % _CHANNEL_MULTIPLE == 0 or channels_out % _CHANNEL_MULTIPLE == 0
        enough = wide or (multiple and square)
    elif (channels_in // group) % _GROUP_MULTIPLE or (channels_out // group) % _GROUP_MULTIPLE:
        return "narrow groups"
    else:
        enough = channels_out % _CHANNEL_MULTIPLE == 0 and shape[2] >= 3
    if not enough:
        return "few channels"
    return "" if {*node.input, *node.output}.isdisjoint(widened) else "range"


def _channels(node: NodeProto, shape: tuple[int, ...], group: int) -> tuple[int, int]:
    if node.op_type == "ConvTranspose":
        return shape[0], shape[1] * group
    return shape[1] * group, shape[0]


def _convolution(node: NodeProto, shape: tuple[int, ...]) -> Convolution:
    area = int(np.prod(attribute_of(node, "strides", [1, 1])))
    transposed = node.op_type == "ConvTranspose"
    products = float(np.prod(shape)) / (1 if transposed else area)
    stride_area = area if transposed else 1
    return Convolution(node.name, node.input[0], node.input[1], products, transposed, stride_area)


def _without_repeats(parts: list[str]) -> list[str]:
    """Return a path without the parents that a numbered child names again: conv4/conv4.3."""
    return [
        part
        for part, child in zip(parts, [*parts[1:], ""], strict=True)
        if not child.startswith(f"{part}.")
    ]
