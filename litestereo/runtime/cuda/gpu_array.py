"""Arrays that stay on the GPU: read from any library, readable by any library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from litestereo.errors import InputError
from litestereo.runtime.cuda.dlpack import (
    CUDA,
    capsule_from_memory,
    contiguous_strides,
    memory_from_capsule,
)

__all__ = ["ANY_GPU", "GpuArray", "gpu_array"]

ANY_GPU = -1
"""The index of a GPU that an array's owner does not tell: the CUDA array interface has none."""


@dataclass(frozen=True, slots=True, eq=False)
class GpuArray:
    """C-contiguous GPU memory as an array; torch, cupy, numba and JAX can read it in place.

    Attributes:
        address: of its first element.
        shape: its sizes.
        dtype: of its elements.
        device: (DLPack's device type, index or `ANY_GPU`); (2, 0) is the first GPU.
        owner: what keeps the memory alive.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    device: tuple[int, int] = (CUDA, 0)
    owner: object = None

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The CUDA array interface, version 3; the stream is the caller's business."""
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "stream": None,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return where it is."""
        return self.device

    def __dlpack__(self, *, stream: int | None = None, **_: object) -> object:
        """Return a DLPack capsule; work on `stream` is not waited for, as the caller chose it."""
        del stream
        return capsule_from_memory(
            self.address, shape=self.shape, dtype=self.dtype, device=self.device, owner=self
        )


def gpu_array(source: object, *, stream: int) -> GpuArray:
    """Return another library's GPU array without copying it.

    Args:
        source: a C-contiguous array with `__cuda_array_interface__` or `__dlpack__`.
        stream: handle of the stream that it will be used on, for `__dlpack__` to order.

    Raises:
        InputError: it is neither, is not contiguous, or is not on a GPU.
    """
    if isinstance(source, GpuArray):
        return source
    interface = getattr(source, "__cuda_array_interface__", None)
    if interface is not None:
        return _from_interface(interface, source)
    if hasattr(source, "__dlpack__") and hasattr(source, "__dlpack_device__"):
        kind = int(source.__dlpack_device__()[0])
        if kind != CUDA:
            raise InputError(
                f"the array is on DLPack device type {kind}, not on a CUDA GPU (2); "
                "move it there, or pass NumPy arrays to the engine itself"
            )
        # DLPack numbers the legacy default stream 1 and calls 0 ambiguous.
        capsule = source.__dlpack__(stream=stream or 1)
        address, shape, dtype, device, owner = memory_from_capsule(capsule)
        return GpuArray(address, shape, dtype, device, owner)
    raise InputError(
        f"a {type(source).__name__} is no GPU array; need one with __cuda_array_interface__ or "
        "__dlpack__ (torch, cupy, numba)"
    )


def _from_interface(interface: dict[str, Any], owner: object) -> GpuArray:
    """Return what a `__cuda_array_interface__` describes."""
    shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    steps = interface.get("strides")
    packed = tuple(dtype.itemsize * step for step in contiguous_strides(shape))
    if steps is not None and tuple(steps) != packed:
        raise InputError(
            f"the GPU array of shape {shape} has strides {tuple(steps)}; make it contiguous"
        )
    if interface.get("mask") is not None:
        raise InputError("the GPU array has a mask; pass a plain one")
    return GpuArray(int(interface["data"][0]), shape, dtype, (CUDA, ANY_GPU), owner)
