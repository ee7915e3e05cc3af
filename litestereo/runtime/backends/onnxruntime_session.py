"""What the ONNX Runtime backends share: reading an artefact, options, checks, errors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import EngineError
from litestereo.runtime.backends import BackendOptions
from litestereo.runtime.manifest import METADATA_KEY, Manifest
from litestereo.runtime.onnx_file import read_onnx

__all__ = [
    "SessionBackend",
    "check_graph",
    "open_session",
    "read_manifest",
    "run",
    "runtime_errors",
    "session_options",
]

_INPUTS = ("left", "right")
_OUTPUTS = ("disparity", "confidence")


class SessionBackend:
    """What every backend on an ONNX Runtime session is; its `load` makes it."""

    def __init__(self, session: Any, manifest: Manifest) -> None:  # noqa: ANN401 - untyped package
        """Take over an open session.

        Args:
            session: an open `onnxruntime.InferenceSession`.
            manifest: what the artefact says of itself.
        """
        self._session = session
        self.manifest = manifest
        self.fixed_size = manifest.input.fixed_size

    def infer(
        self, left: NDArray[np.uint8], right: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return disparity and confidence of one padded pair, in fresh arrays.

        Args:
            left: (H, W, 3) uint8 RGB, rectified and padded to multiples of 32.
            right: likewise of the right camera.
        """
        return run(self._session, left, right)

    def close(self) -> None:
        """Drop the session."""
        self._session = None


def open_session(artifact: Path, options: Any, *, providers: Sequence[Any]) -> Any:  # noqa: ANN401
    """Return a session on `providers` that raises where they fail, instead of trying others.

    Args:
        artifact: file that `stereo-export` wrote.
        options: `onnxruntime.SessionOptions`.
        providers: ONNX Runtime's names, or pairs of a name and its settings.

    Raises:
        EngineError: the file is no artefact, or ONNX Runtime refuses it.
    """
    import onnxruntime

    content = read_onnx(artifact)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=providers)
    except runtime_errors() as error:
        raise EngineError(
            f"ONNX Runtime cannot load {artifact}: {error}; export it again, or update onnxruntime"
        ) from error
    session.disable_fallback()
    return session


def read_manifest(session: Any, artifact: Path) -> Manifest:  # noqa: ANN401 - untyped package
    """Return the manifest of a loaded artefact.

    Args:
        session: an open `onnxruntime.InferenceSession`.
        artifact: file that `stereo-export` wrote.

    Raises:
        EngineError: it has none, or one that cannot be read.
    """
    try:
        manifest = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    except UnicodeDecodeError as error:
        raise EngineError(
            f"{artifact} has metadata that is no text; it is damaged: copy or export it again"
        ) from error
    if manifest is None:
        raise EngineError(
            f"{artifact} has no litestereo manifest; need an artefact written by stereo-export"
        )
    return Manifest.from_json(manifest)


def run(
    session: Any,  # noqa: ANN401 - untyped package
    left: NDArray[np.uint8],
    right: NDArray[np.uint8],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return disparity and confidence of one padded pair, in fresh arrays.

    Args:
        session: an open `onnxruntime.InferenceSession`.
        left: (H, W, 3) uint8 RGB, rectified and padded to multiples of 32.
        right: likewise of the right camera.

    Raises:
        EngineError: ONNX Runtime failed.
    """
    try:
        disparity, confidence = session.run(_OUTPUTS, {"left": left, "right": right})
    except runtime_errors() as error:
        height, width = left.shape[:2]
        raise EngineError(f"ONNX Runtime failed on a {height}x{width} pair: {error}") from error
    return disparity, confidence


def session_options(options: BackendOptions) -> Any:  # noqa: ANN401 - untyped package
    """Return ONNX Runtime's form of our options.

    Args:
        options: threads and graph optimisation are looked at.
    """
    import onnxruntime

    levels = {
        "off": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
        "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    }
    made = onnxruntime.SessionOptions()
    made.graph_optimization_level = levels[options.graph_optimization]
    made.intra_op_num_threads = options.threads or _default_threads()
    # Waiting threads sleep instead of spinning: a robot's cores have other work. With a load of 5
    # on 2 cores, LAS1 at 480x640 took 0.7-1.0 s so, and 1.6-2.5 s spinning (ONNX Runtime 1.32).
    made.add_session_config_entry("session.intra_op.allow_spinning", "0")
    made.log_severity_level = 3  # errors only: warnings are for who makes the graph
    return made


def _default_threads() -> int:
    """Return the cores of a restricted process, else 0, which is ONNX Runtime's own choice.

    ONNX Runtime pins its default threads to every core of the machine and complains on stderr
    where the process (taskset, a container) may not use them all.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    return usable if usable < (os.cpu_count() or 0) else 0


def check_graph(session: Any, artifact: Path) -> None:  # noqa: ANN401 - untyped package
    """Refuse a session whose graph is not an artefact's.

    Args:
        session: an open `onnxruntime.InferenceSession`.
        artifact: file that `stereo-export` wrote.

    Raises:
        EngineError: its inputs or outputs are others.
    """
    try:
        inputs = [(i.name, i.type, len(i.shape)) for i in session.get_inputs()]
        outputs = [(o.name, o.type, len(o.shape)) for o in session.get_outputs()]
    except UnicodeDecodeError as error:
        raise EngineError(
            f"{artifact} has names that are no text; it is damaged: copy or export it again"
        ) from error
    if inputs != [(name, "tensor(uint8)", 3) for name in _INPUTS] or outputs != [
        (name, "tensor(float)", 2) for name in _OUTPUTS
    ]:
        raise EngineError(
            f"{artifact} has inputs {inputs} and outputs {outputs}; an artefact takes left and "
            "right, uint8 (H, W, 3), and gives disparity and confidence, float32 (H, W): "
            "write it with stereo-export"
        )


def runtime_errors() -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises: its exception classes have no common base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception))
    return (*own, RuntimeError, ValueError)
