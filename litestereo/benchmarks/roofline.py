"""The roofline of a network: what its graph must compute and move, and the least time that takes.

A floor is no prediction. It takes the largest arithmetic and memory rates of a device as reached
at all times, and launches as free.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from litestereo._version import __version__
from litestereo.benchmarks.envelope import check_header, decode, header
from litestereo.benchmarks.roofline_devices import DEVICES, RooflineDevice
from litestereo.benchmarks.table import format_table
from litestereo.errors import InputError
from litestereo.packages import EXPORT_PACKAGES, require_packages
from litestereo.runtime.files import write_atomic

__all__ = [
    "SCHEMA",
    "Floors",
    "Kernel",
    "Layer",
    "Roofline",
    "SizedRoofline",
    "Traffic",
    "floors_of",
    "roofline_from_json",
    "roofline_of",
    "roofline_table",
    "roofline_text",
    "write_roofline",
]

SCHEMA = "litestereo.roofline"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes that a kernel moves: activations in and out, and weights.

    Attributes:
        inward: bytes of activations that are read.
        outward: bytes of activations that are written.
        weights: bytes of weights that are read.
    """

    inward: int
    outward: int
    weights: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.inward + self.outward + self.weights


@dataclass(frozen=True, slots=True)
class Layer:
    """One node of the graph on its own.

    Attributes:
        name: of the node.
        operator: of ONNX.
        block: part of the network.
        macs: multiply-adds of contractions.
        operations: twice those, or one for each number of another operator.
        half: traffic with activations and weights in FP16.
        full_bytes: all of the traffic in FP32.
    """

    name: str
    operator: str
    block: str
    macs: int
    operations: int
    half: Traffic
    full_bytes: int

    @property
    def intensity(self) -> float:
        """Operations for each byte in FP16."""
        return self.operations / self.half.total if self.half.total else 0.0


@dataclass(frozen=True, slots=True)
class Kernel:
    """What a fusing engine runs at once; `operators` are joined by +, the rest is as in `Layer`.

    Attributes:
        name: of its first node.
        operators: of its nodes.
        block: of the network that it belongs to.
        macs: multiply-adds.
        operations: floating-point operations.
        half: bytes that it moves in FP16.
        full_bytes: bytes that it moves in FP32.
    """

    name: str
    operators: str
    block: str
    macs: int
    operations: int
    half: Traffic
    full_bytes: int


@dataclass(frozen=True, slots=True)
class Floors:
    """The least time on one device, in FP16.

    Attributes:
        device: name in `roofline_devices.DEVICES`.
        unfused_ms: each node a kernel.
        fused_ms: kernels as a fusing engine makes them.
        memory_bound: share of `fused_ms` in kernels that memory bounds, not arithmetic.
        blocks_ms: `fused_ms` by part of the network.
    """

    device: str
    unfused_ms: float
    fused_ms: float
    memory_bound: float
    blocks_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class SizedRoofline:
    """A graph at one size.

    Attributes:
        size: (height, width) of the pictures.
        layers: its nodes.
        kernels: what a fusing engine makes of them.
        floors: of each device.
    """

    size: tuple[int, int]
    layers: tuple[Layer, ...]
    kernels: tuple[Kernel, ...]
    floors: tuple[Floors, ...]

    @property
    def gmacs(self) -> float:
        """1e9 multiply-adds of a pair."""
        return sum(layer.macs for layer in self.layers) / 1e9

    def megabytes(self, *, fused: bool, half: bool = True) -> float:
        """Return what a pair moves, 1e6 bytes.

        Args:
            fused: of the kernels of a fusing engine, instead of every node.
            half: in FP16, instead of FP32.
        """
        parts: Sequence[Layer | Kernel] = self.kernels if fused else self.layers
        return sum(part.half.total if half else part.full_bytes for part in parts) / 1e6


@dataclass(frozen=True, slots=True)
class Roofline:
    """What `stereo-bench roofline` says.

    Attributes:
        subject: model or artefact.
        sizes: one entry for each size that was asked for.
        litestereo_version: what counted.
    """

    subject: str
    sizes: tuple[SizedRoofline, ...]
    litestereo_version: str = __version__

    def to_json(self) -> dict[str, Any]:
        """Return what `json.dumps` takes; its form follows the dataclasses, field for field."""
        return {**header(SCHEMA, SCHEMA_VERSION), **asdict(self)}


def roofline_of(
    subject: str, *, sizes: Sequence[tuple[int, int]], devices: Sequence[RooflineDevice]
) -> Roofline:
    """Count a model or an artefact at each size.

    Args:
        subject: name of a model (random weights where none are bundled: they count alike), or path
            of an artefact.
        sizes: (height, width), multiples of 32.
        devices: whose floors to work out.

    Raises:
        InputError: no such model or file, or a size that it does not take.
        MissingDependencyError: the export extra is not installed.
    """
    from litestereo.models.registry import MODEL_NAMES, SIZE_MULTIPLE

    for height, width in sizes:
        if height % SIZE_MULTIPLE or width % SIZE_MULTIPLE:
            raise InputError(
                f"size is {height}x{width}; both sides must be multiples of {SIZE_MULTIPLE}, such "
                "as 384x1248"
            )
    # Of a file only the graph is read.
    needed = EXPORT_PACKAGES if subject in MODEL_NAMES else ("onnx", "onnxslim")
    require_packages(*needed, purpose="counting a network", extra="export")
    return Roofline(subject, tuple(_sized(subject, size, devices) for size in sizes))


def floors_of(
    layers: Sequence[Layer], kernels: Sequence[Kernel], *, device: RooflineDevice
) -> Floors:
    """Return the least time that a device takes for layers and kernels in FP16.

    Args:
        layers: what is computed node by node.
        kernels: what a fusing engine makes of them.
        device: its arithmetic and its memory.
    """
    blocks_ms: dict[str, float] = {}
    memory_ms = 0.0
    for kernel in kernels:
        took_ms = _floor_ms(kernel, device)
        blocks_ms[kernel.block] = blocks_ms.get(kernel.block, 0.0) + took_ms
        # Arithmetic alone would be quicker.
        if took_ms > 1e3 * kernel.operations / device.half_flops:
            memory_ms += took_ms
    fused_ms = sum(blocks_ms.values())
    return Floors(
        device.name,
        unfused_ms=sum(_floor_ms(layer, device) for layer in layers),
        fused_ms=fused_ms,
        memory_bound=memory_ms / fused_ms if fused_ms else 0.0,
        blocks_ms=blocks_ms,
    )


def _floor_ms(part: Layer | Kernel, device: RooflineDevice) -> float:
    return device.floor_ms(operations=part.operations, traffic_bytes=part.half.total)


def _sized(subject: str, size: tuple[int, int], devices: Sequence[RooflineDevice]) -> SizedRoofline:
    from litestereo.benchmarks.roofline_count import count_kernels, count_layers
    from litestereo.benchmarks.roofline_graph import graph_of

    graph = graph_of(subject, size)
    layers, kernels = count_layers(graph), count_kernels(graph)
    floors = tuple(floors_of(layers, kernels, device=device) for device in devices)
    return SizedRoofline(size, layers, kernels, floors)


def roofline_table(roofline: Roofline, *, layers: bool = False, width: int | None = None) -> str:
    """Return tables for the terminal: parts, or with `layers` every node, then the floors.

    Args:
        roofline: of a model at its sizes.
        layers: show every node.
        width: columns of the terminal; None does not wrap.
    """
    tables = []
    for sized in roofline.sizes:
        title = f"{roofline.subject} {sized.size[0]}x{sized.size[1]}"
        rows = _layer_rows(sized) if layers else _block_rows(sized)
        devices = [DEVICES[floors.device].title for floors in sized.floors]
        headings = [title, "GMAC", "MB", "fused MB", *(f"{name}, ms" for name in devices)]
        if layers:
            headings = [title, "operator", "GMAC", "in MB", "out MB", "weights MB", "op/B"]
            headings += [f"{name}, us" for name in devices]
        tables.append(format_table(headings, rows, width=width))
    return "\n\n".join(tables)


def _block_rows(sized: SizedRoofline) -> list[list[str]]:
    rows = []
    for block in dict.fromkeys(layer.block for layer in sized.layers):
        own = [layer for layer in sized.layers if layer.block == block]
        kernels = [kernel for kernel in sized.kernels if kernel.block == block]
        floors_ms = [floors.blocks_ms.get(block, 0.0) for floors in sized.floors]
        rows.append(
            [
                block,
                f"{sum(layer.macs for layer in own) / 1e9:.2f}",
                f"{sum(layer.half.total for layer in own) / 1e6:.1f}",
                f"{sum(kernel.half.total for kernel in kernels) / 1e6:.1f}",
                *(f"{floor_ms:.3f}" for floor_ms in floors_ms),
            ]
        )
    moved = [f"{sized.megabytes(fused=fused):.1f}" for fused in (False, True)]
    fused = [f"{floors.fused_ms:.3f}" for floors in sized.floors]
    unfused = [f"{floors.unfused_ms:.3f}" for floors in sized.floors]
    counts = f"{len(sized.kernels)} kernels", f"{len(sized.layers)} nodes"
    rows += [[], [f"fused, {counts[0]}", f"{sized.gmacs:.2f}", *moved, *fused]]
    return [*rows, [f"unfused, {counts[1]}", f"{sized.gmacs:.2f}", moved[0], "", *unfused]]


def _layer_rows(sized: SizedRoofline) -> list[list[str]]:
    devices = [DEVICES[floors.device] for floors in sized.floors]
    return [
        [
            layer.name,
            layer.operator,
            f"{layer.macs / 1e9:.3f}",
            f"{layer.half.inward / 1e6:.2f}",
            f"{layer.half.outward / 1e6:.2f}",
            f"{layer.half.weights / 1e6:.2f}",
            f"{layer.intensity:.1f}",
            *(f"{1e3 * _floor_ms(layer, device):.1f}" for device in devices),
        ]
        for layer in sized.layers
    ]


def write_roofline(path: Path, roofline: Roofline) -> Path:
    """Write a roofline as JSON.

    Args:
        path: the file.
        roofline: of a model at its sizes.

    Raises:
        InputError: the place cannot be written.
    """
    return write_atomic(path, (roofline_text(roofline) + "\n").encode())


def roofline_text(roofline: Roofline) -> str:
    """Return a roofline as JSON, one node or kernel on a line.

    Args:
        roofline: of a model at its sizes.
    """
    content = roofline.to_json()
    sizes = ",\n".join(_sized_lines(sized) for sized in content.pop("sizes"))
    return f'{json.dumps(content)[:-1]}, "sizes": [\n{sizes}\n]}}'


def _sized_lines(sized: Mapping[str, Any]) -> str:
    parts = [f'"size": {json.dumps(sized["size"])}']
    for name in ("layers", "kernels", "floors"):
        rows = ",\n".join(json.dumps(row) for row in sized[name])
        parts.append(f'"{name}": [\n{rows}\n]')
    return "{" + ",\n".join(parts) + "}"


def roofline_from_json(content: Mapping[str, Any]) -> Roofline:
    """Return the roofline of which `Roofline.to_json` made `content`.

    Args:
        content: as `json.loads` gives it.

    Raises:
        InputError: a field is missing, unknown or not of its kind, or a floor does not follow.
    """
    check_header(content, SCHEMA, SCHEMA_VERSION, command="stereo-bench roofline")
    body = {name: value for name, value in content.items() if not name.startswith("schema")}
    roofline = decode(Roofline, body, where="roofline")
    for sized in roofline.sizes:
        for floors in sized.floors:
            if floors.device not in DEVICES:
                raise InputError(
                    f"no device is called {floors.device!r}; there is {', '.join(DEVICES)}: count "
                    "again with stereo-bench roofline"
                )
            expected = floors_of(sized.layers, sized.kernels, device=DEVICES[floors.device])
            for name in ("unfused_ms", "fused_ms"):
                told, follows = getattr(floors, name), getattr(expected, name)
                if abs(told - follows) > 1e-6 * follows:
                    raise InputError(
                        f"{floors.device} at {sized.size}: {name} is {told}, but its parts make "
                        f"{follows}: count again with stereo-bench roofline"
                    )
    return roofline
