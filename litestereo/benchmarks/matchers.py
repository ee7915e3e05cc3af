"""What `stereo-eval` can score: networks in torch, on the runtime's backends, and StereoSGBM.

**Convention**: a matcher says NaN where it has no answer; filling holes is the metrics' business.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from litestereo.errors import InputError
from litestereo.runtime.backends import BACKEND_NAMES
from litestereo.runtime.opencv import import_cv2
from litestereo.runtime.preprocess import (
    disparity_from_padded,
    map_from_padded,
    padded_pair,
    rgb_pair,
)

if TYPE_CHECKING:
    import torch

    from litestereo.runtime.engine import StereoEngine
    from litestereo.runtime.tensorrt.options import GpuOptions

__all__ = [
    "BACKENDS",
    "DEFAULT_MODEL",
    "EngineMatcher",
    "Match",
    "Matcher",
    "SgbmMatcher",
    "SgbmOptions",
    "TorchMatcher",
    "open_matcher",
]

BACKENDS = ("torch", *BACKEND_NAMES, "sgbm")

DEFAULT_MODEL = "las1"
_DEFAULT_RANGE_PX = 192.0


class Match(NamedTuple):
    """What a matcher gives for one pair.

    Attributes:
        disparity_px: (H, W) float32 in left-image pixels, NaN where there is no answer.
        confidence: (H, W) float32 in [0, 1], or None if the matcher has none.
    """

    disparity_px: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32] | None = None


class Matcher(Protocol):
    """Turns a rectified pair into disparity; deterministic."""

    @property
    def name(self) -> str:
        """What ran, for the report: backend, device and precision included."""

    def __call__(
        self,
        left: npt.NDArray[np.uint8],
        right: npt.NDArray[np.uint8],
        *,
        largest_px: float | None = None,
    ) -> Match:
        """Match a pair.

        Args:
            left: (H, W, 3) uint8 RGB.
            right: same size.
            largest_px: the scene's largest disparity, for matchers that search a given range (as
                Middlebury's `ndisp` tells its entrants); None if unknown. Networks ignore it.
        """


@dataclass(frozen=True, slots=True)
class SgbmOptions:
    """StereoSGBM's parameters; the defaults are OpenCV's own recommendations for colour.

    Attributes:
        block_px: side of the matched block.
        margin_px: how far the search goes beyond the scene's largest disparity.
        small_penalty: P1, for a step of 1 px, per block pixel and channel.
        large_penalty: P2, for larger steps.
        left_right_px: largest left-right difference (disp12MaxDiff).
        clip: preFilterCap.
        uniqueness_percent: margin of the best cost.
        speckle_px: size of regions that count as speckle.
        speckle_range_px: step that ends a region.
    """

    block_px: int = 5
    margin_px: int = 16
    small_penalty: int = 8
    large_penalty: int = 32
    left_right_px: int = 1
    clip: int = 63
    uniqueness_percent: int = 10
    speckle_px: int = 100
    speckle_range_px: int = 2


class SgbmMatcher:
    """OpenCV's semi-global matching (mode SGBM, 5 paths): the classic floor."""

    def __init__(self, options: SgbmOptions | None = None) -> None:
        """Take the parameters.

        Args:
            options: parameters of StereoSGBM; None is the default.
        """
        self._options = options or SgbmOptions()

    @property
    def name(self) -> str:
        """The algorithm and OpenCV's version."""
        return f"StereoSGBM (OpenCV {import_cv2('StereoSGBM').__version__})"

    def __call__(
        self,
        left: npt.NDArray[np.uint8],
        right: npt.NDArray[np.uint8],
        *,
        largest_px: float | None = None,
    ) -> Match:
        """Match a pair; an answer of 0 is a hole, as the search starts there.

        Args:
            left: (H, W, 3) uint8 RGB, rectified.
            right: same of the right camera.
            largest_px: no disparity is larger, where that is known; else None.
        """
        cv2 = import_cv2("StereoSGBM")
        reach = largest_px if largest_px is not None else _DEFAULT_RANGE_PX
        disparities = math.ceil((reach + self._options.margin_px) / 16) * 16
        # StereoSGBM leaves the first `disparities` columns blank: extend the border to search it.
        # OpenCV wants BGR; the channels' order decides ties.
        pair = [
            cv2.copyMakeBorder(image[..., ::-1].copy(), 0, 0, disparities, 0, cv2.BORDER_REPLICATE)
            for image in (left, right)
        ]
        sixteenths = self._create(cv2, disparities).compute(*pair)[:, disparities:]
        disparity_px = sixteenths.astype(np.float32) / 16
        disparity_px[disparity_px <= 0] = np.nan
        return Match(disparity_px)

    def _create(self, cv2: Any, disparities: int) -> Any:  # noqa: ANN401 - cv2 has no stubs
        options = self._options
        area = options.block_px**2
        return cv2.StereoSGBM_create(
            minDisparity=0,
            numDisparities=disparities,
            blockSize=options.block_px,
            P1=options.small_penalty * 3 * area,
            P2=options.large_penalty * 3 * area,
            disp12MaxDiff=options.left_right_px,
            preFilterCap=options.clip,
            uniquenessRatio=options.uniqueness_percent,
            speckleWindowSize=options.speckle_px,
            speckleRange=options.speckle_range_px,
            mode=cv2.STEREO_SGBM_MODE_SGBM,
        )


class TorchMatcher:
    """A torch network of `litestereo.models`, on any device."""

    def __init__(
        self, model: torch.nn.Module, *, name: str = "model", device: str | None = None
    ) -> None:
        """Take a network; it is used in evaluation mode and left in the mode it came in.

        Args:
            model: forward(left, right) on float32 RGB 0..255 (B, 3, H, W) gives disparity and
                confidence, (B, 1, H, W) each.
            name: what the report calls it.
            device: where to run; None leaves the model where it is.
        """
        self._model = model if device is None else model.to(device)
        self._name = name

    @property
    def name(self) -> str:
        """Model, device and precision."""
        parameter = next(self._model.parameters())
        precision = str(parameter.dtype).removeprefix("torch.")
        return f"{self._name} (torch, {parameter.device.type}, {precision})"

    def __call__(
        self,
        left: npt.NDArray[np.uint8],
        right: npt.NDArray[np.uint8],
        *,
        largest_px: float | None = None,
    ) -> Match:
        """Match a pair: padded to multiples of 32, cropped back; `largest_px` is not looked at.

        Args:
            left: (H, W, 3) uint8 RGB, rectified.
            right: same of the right camera.
            largest_px: no disparity is larger, where that is known; else None.
        """
        import torch

        padded_left, padded_right, frame = padded_pair(*rgb_pair(left, right))
        device = next(self._model.parameters()).device
        was_training = self._model.training
        self._model.eval()
        try:
            with torch.inference_mode():
                tensors = (_tensor(image).to(device) for image in (padded_left, padded_right))
                disparity, confidence = self._model(*tensors)
        finally:
            self._model.train(was_training)
        return Match(
            disparity_from_padded(_array(disparity), frame),
            map_from_padded(_array(confidence), frame),
        )


class EngineMatcher:
    """A `StereoEngine`: the artefact as a robot runs it."""

    def __init__(self, engine: StereoEngine, *, name: str) -> None:
        """Take an open engine; closing it stays the caller's.

        Args:
            engine: stays open.
            name: for the report.
        """
        self._engine = engine
        self._name = name

    @property
    def name(self) -> str:
        """Model, backend and precision."""
        return self._name

    def __call__(
        self,
        left: npt.NDArray[np.uint8],
        right: npt.NDArray[np.uint8],
        *,
        largest_px: float | None = None,
    ) -> Match:
        """Match a pair; `largest_px` is not looked at.

        Args:
            left: (H, W, 3) uint8 RGB, rectified.
            right: same of the right camera.
            largest_px: no disparity is larger, where that is known; else None.
        """
        result = self._engine(left, right)
        return Match(result.disparity_px, result.confidence)


@contextmanager
def open_matcher(
    backend: str,
    *,
    model: str | None = None,
    weights: Path | None = None,
    device: str | None = None,
    scale: float | None = None,
    gpu: GpuOptions | None = None,
) -> Iterator[Matcher]:
    """Open a matcher by name and close it after use.

    Args:
        backend: one of `BACKENDS`.
        model: a name of `litestereo.models.MODEL_NAMES`; None is las1, or with the
            runtime's backends an artefact's own.
        weights: a checkpoint (torch) or an artefact (torch and the runtime's backends); None takes
            the bundled ones.
        device: of torch; None is the CPU.
        scale: of the runtime's backends: inference size over picture size; None is 1.
        gpu: of the runtime's GPU backends. TensorRT builds an engine for each size that comes:
            give it an artefact of fixed size.

    Raises:
        InputError: the backend is unknown, or is given what it has not (weights, device, scale), or
            the artefact is of another model.
        LiteStereoError: the weights cannot be used, or a package is missing.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend {backend!r} is unknown; choose one of {', '.join(BACKENDS)}")
    if device is not None and backend != "torch":
        raise InputError(f"{backend} takes no --device; drop it, or use --backend torch")
    if scale is not None and backend not in BACKEND_NAMES:
        raise InputError(
            f"{backend} takes no --scale; drop it, or use --backend {' or '.join(BACKEND_NAMES)}"
        )
    if backend == "torch":
        yield _open_torch(model or DEFAULT_MODEL, weights, device)
    elif backend == "sgbm":
        if weights is not None:
            raise InputError("sgbm has no weights; drop --weights, or choose another --backend")
        yield SgbmMatcher()
    else:
        from litestereo.runtime.engine import StereoEngine

        artefact = weights or model or DEFAULT_MODEL
        with StereoEngine.load(artefact, backend=backend, gpu=gpu, scale=scale) as engine:
            if weights and model not in (None, engine.manifest.model):
                raise InputError(
                    f"{weights} is of {engine.manifest.model}, and {model} was asked for; leave "
                    "--model or --weights out"
                )
            yield _engine_matcher(engine, backend, scale)


def _open_torch(model: str, weights: Path | None, device: str | None) -> TorchMatcher:
    from litestereo import models
    from litestereo.assets import artifact_path

    network = models.create(model)  # says what to install where torch is missing

    from litestereo.benchmarks.torch_device import usable_device

    place = usable_device(device or "cpu")
    models.load_weights(network, weights or artifact_path(model))
    return TorchMatcher(network.to(place), name=model)


def _engine_matcher(engine: StereoEngine, backend: str, scale: float | None) -> EngineMatcher:
    manifest = engine.manifest
    words = [backend, manifest.precision, *([] if scale is None else [f"scale {scale:g}"])]
    return EngineMatcher(engine, name=f"{manifest.model} ({', '.join(words)})")


def _tensor(image: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Return (H, W, 3) uint8 as (1, 3, H, W) float32, values 0..255."""
    import torch

    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


def _array(output: torch.Tensor) -> npt.NDArray[np.float32]:
    """Return (1, 1, H, W) as (H, W) float32 on the host."""
    array: npt.NDArray[np.float32] = output[0, 0].detach().float().cpu().numpy()
    return array
