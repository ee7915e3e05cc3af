"""Find the tensors that half precision cannot hold, by looking at their values on pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, numpy_helper

from litestereo.calibration.observe import watch_tensors
from litestereo.export.graph import constants_to_initializers, tensor_types
from litestereo.export.pairs import Pair

__all__ = ["TensorRange", "measure_ranges", "out_of_half_range"]

LARGEST = 30_000.0
"""Half ends at 65504; a factor of two is left for pairs that were not looked at."""

LARGEST_ROUNDING = 1e-3
"""Rounding to half costs a healthy tensor 2e-4 of its energy (root of the squares). Five times
as much means that most of its numbers lie below half's normal range, 6e-5."""


@dataclass(frozen=True, slots=True)
class TensorRange:
    """What half precision would do to one tensor.

    Attributes:
        largest: largest absolute value seen.
        rounding: root-mean-square error of rounding to half, relative to the tensor's own.
    """

    largest: float
    rounding: float

    @property
    def fits_half(self) -> bool:
        """Whether half precision can hold the tensor."""
        return self.largest <= LARGEST and self.rounding <= LARGEST_ROUNDING


def out_of_half_range(master: ModelProto, *, pairs: Sequence[Pair]) -> dict[str, TensorRange]:
    """Return the tensors of an FP32 graph, constants included, that half cannot hold.

    Args:
        master: FP32 graph.
        pairs: stereo pairs that the graph accepts.
    """
    ranges = measure_ranges(master, pairs=pairs)
    return {name: found for name, found in ranges.items() if not found.fits_half}


def measure_ranges(master: ModelProto, *, pairs: Sequence[Pair]) -> dict[str, TensorRange]:
    """Return the range of every float tensor of an FP32 graph, the worst over `pairs`.

    Args:
        master: the FP32 graph, which stays as it is.
        pairs: that are run through it.
    """
    model = ModelProto()
    model.CopyFrom(master)
    constants_to_initializers(model)
    types = tensor_types(model)
    ranges = {
        tensor.name: _range(numpy_helper.to_array(tensor))
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
    }
    computed = [
        name
        for node in model.graph.node
        for name in node.output
        if types.get(name) == TensorProto.FLOAT
    ]
    feeds = [{"left": pair.left, "right": pair.right} for pair in pairs]
    for name, values in watch_tensors(model, computed, feeds=lambda: feeds):
        ranges[name] = _worse(ranges.get(name), _range(values))
    return ranges


def _range(values: npt.NDArray[np.float32]) -> TensorRange:
    """Measure one tensor."""
    if values.size == 0:
        return TensorRange(0.0, 0.0)
    largest = float(np.abs(values).max())
    if not largest <= LARGEST:
        return TensorRange(largest, float("inf"))
    error = values - values.astype(np.float16).astype(np.float32)
    energy = float(np.linalg.norm(values.ravel()))
    return TensorRange(largest, float(np.linalg.norm(error.ravel())) / energy if energy else 0.0)


def _worse(one: TensorRange | None, other: TensorRange) -> TensorRange:
    """Return the worse of two ranges, figure by figure."""
    if one is None:
        return other
    return TensorRange(max(one.largest, other.largest), max(one.rounding, other.rounding))
