"""Say from the engine itself what precision its layers ran in, and whether that was asked for.

The engine inspector writes JSON whose keys changed between versions. 8.6 gives each tensor a
"Format/Datatype" such as "Channel major FP16 format where C % 8 == 0", 10 also the short "Half",
and 11 a "DataType" of its own (NVIDIA's guide "Migrating IEngineInspector Usage from TensorRT 10.x
to 11.x"). A layer counts as INT8 if it reads INT8, and else by the narrowest floating type that it
writes (or, where it writes INT8 only, reads); layers that only convert, quantise, copy or hold
constants, and layers without floats, do not count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from litestereo.errors import EngineError
from litestereo.runtime.manifest import Precision
from litestereo.runtime.reading import json_from
from litestereo.runtime.tensorrt.library import own_words
from litestereo.runtime.tensorrt.session import sized_context

__all__ = ["Attestation", "attest", "read_inspection"]

# Narrowest first. Words are matched whole, as "Int8" must not be found in "Uint8".
_TYPES = {
    "int8": ("int8", "i8"),
    "fp16": ("fp16", "half", "float16"),
    "bf16": ("bf16", "bfloat16"),
    "fp32": ("fp32", "float", "float32"),
}
# Layers that move or convert and do not compute, by their type in the inspector's words.
_MOVERS = frozenset(
    {
        *("reformat", "noop", "constant", "cast", "shapecall", "signal", "wait"),
        *("quantize", "dequantize"),
    }
)
# Ends of the names that stereo-export gives to nodes that only quantise.
_QUANTIZERS = ("/Quantize", "/Dequantize")
_WORD = re.compile(r"[a-z0-9]+")
_POINTWISE = re.compile(r"PWN\(|\)")
_ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
# An engine that ignores the graph's types has no half layer at all; fusion merges FP32 and half
# layers unevenly, so that shares of nodes and of layers are never quite the same.
_LEAST_OF_ASKED = 0.5


@dataclass(frozen=True, slots=True)
class Attestation:
    """What an engine's layers compute in.

    Attributes:
        layers: layers that count, by "fp16", "fp32", "int8" or "bf16".
        outputs: tensors that these layers write, by the same.
        uncounted: layers that do not count.
        narrowed: layers of FP32 islands only that nevertheless write half precision.
    """

    layers: Mapping[str, int]
    outputs: Mapping[str, int]
    uncounted: int
    narrowed: tuple[str, ...] = ()

    def share(self, kind: str) -> float:
        """Return the share, 0 to 1, of the layers that count.

        Args:
            kind: such as "fp16".
        """
        total = sum(self.layers.values())
        return self.layers.get(kind, 0) / total if total else 0.0

    @property
    def precision(self) -> Precision:
        """What the engine is called: by the narrowest type that one layer computes in."""
        if self.layers.get("int8", 0):
            return "int8"
        return "fp16" if self.layers.get("fp16", 0) else "fp32"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, shares included."""
        shares = {kind: round(self.share(kind), 4) for kind in self.layers}
        return {**asdict(self), "share": shares, "narrowed": list(self.narrowed)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Attestation:
        """Read what `to_json` wrote.

        Args:
            data: that mapping.

        Raises:
            EngineError: it is something else.
        """
        try:
            return cls(
                {str(kind): int(count) for kind, count in data["layers"].items()},
                {str(kind): int(count) for kind, count in data["outputs"].items()},
                int(data["uncounted"]),
                tuple(str(name) for name in data["narrowed"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise EngineError(
                f"the engine's attestation cannot be read: {error!r}; remove the engine from the "
                "cache"
            ) from error

    def __str__(self) -> str:
        """Return e.g. "81% fp16, 19% fp32 of 312 layers"."""
        kinds = [kind for kind in self.layers if self.layers[kind]]
        shares = ", ".join(f"{self.share(kind):.0%} {kind}" for kind in kinds)
        return f"{shares or 'no floats'} of {sum(self.layers.values())} layers"

    def require(
        self, precision: Precision, *, half_share: float, name: str, int8_nodes: int = 0
    ) -> None:
        """Refuse an engine that does not compute in what its graph asks for.

        Args:
            precision: of the graph.
            half_share: share of the graph's floating nodes that are half, 0 to 1.
            name: of the engine, for the message.
            int8_nodes: how many convolutions of the graph are quantised.

        Raises:
            EngineError: too few layers of what is asked for, any in an FP32 graph, or half in an
                FP32 island.
        """
        if not sum(self.layers.values()):
            raise EngineError(
                f"the inspector tells no precision of {name}'s layers, so what was built is "
                "unknown; build with attest=False to use it all the same"
            )
        wrong = ""
        if precision == "fp32" and self.share("fp32") < 1:
            wrong = "an FP32 graph must be FP32 throughout"
        elif precision == "fp16" and not self.layers.get("fp16", 0):
            wrong = "not one layer is half"
        elif precision == "fp16" and self.share("fp16") < _LEAST_OF_ASKED * half_share:
            least = _LEAST_OF_ASKED * half_share
            wrong = f"half the graph's share of fp16, {least:.0%}, is the least"
        elif precision == "int8" and self.layers.get("int8", 0) < _LEAST_OF_ASKED * int8_nodes:
            found = self.layers.get("int8", 0)
            wrong = f"{found} layers are INT8 for {int8_nodes} quantised convolutions"
        elif precision == "int8" and not self.layers.get("int8", 0):
            wrong = "not one layer is INT8"
        elif self.narrowed:
            wrong = f"FP32 islands were narrowed to half: {', '.join(self.narrowed[:3])}"
        if wrong:
            raise EngineError(
                f"{name} was built as {self}, and {precision} was asked for: {wrong}. The engine "
                "is not used; report it with TensorRT's version, or build with attest=False to look"
            )


def attest(
    trt: Any,  # noqa: ANN401 - the module
    engine: Any,  # noqa: ANN401
    *,
    islands: Collection[str] = (),
    size: tuple[int, int] | None = None,
) -> Attestation:
    """Return what an engine's layers compute in; `islands` are the nodes kept in FP32.

    Args:
        trt: the module `tensorrt`, or a sibling of it.
        engine: an ICudaEngine, built with details.
        islands: names of ONNX nodes that must compute in FP32.
        size: (height, width) to look at an engine of several sizes with: the inspector tells no
            format of a layer whose shapes are open (IEngineInspector::setExecutionContext).

    Raises:
        EngineError: the inspector's words cannot be read, or the engine does not take the size.
    """
    inspector = engine.create_engine_inspector()
    context = None if size is None else _context_of(trt, engine, size)
    if context is not None:
        inspector.execution_context = context
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    del inspector, context  # in this order
    return read_inspection(text, islands=islands)


def _context_of(trt: Any, engine: Any, size: tuple[int, int]) -> Any:  # noqa: ANN401
    """Return an execution context whose pictures are of `size`, and which knows all its shapes."""
    words = own_words(trt)[1]
    try:
        context = sized_context(engine, size, words=words)
        if unknown := _open_shapes(context):
            del context  # now: the error's traceback would let it outlive its engine
            raise EngineError(f"the shapes of {unknown} stay open: {words.words()}")
        return context
    except EngineError as error:
        raise EngineError(
            f"the engine cannot be looked at with pictures of {size[0]}x{size[1]}: {error}; free "
            "GPU memory, or build with attest=False"
        ) from error


def _open_shapes(context: Any) -> str:  # noqa: ANN401
    """Infer a context's shapes, and say which stay open.

    TensorRT 8.6 tells formats of a context only after this; setting the shapes is not enough.
    """
    try:
        return ", ".join(context.infer_shapes())
    except RuntimeError as error:
        return f"all tensors ({error})"


def read_inspection(text: str, *, islands: Collection[str] = ()) -> Attestation:
    """Return what the inspector's JSON says, of any version.

    Args:
        text: of `get_engine_information`.
        islands: names of ONNX nodes that must compute in FP32.

    Raises:
        EngineError: it is no JSON, or the engine was built without details.
    """
    try:
        data = json_from(text, strict=False)  # 8.6 leaves control characters in layers' names
    except ValueError as error:
        raise EngineError(
            f"the engine inspector's JSON cannot be read: {error}; report it with TensorRT's "
            "version"
        ) from error
    layers = data.get("Layers") if isinstance(data, dict) else data
    if not isinstance(layers, list) or not all(isinstance(entry, dict) for entry in layers):
        raise EngineError(
            "the engine inspector gives no details of the layers: the engine must be built with "
            "the profiling verbosity DETAILED, as litestereo does"
        )
    counted, outputs, narrowed = Counter[str](), Counter[str](), []
    for entry in layers:
        kinds = [] if _moves(entry) else [k for k in map(_kind, _tensors(entry, "Outputs")) if k]
        computes = _computes(kinds, [k for k in map(_kind, _tensors(entry, "Inputs")) if k])
        if computes is None:
            continue
        counted[computes] += 1
        outputs.update(kinds)
        if "fp32" not in kinds and islands and _nodes(entry) and _nodes(entry) <= set(islands):
            narrowed.append(str(entry.get("Name", "?")))
    uncounted = len(layers) - sum(counted.values())
    return Attestation(dict(counted), dict(outputs), uncounted, tuple(narrowed))


def _moves(entry: Mapping[str, Any]) -> bool:
    """Say whether a layer only moves, converts or quantises."""
    nodes = _nodes(entry)
    only_quantises = bool(nodes) and all(name.endswith(_QUANTIZERS) for name in nodes)
    return only_quantises or str(entry.get("LayerType", "")).lower() in _MOVERS


def _computes(written: list[str], read: list[str]) -> str | None:
    """Return what a layer computes in, None if it handles no floats."""
    if not written:
        return None
    if "int8" in read:
        return "int8"
    floats = [kind for kind in written if kind != "int8"] or read
    return min(floats or written, key=list(_TYPES).index)


def _tensors(entry: Mapping[str, Any], side: str) -> Iterable[Mapping[str, Any]]:
    found = entry.get(side)
    if not isinstance(found, list):
        return ()
    return (described for described in found if isinstance(described, dict))


def _kind(described: Mapping[str, Any]) -> str | None:
    """Return a tensor's type, None if it is no float and no int8."""
    texts = (str(value) for key, value in described.items() if "datatype" in key.lower())
    words = {word for text in texts for word in _WORD.findall(text.lower())}
    return next((kind for kind, names in _TYPES.items() if words.intersection(names)), None)


def _nodes(entry: Mapping[str, Any]) -> set[str]:
    """Return the names of the ONNX nodes that a layer computes: its metadata, else its name."""
    tagged = _ONNX_LAYER.findall(str(entry.get("Metadata", "")))
    # 8.6 joins fused nodes by " + " and wraps pointwise ones: "PWN(PWN(/Mul), /Add)".
    joined = _POINTWISE.sub("", str(entry.get("Name", "")))
    return {name.strip() for name in tagged or re.split(r" \+ |, ", joined)}
