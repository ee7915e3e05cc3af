"""DLPack without a framework: read another library's GPU tensor, and hand one out.

The structures are those of dlpack.h, version 0.8 (the unversioned capsule, which every library
reads): https://dmlc.github.io/dlpack/latest/c_api.html
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from litestereo.errors import InputError

__all__ = ["CPU", "CUDA", "capsule_from_memory", "contiguous_strides", "memory_from_capsule"]

CPU = 1
CUDA = 2

_NAME = b"dltensor"
_USED = b"used_dltensor"
# DLDataTypeCode -> NumPy's kind.
_KINDS = {0: "i", 1: "u", 2: "f"}


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))


_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype, _get_pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)
_set_name = ctypes.pythonapi.PyCapsule_SetName
_set_name.restype, _set_name.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)
_new = ctypes.pythonapi.PyCapsule_New
_new.restype = ctypes.py_object
_new.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)

# What is handed out lives until its consumer calls the deleter: address -> what it needs.
_handed_out: dict[int, tuple[Any, ...]] = {}


class _Borrowed:
    """Another library's tensor; tells that library when the last reference is gone."""

    def __init__(self, managed: Any) -> None:  # noqa: ANN401 - a ctypes pointer
        self._managed = managed

    def __del__(self) -> None:
        if self._managed.contents.deleter:
            self._managed.contents.deleter(ctypes.addressof(self._managed.contents))


def memory_from_capsule(
    capsule: object,
) -> tuple[int, tuple[int, ...], np.dtype[Any], tuple[int, int], object]:
    """Take a DLPack capsule over.

    Args:
        capsule: named "dltensor", not consumed yet.

    Returns:
        address, shape, dtype, (device type, device index), and an object that keeps it alive.

    Raises:
        InputError: it was used before, its type is no plain number, or it is not C-contiguous.
    """
    if not _is_valid(capsule, _NAME):
        raise InputError("the DLPack capsule was consumed before, or is not one; make a new one")
    managed = ctypes.cast(_get_pointer(capsule, _NAME), ctypes.POINTER(_Managed))
    tensor: Any = managed.contents.tensor
    if tensor.code not in _KINDS or tensor.lanes != 1:
        raise InputError(
            f"the DLPack tensor's type has code {tensor.code} and {tensor.lanes} lanes; need plain "
            "integers or floats: convert it"
        )
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    if tensor.strides:
        strides = tuple(tensor.strides[axis] for axis in range(tensor.ndim))
        if strides != contiguous_strides(shape):
            raise InputError(
                f"the DLPack tensor of shape {shape} has strides {strides}; make it contiguous"
            )
    _set_name(capsule, _USED)
    dtype = np.dtype(f"{_KINDS[tensor.code]}{tensor.bits // 8}")
    device = (int(tensor.device_type), int(tensor.device_id))
    return int(tensor.data or 0) + tensor.byte_offset, shape, dtype, device, _Borrowed(managed)


def capsule_from_memory(
    address: int,
    *,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    device: tuple[int, int],
    owner: object,
) -> object:
    """Return a DLPack capsule of C-contiguous memory, which `owner` keeps alive.

    A capsule that nobody consumes keeps `owner` alive to the end of the process.

    Args:
        address: of the first number.
        shape: of the array.
        dtype: of its numbers.
        device: DLPack's device type and index.
        owner: keeps the memory alive.
    """
    code = {kind: code for code, kind in _KINDS.items()}[dtype.kind]
    sizes = (ctypes.c_int64 * len(shape))(*shape)
    steps = (ctypes.c_int64 * len(shape))(*contiguous_strides(shape))
    tensor = _Tensor(address, *device, len(shape), code, 8 * dtype.itemsize, 1, sizes, steps, 0)
    managed = _Managed(tensor, None, _forget)
    where = ctypes.addressof(managed)
    _handed_out[where] = (managed, sizes, steps, owner)
    capsule: object = _new(where, _NAME, None)
    return capsule


# Called by a consumer that has finished.
_forget = _Deleter(lambda where: _handed_out.pop(where, None) and None)


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides, in elements, of a C-contiguous array.

    Args:
        shape: of the array.
    """
    steps = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        steps[axis] = steps[axis + 1] * shape[axis + 1]
    return tuple(steps)
