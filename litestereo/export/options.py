"""What to export: one frozen description that travels through every step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from litestereo.calibration.ranges import RANGE_METHODS, RangeMethod
from litestereo.errors import ExportError
from litestereo.models.registry import MODEL_NAMES, REFINER_PASSES, SIZE_MULTIPLE
from litestereo.runtime.manifest import MOST_REFINER_PASSES

__all__ = [
    "OPSET",
    "TYPED_INT8_OPSET",
    "ExportOptions",
    "Exporter",
    "Int8Options",
    "Precision",
    "RigOptions",
]

Exporter = Literal["torchscript", "dynamo"]
"""Which of torch's exporters traces the network."""

Precision = Literal["fp32", "fp16", "int8"]
"""What a graph computes in."""

OPSET = 17
"""The opset of every artefact: the newest that TensorRT 8.6's parser reads."""

TYPED_INT8_OPSET = 19
"""The opset of a half graph with Q/DQ: the first in which their steps may be half."""

_SMALLEST_PX = 64


@dataclass(frozen=True, slots=True)
class Int8Options:
    """Say how a network is quantised, and how much of its answer may be lost.

    Attributes:
        calibration: folder of the set, as `stereo-calibrate` made it.
        held_out: folders of scenes that judge the result, with ground truth where there is some;
            those that gave ranges are left out. None: the pairs that the set holds out.
        ranges: how an activation's range follows from what the calibration pairs showed.
        correct_bias: take the mean error of rounded weights out of the biases.
        budget: part, above 0 to 1, of the gate's limits that the search may use.
        search_pairs: how many calibration pairs score each set of blocks.
        half: type what is not quantised as half, for TensorRT 10 and later; else it is FP32, which
            TensorRT 8.6 lowers to half by itself.
    """

    calibration: Path
    held_out: tuple[Path, ...] = ()
    ranges: RangeMethod = "mse"
    correct_bias: bool = True
    budget: float = 0.7
    search_pairs: int = 4
    half: bool = False

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        _require_choice("ranges", self.ranges, RANGE_METHODS)
        if not 0 < self.budget <= 1:
            raise ExportError(f"budget is {self.budget}; it must be above 0 and at most 1")
        if self.search_pairs < 1:
            raise ExportError(f"search_pairs is {self.search_pairs}; it must be at least 1")


@dataclass(frozen=True, slots=True)
class RigOptions:
    """Say whose raw pictures an artefact takes, to rectify them in its graph.

    Attributes:
        calibration: the calibration's file, or both of a pair; of raw pictures.
        size: (height, width) of the raw pictures; None: the calibration's.
        baseline_m: in metres, where the file has none or an unclear unit.
    """

    calibration: tuple[Path, ...]
    size: tuple[int, int] | None = None
    baseline_m: float | None = None

    def __post_init__(self) -> None:
        """Refuse a size that no camera has."""
        if self.size is not None and min(self.size) < SIZE_MULTIPLE:
            raise ExportError(
                f"the raw size is {self.size[0]}x{self.size[1]}; both sides must be at least "
                f"{SIZE_MULTIPLE} pixels: give --camera-size as HEIGHTxWIDTH of the pictures"
            )


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Say which model becomes which artefact.

    Attributes:
        model: name of the network, one of `litestereo.models.MODEL_NAMES`.
        weights: checkpoint (.pth, .pt, .safetensors or one of our FP32 .onnx artefacts);
            None takes the weights that ship with the package.
        weights_source: where the weights came from, for the manifest; None says the file's name.
        height: fixed height in pixels; None, together with `width`, keeps both dynamic.
        width: fixed width in pixels.
        precision: "fp32", "fp16" for a typed half-precision graph with FP32 islands, or "int8" for
            explicit Q/DQ on the convolutions that can bear it.
        int8: of precision "int8": calibration, ranges, budget.
        rig: take this rig's raw pictures; without height and width at about their own size.
        half_weights: store the weights as float16 (FP32 graph).
        refiner_passes: how often the refiner looks, where the weights have one; 0 leaves it out.
        exporter: which of torch's exporters traces the network.
        pair: left and right picture for the gate; None takes the bundled pair.
        gate: compare the artefact with torch before it is written.

    Raises:
        ExportError: when a field, or a combination of fields, cannot be exported.
    """

    model: str = "las1"
    weights: Path | None = None
    weights_source: str | None = None
    height: int | None = None
    width: int | None = None
    precision: Precision = "fp32"
    half_weights: bool = False
    refiner_passes: int = REFINER_PASSES
    exporter: Exporter = "torchscript"
    pair: tuple[Path, Path] | None = None
    gate: bool = True
    int8: Int8Options | None = None
    rig: RigOptions | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be exported before anything heavy is imported."""
        _require_choice("model", self.model, MODEL_NAMES)
        _require_choice("precision", self.precision, get_args(Precision))
        _require_choice("exporter", self.exporter, get_args(Exporter))
        if (self.height is None) != (self.width is None):
            raise ExportError(
                f"height is {self.height} and width is {self.width}; a fixed size needs both. "
                "Give --height and --width, or neither for a dynamic size"
            )
        for name, value in (("height", self.height), ("width", self.width)):
            _require_size(name, value)
        if not 0 <= self.refiner_passes <= MOST_REFINER_PASSES:
            raise ExportError(
                f"refiner passes {self.refiner_passes} must be 0 to {MOST_REFINER_PASSES}; 0 "
                "leaves it out"
            )
        if self.half_weights and self.precision != "fp32":
            raise ExportError(
                f"half_weights stores an FP32 graph's weights in half, and an {self.precision} "
                "graph stores its own way; choose one of the two"
            )
        if self.precision == "int8" and self.exporter == "dynamo":
            raise ExportError(
                "INT8 tells what must stay in floating point by the names that the torchscript "
                "exporter gives, and dynamo gives others; leave --exporter out"
            )
        if (self.int8 is None) == (self.precision == "int8"):
            raise ExportError(
                "INT8 is calibrated with real pairs, never with made-up ones: precision int8 needs "
                "--calibration SET (make one with stereo-calibrate), and --calibration --int8"
            )

    @property
    def size(self) -> tuple[int, int] | None:
        """The fixed (height, width) in pixels, or None when both are dynamic."""
        return None if self.height is None or self.width is None else (self.height, self.width)

    @property
    def file_name(self) -> str:
        """The artefact's usual name, such as `las1_fp32.onnx` or `las1_384x1248_fp16.onnx`."""
        size = "" if self.size is None else f"_{self.height}x{self.width}"
        rig = "" if self.rig is None else f"_{self.rig.calibration[0].stem}"
        rest = "_fp16" if self.int8 is not None and self.int8.half else ""
        rest = "_half_weights" if self.half_weights else rest
        rest += "" if self.refiner_passes == REFINER_PASSES else f"_{self.refiner_passes}_passes"
        return f"{self.model}{rig}{size}_{self.precision}{rest}.onnx"


def _require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise when `value` is not one of `choices`."""
    if value not in choices:
        raise ExportError(f"{name} is {value!r}; choose one of: {', '.join(choices)}")


def _require_size(name: str, value: int | None) -> None:
    """Raise when a fixed size cannot pass through the networks."""
    if value is None or (value % SIZE_MULTIPLE == 0 and value >= _SMALLEST_PX):
        return
    nearest = max(_SMALLEST_PX, -(-value // SIZE_MULTIPLE) * SIZE_MULTIPLE)
    raise ExportError(
        f"{name} is {value}; it must be a multiple of {SIZE_MULTIPLE} and at least {_SMALLEST_PX} "
        f"pixels. Use {nearest} (stereo-run takes smaller pictures to it and back by itself)"
    )
