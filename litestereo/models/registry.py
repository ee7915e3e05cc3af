"""What models there are: names, widths, depths and cost. Loads no torch.

Sources: Lite Any Stereo (arXiv 2511.16555) and Lite Any Stereo 2 (arXiv 2606.24457).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from litestereo.errors import InputError

__all__ = [
    "DISPARITY_LEVELS",
    "MAX_DISPARITY_PX",
    "MODEL_NAMES",
    "MODEL_SPECS",
    "REFINER_PASSES",
    "SIZE_MULTIPLE",
    "ModelSpec",
    "model_spec",
]

MAX_DISPARITY_PX = 192
"""Upper end of what the networks can see, in pixels of the image they are given."""

DISPARITY_LEVELS = MAX_DISPARITY_PX // 4
"""Channels of the cost volume: one for each disparity of the quarter-size image."""

REFINER_PASSES = 2
"""How often a refiner looks where nothing else is said."""

SIZE_MULTIPLE = 32
"""Heights and widths must be multiples of this: the pyramid halves them five times."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model: how it is built, and what it costs.

    Attributes:
        name: what users type.
        backbone: family of the feature extractor.
        feature_channels: channels of the feature pyramid at 1/4, 1/8, 1/16 and 1/32.
        aggregation_blocks: blocks of the aggregation at 1/4, 1/8 and 1/16.
        aggregation_expansion: widening inside each of those blocks.
        recurrent_steps: refinement iterations after the first disparity; 0 for none.
        parameters: number of trainable values.
        gmacs_384x1248: 1e9 multiply-adds of the convolutions for one pair of that size.
    """

    name: str
    backbone: Literal["mobilenetv2", "fasternet"]
    feature_channels: tuple[int, int, int, int]
    aggregation_blocks: tuple[int, int, int]
    aggregation_expansion: int
    recurrent_steps: int
    parameters: int
    gmacs_384x1248: float


def _las2(
    name: str,
    blocks: tuple[int, int, int],
    *,
    expansion: int,
    parameters: int,
    gmacs: float,
    steps: int = 0,
) -> ModelSpec:
    channels = (40, 80, 160, 320)
    return ModelSpec(name, "fasternet", channels, blocks, expansion, steps, parameters, gmacs)


# A test counts both columns again on the built models.
MODEL_SPECS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec("las1", "mobilenetv2", (24, 32, 96, 160), (4, 7, 15), 4, 0, 7_603_626, 27.7),
        _las2("las2_s", (1, 2, 4), expansion=4, parameters=6_040_420, gmacs=24.2),
        _las2("las2_m", (4, 8, 16), expansion=4, parameters=10_385_044, gmacs=36.6),
        _las2("las2_l", (8, 16, 32), expansion=8, parameters=27_099_988, gmacs=85.1),
        _las2("las2_h", (4, 8, 16), expansion=4, parameters=11_573_487, gmacs=175.6, steps=4),
    )
}
"""All models by name."""

MODEL_NAMES: tuple[str, ...] = tuple(MODEL_SPECS)
"""What models are called: "las1", "las2_s", "las2_m", "las2_l" and "las2_h"."""


def model_spec(name: str) -> ModelSpec:
    """Look up a model by name.

    Args:
        name: one of `MODEL_NAMES`.

    Raises:
        InputError: no model has this name.
    """
    if name not in MODEL_SPECS:
        raise InputError(f"no model is called {name!r}; choose one of {', '.join(MODEL_NAMES)}")
    return MODEL_SPECS[name]
