"""Where the files that ship inside the package are."""

from __future__ import annotations

from pathlib import Path

from litestereo.errors import InputError

__all__ = ["artifact_path", "bundled_artifact", "bundled_models", "demo_pair"]

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


def artifact_path(model: str | Path) -> Path:
    """Return the artefact of a bundled model's name, or `model` itself where it is a file.

    Args:
        model: name or file.

    Raises:
        InputError: neither a bundled model nor a file.
    """
    if str(model) in bundled_models():
        return bundled_artifact(str(model))
    path = Path(model)
    if not path.is_file():
        bundled = ", ".join(bundled_models()) or "none"
        raise InputError(
            f"{str(model)!r} is neither a bundled model ({bundled}) nor an artefact's file; "
            "make one with stereo-export"
        )
    return path


def demo_pair() -> tuple[Path, Path]:
    """Return the left and right picture of the bundled pair (480x640, rendered by litestereo)."""
    return _DEMO / "left.png", _DEMO / "right.png"
