"""Compile the plugin for this TensorRT and GPU, and load it into TensorRT's registry."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from litestereo.errors import EngineError, MissingDependencyError
from litestereo.runtime.tensorrt.library import version_of

__all__ = [
    "CONVNEXT",
    "FASTERNET",
    "HEAD",
    "NAMES",
    "SOURCES",
    "VERSION",
    "compile_library",
    "digest",
    "installed",
    "library_path",
    "load_library",
    "require_plugins",
]

SOURCES = (
    "plugin.cu",
    "convnext_block.cuh",
    "disparity_head.cuh",
    "fasternet_block.cuh",
    "pixelwise.cuh",
    "tensor_cores.cuh",
)
"""What it is compiled from; beside this module."""

CONVNEXT, FASTERNET, HEAD = NAMES = (
    "LitestereoConvNeXtBlock",
    "LitestereoFasterNetBlock",
    "LitestereoDisparityHead",
)
"""Of the plugins, in TensorRT's registry."""

VERSION = "1"
"""Of all of them."""

_FLAGS = (
    *("-std=c++17", "-O3", "-shared", "-Xcompiler=-fPIC,-fvisibility=hidden"),
    "-diag-suppress=128,997",  # the last loop of a kernel with SPLIT > 1; TensorRT's own overloads
)
_NVCC_FOLDERS = ("/usr/local/cuda/bin",)  # where JetPack puts it, and leaves it out of the PATH
_TIMEOUT_S = 600
_FIRST_WITHOUT = 11
_ANEW = "compile them anew with python -m litestereo.runtime.tensorrt.plugin"
# Of each TensorRT the library whose plugins it has: digest and path.
_loaded: WeakKeyDictionary[Any, tuple[str, Path]] = WeakKeyDictionary()


def library_path(folder: Path, *, tensorrt: str, sm: str) -> Path:
    """Return where the plugin for a TensorRT and a GPU lies, compiled or not.

    Args:
        folder: of the engine cache.
        tensorrt: its version.
        sm: the GPU's, such as "sm_87".
    """
    sources = hashlib.sha256()
    for name in SOURCES:
        sources.update((Path(__file__).parent / name).read_bytes())
    return folder / f"plugin_{sources.hexdigest()[:12]}_{tensorrt}_{sm}.so"


def installed(trt: Any, folder: Path, sm: str) -> Path | None:  # noqa: ANN401 - the module
    """Return the plugin that was compiled for this TensorRT and GPU, None if none was.

    Args:
        trt: the module `tensorrt`.
        folder: of the engine cache.
        sm: the GPU's, such as "sm_87".
    """
    path = library_path(folder, tensorrt=str(trt.__version__), sm=sm)
    return path if path.is_file() else None


def compile_library(path: Path, *, sm: str) -> None:
    """Compile the plugin with nvcc; takes a minute.

    Args:
        path: where to write it.
        sm: the GPU's, such as "sm_87".

    Raises:
        MissingDependencyError: there is no nvcc.
        EngineError: nvcc fails, or the folder cannot be written; with its own words.
    """
    nvcc = shutil.which("nvcc", path=os.pathsep.join((os.environ.get("PATH", ""), *_NVCC_FOLDERS)))
    if nvcc is None:
        raise MissingDependencyError(
            "nvcc",
            purpose="compiling the plugin",
            install="It comes with CUDA (on a Jetson: apt install nvidia-jetpack)",
        )
    source = Path(__file__).parent / SOURCES[0]
    number = sm.removeprefix("sm_")
    target = f"-gencode=arch=compute_{number},code=sm_{number}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            ran = subprocess.run(
                [nvcc, *_FLAGS, target, str(source), "-o", str(made)],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
            if ran.returncode:
                raise EngineError(_why(nvcc, ran.stderr))
            made.replace(path)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"the plugin cannot be compiled to {path}: {error}") from error


def require_plugins(trt: Any) -> None:  # noqa: ANN401 - the module
    """Refuse a TensorRT without plugins of our kind, IPluginV2DynamicExt.

    Args:
        trt: the module `tensorrt`.

    Raises:
        EngineError: with its version.
    """
    if version_of(trt)[0] >= _FIRST_WITHOUT:
        raise EngineError(
            f"the plugins are for TensorRT 8.6 to 10, and this is {trt.__version__}; build without "
            "them: BuildOptions(plugin=None)"
        )


def load_library(trt: Any, path: Path) -> None:  # noqa: ANN401 - the module
    """Register the library's plugins, once per process.

    It is code and runs with the process's rights: load only what you compiled.

    Args:
        trt: the module `tensorrt`.
        path: the library, compiled for this TensorRT and GPU.

    Raises:
        EngineError: it cannot be read, another one's plugins are registered, or TensorRT refuses it
            or has no such plugins.
    """
    require_plugins(trt)
    path = path.resolve()
    wanted = digest(path)
    held, first = _loaded.get(trt, (wanted, path))
    if held != wanted:
        raise EngineError(
            f"this process has loaded plugins from {first}, and {path} holds others now; TensorRT "
            "keeps the first of a name: restart the process, and give all of its engines one "
            "library (BuildOptions.plugin, or one engine cache)"
        )
    registry = trt.get_plugin_registry()
    if trt not in _loaded:
        registry.load_library(str(path))
    creators = [registry.get_plugin_creator(name, VERSION, "") for name in NAMES]
    if any(creator is not None for creator in creators):
        _loaded[trt] = held, first
    if any(creator is None for creator in creators):
        raise EngineError(
            f"TensorRT {trt.__version__} cannot load the plugins of {path}; {_ANEW}, or remove the "
            "file"
        )


def digest(path: Path) -> str:
    """Return what tells one compiled plugin from another.

    Args:
        path: the library.

    Raises:
        EngineError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise EngineError(f"the plugins of {path} cannot be read: {error}; {_ANEW}") from error


def _why(nvcc: str, said: str) -> str:
    """Return the first error that nvcc gave, and what to do."""
    errors = [line for line in said.splitlines() if "error" in line] or said.splitlines()[-3:]
    hint = ""
    if "NvInferRuntime.h" in said:
        hint = (
            "; TensorRT's headers are missing (apt install libnvinfer-dev), or name their folder "
            "in the environment variable CPATH"
        )
    return f"{nvcc} cannot compile the plugin: {' '.join(errors)[:500]}{hint}"
