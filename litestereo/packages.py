"""What each heavy step needs installed, asked before it begins and without loading anything."""

from __future__ import annotations

from importlib.util import find_spec

from litestereo.errors import MissingDependencyError

__all__ = ["EXPORT_PACKAGES", "TRAIN_PACKAGES", "require_packages"]

EXPORT_PACKAGES = ("torch", "onnx", "onnxslim", "onnxruntime")
TRAIN_PACKAGES = ("torch", "safetensors")


def require_packages(*names: str, purpose: str, extra: str) -> None:
    """Raise unless all of the packages are there; none is imported.

    Args:
        names: as they are imported.
        purpose: what needs them, for the message, e.g. "exporting a model".
        extra: of litestereo that brings them.

    Raises:
        MissingDependencyError: one is not installed; the message names the extra.
    """
    for name in names:
        if find_spec(name) is None:
            raise MissingDependencyError(name, purpose=purpose, extra=extra)
