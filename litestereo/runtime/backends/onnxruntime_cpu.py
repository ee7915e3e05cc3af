"""The ONNX Runtime CPU backend: runs everywhere, and is what the others are compared with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import EngineError, MissingDependencyError
from litestereo.runtime.backends import BackendOptions
from litestereo.runtime.manifest import METADATA_KEY, Manifest

__all__ = ["OnnxRuntimeCpu", "load"]

_PROVIDER = "CPUExecutionProvider"
_INPUTS = ("left", "right")
_OUTPUTS = ("disparity", "confidence")
# How protobuf writes the key "location" of a tensor that lives in another file. ONNX Runtime would
# resolve it against the working directory, so an artefact must not have any.
_EXTERNAL_DATA = b"\n\x08location\x12"


class OnnxRuntimeCpu:
    """A loaded artefact; made by `load`."""

    name = "onnxruntime-cpu"
    device = "cpu"
    # ONNX Runtime computes half-precision graphs in float32 on a CPU.
    precision = "fp32"

    def __init__(self, session: Any, manifest: Manifest) -> None:  # noqa: ANN401 - untyped package
        """Take over an open session."""
        self._session = session
        self.manifest = manifest
        self.fixed_size = manifest.input.fixed_size

    def infer(
        self, left: NDArray[np.uint8], right: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return disparity and confidence of one padded pair, in fresh arrays."""
        try:
            disparity, confidence = self._session.run(_OUTPUTS, {"left": left, "right": right})
        except _runtime_errors() as error:
            height, width = left.shape[:2]
            raise EngineError(f"ONNX Runtime failed on a {height}x{width} pair: {error}") from error
        return disparity, confidence

    def close(self) -> None:
        """Drop the session."""
        self._session = None


def load(artifact: Path, options: BackendOptions) -> OnnxRuntimeCpu:
    """Open `artifact` on the CPU.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
        EngineError: the file is no artefact, or ONNX Runtime refuses it.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "onnxruntime", purpose="the onnxruntime-cpu backend", extra="cpu"
        ) from error
    content = artifact.read_bytes()
    if _EXTERNAL_DATA in content:
        raise EngineError(
            f"{artifact} keeps tensors in other files; an artefact is one self-contained file: "
            "write it with stereo-export"
        )
    try:
        session = onnxruntime.InferenceSession(
            content, _session_options(options), providers=[_PROVIDER]
        )
    except _runtime_errors() as error:
        raise EngineError(f"ONNX Runtime cannot load {artifact}: {error}") from error
    session.disable_fallback()
    _check_session(session, artifact)
    manifest = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if manifest is None:
        raise EngineError(
            f"{artifact} has no litestereo manifest; need an artefact written by stereo-export"
        )
    return OnnxRuntimeCpu(session, Manifest.from_json(manifest))


def _session_options(options: BackendOptions) -> Any:  # noqa: ANN401 - untyped package
    import onnxruntime

    levels = {
        "off": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
        "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    }
    session_options = onnxruntime.SessionOptions()
    session_options.graph_optimization_level = levels[options.graph_optimization]
    session_options.intra_op_num_threads = options.threads or _default_threads()
    # Waiting threads sleep instead of spinning: a robot's cores have other work. With a load of 5
    # on 2 cores, LAS1 at 480x640 took 0.7-1.0 s so, and 1.6-2.5 s spinning (ONNX Runtime 1.32).
    session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session_options.log_severity_level = 3  # errors only: warnings are for who makes the graph
    return session_options


def _default_threads() -> int:
    """Return the cores of a restricted process, else 0, which is ONNX Runtime's own choice.

    ONNX Runtime pins its default threads to every core of the machine and complains on stderr
    where the process (taskset, a container) may not use them all.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    return usable if usable < (os.cpu_count() or 0) else 0


def _check_session(session: Any, artifact: Path) -> None:  # noqa: ANN401 - untyped package
    """Refuse a session that runs elsewhere, or whose graph is not an artefact's."""
    if session.get_providers() != [_PROVIDER]:
        raise EngineError(f"ONNX Runtime runs {artifact} on {session.get_providers()}, not the CPU")
    inputs = [(i.name, i.type, len(i.shape)) for i in session.get_inputs()]
    outputs = [(o.name, o.type, len(o.shape)) for o in session.get_outputs()]
    if inputs != [(name, "tensor(uint8)", 3) for name in _INPUTS] or outputs != [
        (name, "tensor(float)", 2) for name in _OUTPUTS
    ]:
        raise EngineError(
            f"{artifact} has inputs {inputs} and outputs {outputs}; an artefact takes left and "
            "right, uint8 (H, W, 3), and gives disparity and confidence, float32 (H, W): "
            "write it with stereo-export"
        )


def _runtime_errors() -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises: its exception classes have no common base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception))
    return (*own, RuntimeError, ValueError)
