"""Where the files that ship inside the package are."""

from __future__ import annotations

from pathlib import Path

__all__ = ["bundled_artifact", "bundled_models", "demo_pair"]

_PACKAGE = Path(__file__).resolve().parent
_WEIGHTS = _PACKAGE / "models" / "weights"
_DEMO = _PACKAGE / "runtime" / "demo"


def bundled_models() -> tuple[str, ...]:
    """Return the names of the models whose weights are in the package, sorted."""
    return tuple(sorted(path.stem for path in _WEIGHTS.glob("*.onnx")))


def bundled_artifact(model: str) -> Path:
    """Return the path of the shipped artefact of `model`; it exists if `model` is bundled.

    Args:
        model: name of a model, such as "las1".
    """
    return _WEIGHTS / f"{model}.onnx"


def demo_pair() -> tuple[Path, Path]:
    """Return the left and right picture of the bundled pair (480x640, rendered by litestereo)."""
    return _DEMO / "left.png", _DEMO / "right.png"
