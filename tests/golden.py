"""Golden vectors of the reference models: weights by name, inputs and every intermediate."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"


def require_reference() -> Path:
    if not (REFERENCE / "SPEC.md").is_file():
        pytest.skip("the reference vectors (../shared/reference) are not on this machine")
    return REFERENCE


def golden_vectors(variant: str) -> dict[str, np.ndarray]:
    """Inputs and intermediates of `variant`, without the BatchNorm buffers."""
    with np.load(require_reference() / f"vectors_{variant}.npz") as archive:
        return {name: archive[name] for name in archive.files if not name.startswith("bn::")}


def golden_entries(variant: str) -> list[dict]:
    """Name, shape, dtype and kind of every entry of the published state dict."""
    text = (require_reference() / f"state_dict_{variant}.json").read_text()
    return json.loads(text)["entries"]


def golden_state_dict(variant: str) -> dict:
    """Torch state dict of the reference weights: parameters from names, buffers from the file."""
    import torch

    with np.load(require_reference() / f"vectors_{variant}.npz") as archive:
        buffers = {
            name[4:].replace("__", "."): archive[name]
            for name in archive.files
            if name.startswith("bn::")
        }
    state = {}
    for entry in golden_entries(variant):
        name = entry["name"]
        if entry["kind"] == "parameter":
            value = parameter_from_name(name, tuple(entry["shape"]))
        else:
            value = buffers[name]
        state[name] = torch.from_numpy(np.array(value))
    return state


def parameter_from_name(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The reference value of a parameter, a pure function of its name and shape."""
    generator = np.random.RandomState(zlib.crc32(name.encode()))
    u = generator.random_sample(shape) * 2 - 1
    if name.rsplit(".", 1)[-1] == "gamma":
        value = 0.5 + 0.3 * u
    elif len(shape) >= 2:
        value = u * np.sqrt(3 / np.prod(shape[1:]))
    elif name.endswith("weight"):
        value = 1 + 0.3 * u
    else:
        value = 0.1 * u
    return value.astype(np.float32)
