"""The Lite Any Stereo networks in plain torch: `create` one, `load_weights` into it.

Importing this package loads no torch; calling `create` or `load_weights` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from litestereo.models.registry import MODEL_NAMES, MODEL_SPECS, ModelSpec, model_spec

if TYPE_CHECKING:
    from litestereo.models.las import StereoNetwork

__all__ = [
    "MODEL_NAMES",
    "MODEL_SPECS",
    "ModelSpec",
    "create",
    "load_weights",
    "model_spec",
    "save_weights",
]


def create(name: str, *, layer_scale_init: float | None = None) -> StereoNetwork:
    """Make the network called `name`, with torch's default random weights.

    Args:
        name: one of `MODEL_NAMES`.
        layer_scale_init: first value of the per-channel scale that ends each of LAS1's ConvNeXt
            blocks. The published recipe starts at 1e-6 (the default), which a short schedule hardly
            leaves: 0.1 lets the blocks take part from the first step. Only LAS1 has these scales.

    Returns:
        A module in training mode; `model(left, right)` takes float32 RGB in 0..255 of shape
        (B, 3, H, W), H and W multiples of 32, and gives (disparity, confidence), both
        (B, 1, H, W) float32: pixels of the left image, and [0, 1].

    Raises:
        InputError: the name is unknown, or `layer_scale_init` is given for a model without scales.
        MissingDependencyError: torch is not installed.

    Example:
        >>> import torch
        >>> model = create("las1").eval()
        >>> disparity, confidence = model(torch.rand(1, 3, 64, 96) * 255, torch.rand(1, 3, 64, 96))
        >>> tuple(disparity.shape)
        (1, 1, 64, 96)
    """
    spec = model_spec(name)
    _require_torch("building a model")
    from litestereo.models.las import build

    return build(spec, layer_scale_init=layer_scale_init)


def load_weights(model: StereoNetwork, path: str | Path) -> None:
    """Fill `model` in place from a checkpoint or from an FP32 artefact of ours.

    A file of ours may hold a refiner, too (`Stages.unrefined` is without it); a model that gets
    weights without one has none afterwards. It looks as often as an artefact says, else
    `REFINER_PASSES` times.

    Args:
        model: what `create` made.
        path: `.pth` or `.pt` (tensors only, never unpickled code), `.safetensors`, or `.onnx`.

    Raises:
        CheckpointError: the file cannot be read or does not fit; the model is left unchanged.
        MissingDependencyError: the package that reads this kind of file is not installed.
    """
    _require_torch("loading weights")
    from litestereo.models import weights

    weights.load_weights(model, path)


def save_weights(model: StereoNetwork, path: str | Path, *, half: bool = False) -> None:
    """Write the model's state dict to a `.safetensors` file, whole or not at all.

    Args:
        model: what `create` made.
        path: where to write; must end in `.safetensors`.
        half: store floating tensors of two and more dimensions in float16 (about half the size;
            loading casts them back). Vectors stay float32: a running variance may leave half's
            range.

    Raises:
        InputError: the path has another ending.
        MissingDependencyError: safetensors is not installed.
    """
    _require_torch("saving weights")
    from litestereo.models import weights

    weights.save_weights(model, path, half=half)


def _require_torch(purpose: str) -> None:
    from litestereo.packages import require_packages

    require_packages("torch", purpose=purpose, extra="export")
