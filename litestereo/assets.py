"""Where the files that ship inside the package are."""

from __future__ import annotations

from pathlib import Path

from litestereo.errors import InputError

__all__ = [
    "artifact_path",
    "bundled_artifact",
    "bundled_models",
    "demo_pair",
    "named_file",
    "no_weights_for",
]

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


def no_weights_for(model: str) -> str:
    """Return the beginning of what to say of a model that is not bundled.

    Args:
        model: its name.
    """
    bundled = ", ".join(bundled_models()) or "none"
    return f"no weights for {model} come with litestereo (bundled: {bundled})"


def named_file(model: str | Path) -> Path:
    """Return the artefact of a bundled model's name, or the path that `model` is.

    Args:
        model: name or path of any file, which need not exist.
    """
    return bundled_artifact(str(model)) if str(model) in bundled_models() else Path(model)


def artifact_path(model: str | Path) -> Path:
    """Return the artefact of a bundled model's name, or `model` itself where it is a file.

    Args:
        model: name or file.

    Raises:
        InputError: neither a bundled model nor a file of that kind.
    """
    path = named_file(model)
    if not path.is_file():
        raise InputError(_unknown(path))
    if path.suffix != ".onnx" and not _begins_as_onnx(path):
        raise InputError(
            f"{path} is no artefact; need a bundled model's name or an .onnx file that "
            "stereo-export wrote (stereo-eval --backend torch takes checkpoints, too)"
        )
    return path


def _unknown(path: Path) -> str:
    """Return what to say of a model that is not there."""
    from litestereo.models.registry import MODEL_NAMES

    bundled = ", ".join(bundled_models()) or "none"
    if str(path) in MODEL_NAMES:
        return (
            f"{no_weights_for(str(path))}; make an artefact of its checkpoint with "
            f"stereo-export --model {path} --weights FILE, and give that file"
        )
    if path.suffix == ".onnx" or len(path.parts) > 1:
        kind = "a folder" if path.is_dir() else "no such file"
        return (
            f"{path} is {kind}; need a bundled model ({bundled}) or an artefact's file: check "
            "the path, or make one with stereo-export"
        )
    return (
        f"{str(path)!r} is neither a bundled model ({bundled}) nor an artefact's file; "
        "make one with stereo-export"
    )


def _begins_as_onnx(path: Path) -> bool:
    """Say whether a file's first field is ONNX's version, as every library writes it."""
    try:
        with path.open("rb") as file:
            return file.read(1) == b"\x08"
    except OSError:
        return True  # whoever opens it says why it cannot be read


def demo_pair() -> tuple[Path, Path]:
    """Return the left and right picture of the bundled pair (480x640, rendered by litestereo)."""
    return _DEMO / "left.png", _DEMO / "right.png"
