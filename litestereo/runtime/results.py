"""What goes into a call of the engine, what comes out, and what is between the two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from litestereo.runtime.preprocess import Frame

__all__ = ["Inferred", "Prepared", "StereoResult", "Timings"]

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Timings:
    """Wall-clock time of one call, in milliseconds; waiting for other calls is left out.

    Attributes:
        preprocess_ms: checks, scaling and padding.
        inference_ms: the backend, copies to and from the device included.
        postprocess_ms: cropping, scaling and checks of the answer.
        total_ms: the sum of those.
    """

    preprocess_ms: float
    inference_ms: float
    postprocess_ms: float
    total_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class StereoResult:
    """What one pair gave, and what ran.

    The arrays are the caller's, and no later call touches them, unless `copy=False` asked for those
    of the backend.

    Attributes:
        disparity_px: (H, W) float32, >= 0, in pixels of the given left picture;
            x_right = x_left - disparity. Of an artefact that rectifies: of the left picture that
            its network sees, with the calibration `StereoEngine.calibration`.
        confidence: (H, W) float32 in [0, 1], from the cost distribution; 1 is sure.
        timings: of this call.
        backend: name of the backend that ran.
        device: what it ran on.
        precision: what it computed in.
        scale: inference width over picture width.
        inference_size: (height, width) that the network saw, padding included.
        max_disparity_px: the largest disparity that this call could have answered.
        range_clipped: share of pixels, 0..1, whose answer lies at the end of that range; where it
            is more than a few percent, ask again with a larger `max_disparity_px`.
    """

    disparity_px: NDArray[np.float32]
    confidence: NDArray[np.float32]
    timings: Timings
    backend: str
    device: str
    precision: str
    scale: float
    inference_size: tuple[int, int]
    max_disparity_px: float
    range_clipped: float


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A pair as the network takes it: from `StereoEngine.prepare`, for `StereoEngine.infer`.

    Attributes:
        left: (H, W, 3) uint8 RGB, scaled and padded; raw for an artefact that rectifies. Where
            nothing had to be done it is the caller's own array.
        right: same.
        frame: where the picture is inside.
        preprocess_ms: what this took.
    """

    left: Image
    right: Image
    frame: Frame
    preprocess_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class Inferred:
    """What the network gave: from `StereoEngine.infer`, for `StereoEngine.finish`.

    Attributes:
        disparity: (H, W) float32 of all that the network saw, in pixels of that.
        confidence: (H, W) float32, likewise.
        frame: where the picture is inside.
        preprocess_ms: what the preparation took.
        inference_ms: what the network took.
        ran: name, device and precision of the backend.
    """

    disparity: NDArray[np.float32]
    confidence: NDArray[np.float32]
    frame: Frame
    preprocess_ms: float
    inference_ms: float
    ran: tuple[str, str, str]
