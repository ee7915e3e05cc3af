"""Run a typed graph on the CPU with every tensor in the type that the graph gives it.

ONNX Runtime's CPU backend cannot judge a half-precision graph: it has no half kernels, computes in
FP32 between casts that it then removes, and so reports differences a few hundred times too small.
torch in half would judge another graph than the one that is written. ONNX's reference evaluator
runs this very graph with float16 arrays, but takes minutes over its convolutions; so the heavy
operators below replace its own: they take half tensors, accumulate in FP32 as tensor cores do, and
round each result to half.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from torch import Tensor
from torch.nn import functional as F

from litestereo.errors import ExportError
from litestereo.export.pairs import Pair

__all__ = ["half_outputs"]

_Array = npt.NDArray[Any]


def half_outputs(
    graph: ModelProto, pair: Pair
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Run a typed graph on a pair; gives disparity in pixels and confidence, both (H, W).

    Args:
        graph: with inputs `left` and `right`.
        pair: pictures of a size that the graph takes.
    """
    evaluator = ReferenceEvaluator(graph, new_ops=list(_FAST))
    # Numbers that leave half's range become infinite here as they do on a GPU, without a warning
    # from NumPy; the gate sees them in the result.
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        outputs: Any = evaluator.run(None, {"left": pair.left, "right": pair.right})
    return outputs[0], outputs[1]


def _wide(array: _Array) -> Tensor:
    """Return an array as an FP32 tensor; half numbers keep their exact value."""
    return torch.from_numpy(np.array(array, np.float32))


def _wide_or_none(array: _Array | None) -> Tensor | None:
    """Return an operand that may be left out."""
    return None if array is None else _wide(array)


def _rounded(tensor: Tensor, like: _Array) -> tuple[_Array]:
    """Return a result in the type of an operand."""
    return (tensor.numpy().astype(like.dtype, copy=False),)


def _symmetric(pads: list[int] | None, *, rank: int) -> list[int]:
    """Return padding per axis, equal at both ends."""
    pads = pads or [0] * (2 * rank)
    if pads[:rank] != pads[rank:]:
        raise ExportError(
            f"a convolution has unequal padding {pads}, which this judge cannot run: try another "
            "--exporter"
        )
    return list(pads[:rank])


class Conv(OpRun):
    """Convolution of any rank: half products, FP32 sums."""

    _transposed = False

    def _run(
        self,
        x: _Array,
        w: _Array,
        b: _Array | None = None,
        *,
        auto_pad: str | None = None,
        dilations: list[int] | None = None,
        group: int | None = None,
        kernel_shape: list[int] | None = None,
        output_padding: list[int] | None = None,  # this and the next of ConvTranspose alone
        output_shape: list[int] | None = None,
        pads: list[int] | None = None,
        strides: list[int] | None = None,
    ) -> tuple[_Array]:
        rank = x.ndim - 2
        result = torch.convolution(
            _wide(x),
            _wide(w),
            _wide_or_none(b),
            strides or [1] * rank,
            _symmetric(pads, rank=rank),
            dilations or [1] * rank,
            self._transposed,
            output_padding or [0] * rank,
            group or 1,
        )
        return _rounded(result, x)


class ConvTranspose(Conv):
    """Transposed convolution: half products, FP32 sums."""

    _transposed = True


class MatMul(OpRun):
    """Matrix product: half products, FP32 sums."""

    def _run(self, a: _Array, b: _Array) -> tuple[_Array]:
        return _rounded(torch.matmul(_wide(a), _wide(b)), a)


class LayerNormalization(OpRun):
    """Layer normalisation with FP32 statistics, as stash_type 1 asks; the evaluator's are half."""

    def _run(
        self,
        x: _Array,
        scale: _Array,
        b: _Array | None = None,
        *,
        axis: int | None = None,
        epsilon: float | None = None,
        stash_type: int | None = None,
    ) -> tuple[_Array]:
        shape = x.shape[-1 if axis is None else axis :]
        eps = 1e-5 if epsilon is None else epsilon
        return _rounded(F.layer_norm(_wide(x), shape, _wide(scale), _wide_or_none(b), eps), x)


class Erf(OpRun):
    """Error function; the evaluator's own calls Python once per number."""

    def _run(self, x: _Array) -> tuple[_Array]:
        return _rounded(torch.erf(_wide(x)), x)


class GatherElements(OpRun):
    """Gathering along one axis; the evaluator's own takes at most 64 levels."""

    def _run(self, x: _Array, indices: _Array, *, axis: int | None = None) -> tuple[_Array]:
        return (np.take_along_axis(x, indices, axis or 0),)


class Resize(OpRun):
    """Enlargement by whole factors; the evaluator's own visits every pixel in Python."""

    def _run(
        self,
        x: _Array,
        roi: _Array | None = None,
        scales: _Array | None = None,
        sizes: _Array | None = None,
        **attributes: Any,  # noqa: ANN401 - a dozen of them, most without effect here
    ) -> tuple[_Array]:
        target = x.shape * scales if scales is not None else sizes
        size = [round(float(side)) for side in target] if target is not None else []
        kind = (attributes["mode"], attributes["coordinate_transformation_mode"])
        if kind not in _RESIZES:
            raise ExportError(
                f"Resize with {kind} is not one that this judge can run: {_RESIZES}; try another "
                "--exporter"
            )
        return _rounded(F.interpolate(_wide(x), size=size[2:], mode=_RESIZES[kind]), x)


_RESIZES = {
    ("nearest", "asymmetric"): "nearest",
    ("linear", "half_pixel"): "bilinear",
    ("linear", "pytorch_half_pixel"): "bilinear",
}
_FAST = (Conv, ConvTranspose, MatMul, LayerNormalization, Erf, GatherElements, Resize)
