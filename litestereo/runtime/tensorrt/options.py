"""How a GPU backend builds, caches and runs; nothing here is heavy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from litestereo.errors import InputError
from litestereo.runtime.cuda import Binding
from litestereo.runtime.tensorrt.plugin.library import digest

__all__ = ["BuildOptions", "GpuOptions", "HardwareCompatibility", "SizeRange", "Wait"]

HardwareCompatibility = Literal["none", "ampere_plus", "same_compute_capability"]
"""GPUs that an engine runs on besides the one that it was built on."""

Constraints = Literal["obey", "prefer"]
Wait = Literal["spin", "block"]
"""How the host waits for the GPU: "spin" keeps a core busy, "block" sleeps."""


@dataclass(frozen=True, slots=True)
class SizeRange:
    """The sizes that one engine serves, each (height, width); a fixed size is all three.

    Attributes:
        smallest: least height and width.
        typical: what TensorRT optimises for.
        largest: greatest height and width.
    """

    smallest: tuple[int, int]
    typical: tuple[int, int]
    largest: tuple[int, int]

    def __post_init__(self) -> None:
        """Refuse sizes out of order."""
        for axis, name in enumerate(("height", "width")):
            low, middle, high = self.smallest[axis], self.typical[axis], self.largest[axis]
            if not 0 < low <= middle <= high:
                raise InputError(
                    f"the {name}s {low}, {middle}, {high} of a size range must not fall, and be "
                    "above 0"
                )

    @classmethod
    def fixed(cls, size: tuple[int, int]) -> SizeRange:
        """Return the range that holds one size: TensorRT optimises best for it.

        Args:
            size: (height, width).
        """
        return cls(size, size, size)

    @property
    def is_fixed(self) -> bool:
        """Whether it holds one size only."""
        return self.smallest == self.largest

    def holds(self, size: tuple[int, int]) -> bool:
        """Say whether an engine of this range takes pictures of `size`.

        Args:
            size: (height, width).
        """
        return all(
            low <= length <= high
            for low, length, high in zip(self.smallest, size, self.largest, strict=True)
        )

    def __str__(self) -> str:
        """Return e.g. "384x1248", or "64x64..384x1248 (best at 384x1248)"."""
        smallest, typical, largest = (
            f"{height}x{width}" for height, width in (self.smallest, self.typical, self.largest)
        )
        return largest if self.is_fixed else f"{smallest}..{largest} (best at {typical})"


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How TensorRT builds an engine; every field is part of the cache's key.

    Precision is not here: the artefact's graph says it.

    Attributes:
        optimization_level: 0 (quick build) to 5 (long search).
        workspace_mb: most memory that a layer may use beside its tensors; None: all there is.
        tactic_sources: names of TensorRT's sources of kernels, such as "JIT_CONVOLUTIONS"; names
            that a version does not know are left out; None: its own choice.
        max_aux_streams: streams that one inference may use beside its own; 0 is steadiest.
        tf32: let FP32 layers multiply in TF32 (Ampere and later): faster, 10 bits of mantissa.
        version_compatible: make an engine that the next major version loads, too; slower.
        exclude_lean_runtime: leave the lean runtime out of such an engine; a lean or full runtime
            must then be installed where it runs.
        hardware_compatibility: GPUs that the engine runs on besides this one; slower.
        constraints: what TensorRT 8.6 does with the FP32 islands: "obey" fails where it cannot,
            "prefer" computes as it likes, and INT8 is always built so. Later versions always obey.
        attest: fail when the engine's precision is not what the graph asks for.
        plugin: compiled plugin that computes each ConvNeXt block of an FP16 graph in one kernel;
            "auto": the one in the cache folder, if one was compiled; None: TensorRT's own layers.
    """

    optimization_level: int = 3
    workspace_mb: int | None = None
    tactic_sources: tuple[str, ...] | None = None
    max_aux_streams: int = 0
    tf32: bool = False
    version_compatible: bool = False
    exclude_lean_runtime: bool = False
    hardware_compatibility: HardwareCompatibility = "none"
    constraints: Constraints = "obey"
    attest: bool = True
    plugin: Path | Literal["auto"] | None = "auto"

    def __post_init__(self) -> None:
        """Refuse values that TensorRT would refuse an hour later."""
        if not 0 <= self.optimization_level <= 5:
            raise InputError(f"optimization_level is {self.optimization_level}; it must be 0 to 5")
        if self.workspace_mb is not None and self.workspace_mb < 1:
            raise InputError(f"workspace_mb is {self.workspace_mb}; it must be at least 1")
        if self.max_aux_streams < 0:
            raise InputError(f"max_aux_streams is {self.max_aux_streams}; it must be at least 0")
        _require("hardware_compatibility", self.hardware_compatibility, HardwareCompatibility)
        _require("constraints", self.constraints, Constraints)
        if self.exclude_lean_runtime and not self.version_compatible:
            raise InputError(
                "exclude_lean_runtime only makes sense with version_compatible; set both or neither"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON values, for the engine's sidecar and the cache's key."""
        plugin = digest(self.plugin) if isinstance(self.plugin, Path) else self.plugin
        return {**asdict(self), "plugin": plugin}


@dataclass(frozen=True, slots=True)
class GpuOptions:
    """How a GPU backend runs.

    Attributes:
        device_index: which GPU.
        binding: package for GPU memory: "pycuda", "cuda-bindings", or "auto" for what is there.
        cuda_graph: replay a CUDA graph instead of enqueuing each layer; needs cuda-bindings, and
            without it layers are enqueued.
        zero_copy: let the GPU work in the host's memory; None: where they share it (Jetson).
        wait: how the host waits for an answer: "spin" as the driver does by itself, which answers
            soonest and keeps a core busy, or "block", asleep: a robot's cores have other work.
        size_range: sizes that one engine serves; None: one engine for each size that comes.
        cache_dir: folder of the engines; None: the user's cache folder.
        build: how engines are built.
        progress: told in one line what takes long: a build, another process's build.
    """

    device_index: int = 0
    binding: Binding = "auto"
    cuda_graph: bool = True
    zero_copy: bool | None = None
    wait: Wait = "spin"
    size_range: SizeRange | None = None
    cache_dir: Path | None = None
    build: BuildOptions = field(default_factory=BuildOptions)
    progress: Callable[[str], None] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Refuse values that no GPU can take."""
        if self.device_index < 0:
            raise InputError(f"device_index is {self.device_index}; GPUs are counted from 0")
        _require("binding", self.binding, Binding)
        _require("wait", self.wait, Wait)

    def say(self, line: str) -> None:
        """Pass a line to whoever listens.

        Args:
            line: for a person.
        """
        if self.progress is not None:
            self.progress(line)


def _require(name: str, value: str, choices: object) -> None:
    """Raise when `value` is not one of a Literal's."""
    if value not in get_args(choices):
        raise InputError(f"{name} is {value!r}; it must be one of {', '.join(get_args(choices))}")
