"""CUDA memory, streams and graphs through pycuda or cuda-bindings, without either at import."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Literal, cast, get_args

from litestereo.errors import InputError, MissingDependencyError
from litestereo.runtime.cuda.api import Device
from litestereo.runtime.cuda.driver import Driver

__all__ = [
    "Binding",
    "choose_binding",
    "is_installed",
    "open_device",
]

Binding = Literal["auto", "pycuda", "cuda-bindings"]
"""The package that GPU memory goes through; "auto" takes pycuda, or cuda-bindings without it."""

# Module that must be importable, and ours that wraps it; tried in this order.
_BINDINGS = {
    "pycuda": ("pycuda", "litestereo.runtime.cuda.pycuda_device"),
    "cuda-bindings": ("cuda.bindings", "litestereo.runtime.cuda.bindings_device"),
}


def open_device(index: int = 0, *, binding: Binding = "auto") -> Device:
    """Return a GPU with its primary context retained; close it when its last buffer is freed.

    Args:
        index: which GPU, as the CUDA driver counts them.
        binding: the package to go through; "auto" takes pycuda, or cuda-bindings without it.

    Raises:
        EngineError: no driver, no GPU, or no GPU of that index.
        MissingDependencyError: the package, or for "auto" both, are not installed.
    """
    driver = Driver.open()
    info = driver.device_info(index)
    _, module = _BINDINGS[choose_binding(binding)]
    return cast(Device, import_module(module).open_device(info, driver))


def choose_binding(binding: Binding = "auto") -> str:
    """Return which package "auto" stands for, or the named one if it is installed.

    Args:
        binding: "auto" takes the first one that is installed.

    Raises:
        InputError: no binding has that name.
        MissingDependencyError: it is not installed.
    """
    if binding not in get_args(Binding):
        raise InputError(
            f"binding is {binding!r}; it must be one of {', '.join(get_args(Binding))}"
        )
    wanted = tuple(_BINDINGS) if binding == "auto" else (binding,)
    for name in wanted:
        if is_installed(_BINDINGS[name][0]):
            return name
    raise MissingDependencyError(
        " or ".join(wanted), purpose="the TensorRT backend (GPU memory)", extra="tensorrt"
    )


def is_installed(module: str) -> bool:
    """Say whether a module can be found, without running it.

    Args:
        module: its full name.
    """
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False
