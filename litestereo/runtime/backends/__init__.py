"""What runs an artefact: one small protocol, one module a backend, opened by name.

A backend sees padded uint8 pictures and returns what the network says about them; preprocessing,
cropping, scaling and locking are the engine's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol, cast, get_args

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import EngineError, InputError
from litestereo.runtime.manifest import Manifest
from litestereo.runtime.tensorrt.options import GpuOptions

__all__ = ["BACKEND_NAMES", "Backend", "BackendOptions", "GraphOptimization", "open_backend"]

GraphOptimization = Literal["off", "basic", "all"]
"""How far ONNX Runtime may rewrite a graph when it loads it."""

# Name -> module with a function `load(artifact, options) -> Backend`; a module and the package that
# it wraps are imported when the backend is opened, not before.
_MODULES = {
    "onnxruntime-cpu": "litestereo.runtime.backends.onnxruntime_cpu",
    "onnxruntime-cuda": "litestereo.runtime.backends.onnxruntime_cuda",
    "tensorrt": "litestereo.runtime.tensorrt.backend",
}

_MOST_THREADS = 1024

BACKEND_NAMES: tuple[str, ...] = tuple(_MODULES)
"""What can run an artefact: "onnxruntime-cpu", "onnxruntime-cuda" and "tensorrt"."""


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """How a backend runs.

    Attributes:
        threads: CPU threads for one inference; None takes every core that the process may use.
        graph_optimization: how far the backend may rewrite the graph when it loads.
        gpu: of the backends that run on one.
    """

    threads: int | None = None
    graph_optimization: GraphOptimization = "all"
    gpu: GpuOptions = field(default_factory=GpuOptions)

    def __post_init__(self) -> None:
        """Refuse values that no backend can take."""
        if self.threads is not None and not 1 <= self.threads <= _MOST_THREADS:
            raise InputError(f"threads is {self.threads}; it must be from 1 to {_MOST_THREADS}")
        if self.graph_optimization not in get_args(GraphOptimization):
            known = ", ".join(get_args(GraphOptimization))
            raise InputError(
                f"graph_optimization is {self.graph_optimization!r}; it must be one of {known}"
            )


class Backend(Protocol):
    """An artefact that is loaded and ready.

    A backend need not be thread-safe: the engine makes one call at a time, from any thread, and
    calls `close` once, after the last inference has returned.

    One whose first inference of a size may take minutes has an attribute `is_preparing`, true for
    as long as that takes, which any thread may look at. One that copies pictures to memory of its
    own may offer that memory by a method `input_buffers(size)`, as `TensorRt` does.
    """

    @property
    def name(self) -> str:
        """The name it was opened by, e.g. "onnxruntime-cpu"."""

    @property
    def device(self) -> str:
        """What it really runs on, e.g. "cpu"; never what was merely asked for."""

    @property
    def precision(self) -> str:
        """The precision that it really computes in."""

    @property
    def manifest(self) -> Manifest:
        """What the artefact says about itself."""

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The only (height, width) that it takes; None: any multiple of the manifest's."""

    def infer(
        self, left: NDArray[np.uint8], right: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the disparity and confidence of one padded pair.

        Args:
            left: (H, W, 3) uint8 RGB, C-contiguous, H and W as the manifest asks.
            right: same.

        Returns:
            (H, W) float32 disparity in pixels and (H, W) float32 confidence in [0, 1]; both may be
            buffers that the next call reuses.

        Raises:
            EngineError: the inference failed.
        """

    def close(self) -> None:
        """Free what the backend holds: execution context first, then engine, then runtime."""


def open_backend(name: str, artifact: Path, *, options: BackendOptions) -> Backend:
    """Load `artifact` with the backend called `name`; there is no fallback to another one.

    Args:
        name: one of `BACKEND_NAMES`.
        artifact: file that `stereo-export` wrote.
        options: threads, optimisation and GPU.

    Raises:
        InputError: no backend has that name.
        MissingDependencyError: the package that it wraps is not installed.
        EngineError: the artefact cannot run on it.
    """
    if name not in _MODULES:
        raise InputError(f"no backend is called {name!r}; there is: {', '.join(BACKEND_NAMES)}")
    if not artifact.is_file():
        raise EngineError(f"{artifact} is not a file; need an artefact written by stereo-export")
    return cast(Backend, import_module(_MODULES[name]).load(artifact, options))
