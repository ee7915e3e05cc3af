"""The two pixelwise layers with GELU between them that ConvNeXt and FasterNet blocks end with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from litestereo.runtime.tensorrt.plugin.pattern import Array, Op, Pattern

__all__ = ["pack_pixelwise", "two_layers"]


def two_layers(x: Pattern) -> Op:
    """Return both layers' result; their weights are `inward` and `outward`, each with a `_bias`.

    Args:
        x: what goes in.
    """
    hidden = _layer(x, "inward", name="hidden")
    # GELU whose factors are in the weights around it: see `with_folded_gelu`.
    gelu = Op("Add", (Op("Mul", (hidden, Op("Erf", (hidden,)))), hidden))
    return _layer(gelu, "outward")


def pack_pixelwise(
    first: NDArray[np.floating], second: NDArray[np.floating]
) -> NDArray[np.float16]:
    """Return the weights of both pixelwise layers in the order that the kernel's threads read them.

    16 hidden channels after 16: what the first layer takes to them, then what the second makes of
    them. Each part is 16 channels after 16, a thread of a warp after the other, 8 numbers a thread:
    its share of two operands of the tensor cores' 16x8x16 product. A thread's four channels stand
    together in memory there, so that it reads and writes pixels 8 bytes at a time.

    Args:
        first: (H, C), to the hidden channels; both multiples of 16.
        second: (C, H), back.
    """
    channels, hidden = second.shape
    groups, chunks = channels // 16, hidden // 16
    inward = first.reshape(chunks, 2, 8, groups, 4, 4).transpose(0, 3, 2, 4, 1, 5)
    outward = second.reshape(groups, 4, 2, 2, chunks, 2, 4, 2).transpose(4, 0, 1, 3, 6, 2, 5, 7)
    parts = [part.reshape(chunks, groups, 32, 8) for part in (inward, outward)]
    return np.stack(parts, 1).astype(np.float16).ravel()


def _layer(x: Pattern, layer: str, name: str = "") -> Op:
    """Return a 1x1 convolution."""
    weights = Array(shape=(None, None, 1, 1), name=layer)
    bias = Array(shape=(None,), name=f"{layer}_bias")
    how = {"pads": (0, 0, 0, 0), "strides": (1, 1), "group": (1,), "auto_pad": None}
    return Op("Conv", (x, weights, bias), how, name=name)
