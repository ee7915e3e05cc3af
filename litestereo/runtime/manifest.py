"""The manifest that every artefact carries: what it is, what it takes and how it was proven.

It is JSON in the ONNX file's metadata under `METADATA_KEY`, so that ONNX Runtime alone can read it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from litestereo.errors import EngineError
from litestereo.runtime.reach import STEP_PX
from litestereo.runtime.reading import json_from

__all__ = [
    "FORMAT_VERSION",
    "METADATA_KEY",
    "MOST_REFINER_PASSES",
    "InputSpec",
    "Manifest",
    "Precision",
]

FORMAT_VERSION = 1
METADATA_KEY = "litestereo"
MOST_REFINER_PASSES = 4
Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What both inputs are: uint8 RGB (height, width, 3); None is a size chosen at each call.

    Attributes:
        height: None where it may differ from call to call.
        width: likewise.
        multiple_of: that height and width must be.
        layout: order of the axes.
        dtype: of the numbers.
        color: order of the channels.
    """

    height: int | None = None
    width: int | None = None
    multiple_of: int = 32
    layout: str = "HWC"
    dtype: str = "uint8"
    color: str = "RGB"

    def __post_init__(self) -> None:
        """Refuse a layout that the runtime cannot feed, and sizes that do not fit the network."""
        if (self.layout, self.dtype, self.color) != ("HWC", "uint8", "RGB"):
            raise EngineError(
                f"the artefact takes {self.dtype} {self.color} {self.layout}; this litestereo "
                "feeds uint8 RGB HWC: export it again with this version"
            )
        if self.multiple_of < 1:
            raise EngineError(
                f"manifest input.multiple_of is {self.multiple_of}; it must be >= 1: export it "
                "again"
            )
        if (self.height is None) != (self.width is None):
            raise EngineError(
                f"manifest input is {self.height} x {self.width}; both sizes are fixed or neither: "
                "export it again"
            )
        if self.height is not None and self.width is not None:
            fits = self.height % self.multiple_of == 0 and self.width % self.multiple_of == 0
            if not fits or min(self.height, self.width) < self.multiple_of:
                raise EngineError(
                    f"manifest input is {self.height}x{self.width}; both must be positive "
                    f"multiples of {self.multiple_of}: export it again"
                )

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """(height, width) of a fixed-size artefact, None when the size is dynamic."""
        if self.height is None or self.width is None:
            return None
        return self.height, self.width


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an artefact says about itself.

    Attributes:
        model: name of the network, e.g. "las1".
        litestereo_version: version that exported it.
        weights_sha256: of the weights file or state that was exported.
        weights_source: free text, where the weights came from.
        precision: of the graph's arithmetic.
        opset: ONNX opset of the graph.
        input: format and size of `left` and `right`.
        disparity_range_px: (first, end) of the disparities that are searched, at input size; the
            last step, and so the largest answer, is `reach_px`.
        outputs: names of the outputs, in order.
        tools: name -> version of what made the file.
        parity: report of the parity gate; empty when it did not run.
        graph_sha256: of the graph, None when it was not taken.
        precision_map: of an FP16 or INT8 graph: nodes by type, and the FP32 islands with their
            nodes and reasons; empty for FP32.
        quantization: of an INT8 graph: the calibration set's hash, how ranges were taken, which
            blocks are in 8 bits and why others are not; empty for others.
        rectification: of an artefact that takes raw pictures: the rig, the calibration's hash and
            the answers' size, as `GraphRectification` reads them; empty for others.
        half_weights: an FP32 graph whose weights were rounded to half, and are stored so; False
            also where a manifest does not say.
        refiner_passes: how often the refiner looks, 0 without one; None where a manifest does not
            say, as earlier versions' do not.
        format_version: of this manifest.
    """

    model: str
    litestereo_version: str
    weights_sha256: str
    weights_source: str
    precision: Precision
    opset: int
    input: InputSpec
    disparity_range_px: tuple[float, float] = (0.0, 192.0)
    outputs: tuple[str, ...] = ("disparity", "confidence")
    tools: Mapping[str, str] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)
    graph_sha256: str | None = None
    precision_map: Mapping[str, Any] = field(default_factory=dict)
    quantization: Mapping[str, Any] = field(default_factory=dict)
    rectification: Mapping[str, Any] = field(default_factory=dict)
    half_weights: bool = False
    refiner_passes: int | None = None
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        """Refuse values that no artefact of this format can have."""
        if self.precision not in get_args(Precision):
            known = ", ".join(get_args(Precision))
            raise EngineError(
                f"manifest precision is {self.precision!r}; it must be one of {known}: export it "
                "again"
            )
        low, high = self.disparity_range_px
        if not 0 <= low < high:
            raise EngineError(
                f"manifest disparity_range_px is [{low}, {high}]; need 0 <= low < high: export it "
                "again"
            )
        if self.refiner_passes is not None and not 0 <= self.refiner_passes <= MOST_REFINER_PASSES:
            raise EngineError(
                f"manifest refiner_passes is {self.refiner_passes}; it must be 0 to "
                f"{MOST_REFINER_PASSES}: export it again"
            )
        if self.rectification and (self.input.fixed_size is None or self.answer_size is None):
            raise EngineError(
                "the manifest says that the artefact rectifies, but not from which size to which; "
                "export it again"
            )

    @property
    def reach_px(self) -> float:
        """The largest disparity that the network can answer, at input size."""
        return max(self.disparity_range_px[1] - STEP_PX, STEP_PX)

    @property
    def answer_size(self) -> tuple[int, int] | None:
        """(height, width) of the answers where it is not that of the pictures, else None."""
        size = self.rectification.get("size")
        if not (isinstance(size, (list, tuple)) and len(size) == 2):
            return None
        return (size[0], size[1]) if all(type(n) is int and n > 0 for n in size) else None

    def to_json(self) -> str:
        """Return the manifest as one line of JSON with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read a manifest; fields that this version does not know are ignored.

        Args:
            text: as the artefact's metadata have it.

        Raises:
            EngineError: not JSON, another format version, or a field missing or of a wrong type.
        """
        try:
            data = json_from(text)
        except ValueError as error:
            raise EngineError(
                f"the artefact's manifest is not JSON: {error}; export it again"
            ) from error
        if not isinstance(data, dict):
            raise EngineError(
                f"the artefact's manifest is a JSON {type(data).__name__}, not an object: export "
                "it again"
            )
        version = _take(data, "format_version", int)
        if version != FORMAT_VERSION:
            raise EngineError(
                f"the artefact has manifest format {version}, this litestereo reads "
                f"{FORMAT_VERSION}: export it again, or install the version that made it"
            )
        return cls(
            model=_take(data, "model", str),
            litestereo_version=_take(data, "litestereo_version", str),
            weights_sha256=_take(data, "weights_sha256", str),
            weights_source=_take(data, "weights_source", str),
            precision=_take(data, "precision", str),
            opset=_take(data, "opset", int),
            input=_input_spec(_take(data, "input", dict)),
            disparity_range_px=_range_px(_take(data, "disparity_range_px", list)),
            outputs=_names(_take(data, "outputs", list)),
            tools=_take(data, "tools", dict),
            parity=_take(data, "parity", dict, default={}),
            graph_sha256=_take(data, "graph_sha256", str, default=None),
            precision_map=_take(data, "precision_map", dict, default={}),
            quantization=_take(data, "quantization", dict, default={}),
            rectification=_take(data, "rectification", dict, default={}),
            half_weights=_take(data, "half_weights", bool, default=False),
            refiner_passes=_take(data, "refiner_passes", int, default=None),
        )


_REQUIRED = object()


def _take(data: Mapping[str, Any], key: str, kind: type, *, default: object = _REQUIRED) -> Any:  # noqa: ANN401 - the caller states the type by `kind`
    """Return `data[key]` checked to be a `kind`; `default` also stands for an explicit null."""
    value = data.get(key)
    if value is None:
        if default is _REQUIRED:
            raise EngineError(
                f"the artefact's manifest has no {key!r}: it was not written by stereo-export, "
                "or is damaged; export it again"
            )
        return default
    # bool is an int to Python, and never what a manifest means by a number.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise EngineError(
            f"the artefact's manifest has {key} = {value!r}; it must be a {kind.__name__}: export "
            "it again"
        )
    return value


def _input_spec(data: Mapping[str, Any]) -> InputSpec:
    return InputSpec(
        height=_take(data, "height", int, default=None),
        width=_take(data, "width", int, default=None),
        multiple_of=_take(data, "multiple_of", int),
        layout=_take(data, "layout", str),
        dtype=_take(data, "dtype", str),
        color=_take(data, "color", str),
    )


def _range_px(values: list[Any]) -> tuple[float, float]:
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(values) != 2 or len(numbers) != 2:
        raise EngineError(
            f"the artefact's manifest has disparity_range_px = {values!r}; it must be two numbers: "
            "export it again"
        )
    # A whole number beyond every float is beyond every disparity too.
    low, high = (min(max(number, -1e9), 1e9) for number in numbers)
    return float(low), float(high)


def _names(values: list[Any]) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise EngineError(
            f"the artefact's manifest has outputs = {values!r}; they must be names: export it again"
        )
    return tuple(values)
