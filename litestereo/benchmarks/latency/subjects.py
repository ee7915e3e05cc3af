"""What `stereo-bench` can time: networks in torch, every backend of `StereoEngine`, StereoSGBM.

A subject is named on the command line as `MODEL@BACKEND[:VARIANT]`:

    las1@onnxruntime-cpu         a bundled model, any backend of StereoEngine
    out/las1_fp16.onnx@tensorrt  an artefact of one's own; the precision is the artefact's
    las1@tensorrt:enqueue        layers enqueued one by one instead of a CUDA graph's replay
    las1@tensorrt:tf32           FP32 layers may multiply in TF32; so too onnxruntime-cuda:tf32
    las1@torch                   torch eager, float32 as torch has it: TF32 convolutions on a GPU
    las1@torch:autocast          eager under autocast: float16 on a GPU, bfloat16 on a CPU
    las1@torch:compile           torch.compile(mode="reduce-overhead"), float32
    las1@torch:compile-autocast  both
    sgbm                         OpenCV's StereoSGBM, 192 disparities
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt

from litestereo.errors import InputError

if TYPE_CHECKING:
    from litestereo.runtime.backends import BackendOptions

__all__ = [
    "VARIANTS",
    "DeviceTimes",
    "EngineSettings",
    "EngineSubject",
    "Iteration",
    "SgbmSubject",
    "Subject",
    "SubjectInfo",
    "SubjectSpec",
    "TimedBackend",
    "device_stages",
    "file_sha256",
    "open_subject",
    "require_subject",
]

VARIANTS = {
    "torch": ("eager", "autocast", "compile", "compile-autocast"),
    "tensorrt": ("enqueue", "tf32", "enqueue-tf32", "plugin", "enqueue-plugin"),
    "onnxruntime-cuda": ("tf32",),
}


@dataclass(frozen=True, slots=True)
class SubjectSpec:
    """What was typed: `MODEL@BACKEND[:VARIANT]`.

    Attributes:
        label: the whole, a file without its folder and ending.
        model: a bundled model's name, an artefact's path, or "sgbm".
        backend: "torch", "sgbm" or one of `BACKEND_NAMES`.
        variant: one of `VARIANTS[backend]`, or "".
    """

    label: str
    model: str
    backend: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> SubjectSpec:
        """Read what was typed.

        Args:
            text: MODEL@BACKEND, MODEL@BACKEND:VARIANT or sgbm.

        Raises:
            InputError: it has another form, or names an unknown backend or variant.
        """
        from litestereo.runtime.backends import BACKEND_NAMES

        if text == "sgbm":
            return cls("sgbm", "sgbm", "sgbm")
        model, at, runner = text.rpartition("@")
        backend, colon, variant = runner.partition(":")
        known = ("torch", *BACKEND_NAMES)
        if not at or not model or backend not in known:
            raise InputError(
                f"{text!r} is no subject; need MODEL@BACKEND with one of {', '.join(known)}, "
                "or sgbm"
            )
        if colon and variant not in VARIANTS.get(backend, ()):
            there = "; ".join(f"{name} has {', '.join(kinds)}" for name, kinds in VARIANTS.items())
            raise InputError(
                f"{text!r}: {backend} has no variant {variant!r}; {there}; the precision of an "
                "engine is its artefact's"
            )
        name = Path(model).stem if model.endswith(".onnx") else model
        variant = variant or ("eager" if backend == "torch" else "")
        return cls(f"{name}@{runner}", model, backend, variant)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the `tensorrt` subjects run, where the defaults do not do.

    Attributes:
        python: interpreter that has TensorRT; None is this one.
        cache_dir: folder of built engines; None: the user's.
        tactic_sources: see `BuildOptions`.
        optimization_level: see `BuildOptions`.
        plugin: of the subjects with the variant "plugin".
    """

    python: Path | None = None
    cache_dir: Path | None = None
    tactic_sources: tuple[str, ...] | None = None
    optimization_level: int = 3
    plugin: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        paths = {
            name: None if path is None else str(path)
            for name, path in (
                ("python", self.python),
                ("cache_dir", self.cache_dir),
                ("plugin", self.plugin),
            )
        }
        build = {name: getattr(self, name) for name in ("tactic_sources", "optimization_level")}
        return {**paths, **build}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EngineSettings:
        """Read what `to_json` gave.

        Args:
            data: that mapping.
        """
        python, folder, sources = (data[n] for n in ("python", "cache_dir", "tactic_sources"))
        return cls(
            None if python is None else Path(python),
            None if folder is None else Path(folder),
            None if sources is None else tuple(sources),
            data["optimization_level"],
            None if data["plugin"] is None else Path(data["plugin"]),
        )


class DeviceTimes(NamedTuple):
    """What a device's own clock says about the last call, in milliseconds.

    Attributes:
        host_to_device_ms: copying the pictures; 0 where memory is shared.
        enqueue_ms: the host's time to submit the work.
        compute_ms: from the first kernel's start to the last one's end.
        device_to_host_ms: copying the answer.
    """

    host_to_device_ms: float
    enqueue_ms: float
    compute_ms: float
    device_to_host_ms: float


class Iteration(NamedTuple):
    """One timed call.

    Attributes:
        stages_ms: stage -> milliseconds; the names are `receipt.STAGES`.
        disparity_px: (H, W) float32, on the host.
    """

    stages_ms: dict[str, float]
    disparity_px: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SubjectInfo:
    """What runs; see `receipt.SubjectResult`.

    Attributes:
        model: name of the model.
        backend: what runs it.
        device: where.
        precision: that it computes in.
        inference_size: (height, width) that the network sees.
        artifact_sha256: of its file; None where there is none.
        details: what else distinguishes it.
    """

    model: str
    backend: str
    device: str
    precision: str
    inference_size: tuple[int, int]
    artifact_sha256: str | None = None
    details: dict[str, str] = field(default_factory=dict)


class Subject(Protocol):
    """Something that matches pairs and says where the time went."""

    def __call__(self, left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> Iteration:
        """Match a pair of (H, W, 3) uint8 RGB, from the host's memory into the host's memory.

        Args:
            left: (H, W, 3) uint8 RGB, rectified.
            right: same of the right camera.
        """

    @property
    def info(self) -> SubjectInfo:
        """What runs; known after the first call."""

    def close(self) -> None:
        """Free what it holds."""


class TimedBackend(Protocol):
    """A backend on a device that can say what its own clock measured."""

    def device_times(self) -> DeviceTimes | None:
        """Return the times of the last `infer`; None if they were not taken."""


class EngineSubject:
    """A `StereoEngine`, as a robot runs it.

    A backend with a method `device_times` (see `TimedBackend`) tells the stages on its device;
    without it "inference" is all that is known, which on a CPU is all there is.
    """

    def __init__(
        self,
        spec: SubjectSpec,
        *,
        device: str = "cpu",
        threads: int | None = None,
        settings: EngineSettings | None = None,
    ) -> None:
        """Load the artefact; of `device` only the number counts, as in "cuda:1".

        Args:
            spec: what to time.
            device: as in "cuda:1".
            threads: of the CPU; None leaves the choice to the library.
            settings: of the tensorrt subjects; None is the default.

        Raises:
            LiteStereoError: it cannot be loaded here.
        """
        from litestereo.assets import artifact_path
        from litestereo.runtime.backends import open_backend
        from litestereo.runtime.engine import StereoEngine

        path = artifact_path(spec.model)
        self._sha256 = file_sha256(path)
        settings = settings or EngineSettings()
        options = _options(spec, threads, device, settings)
        backend = open_backend(spec.backend, path, options=options)
        self._device_times = getattr(backend, "device_times", None)
        self._engine = StereoEngine(backend)
        self._info: SubjectInfo | None = None
        self._details = {} if threads is None else {"threads": str(threads)}
        if spec.variant:
            self._details["variant"] = spec.variant

    def __call__(self, left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> Iteration:
        """Match a pair.

        Args:
            left: (H, W, 3) uint8 RGB, rectified.
            right: same of the right camera.
        """
        start = time.perf_counter()
        result = self._engine(left, right)
        total_ms = 1e3 * (time.perf_counter() - start)
        if self._info is None:
            self._info = SubjectInfo(
                model=self._engine.manifest.model,
                backend=result.backend,
                device=result.device,
                precision=result.precision,
                inference_size=result.inference_size,
                artifact_sha256=self._sha256,
                details=self._details,
            )
        timings = result.timings
        times = None if self._device_times is None else self._device_times()
        stages_ms = {
            "preprocess": timings.preprocess_ms,
            "inference": timings.inference_ms,
            "postprocess": timings.postprocess_ms,
            "total": total_ms,
            **({} if times is None else device_stages(times)),
        }
        return Iteration(stages_ms, result.disparity_px)

    @property
    def info(self) -> SubjectInfo:
        """What ran in the last call."""
        return _known(self._info)

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


class SgbmSubject:
    """OpenCV's StereoSGBM on 192 disparities, holes filled by nothing."""

    def __init__(self, *, threads: int | None = None) -> None:
        """Prepare; `threads` is set for the whole process, which is how OpenCV has it.

        Args:
            threads: of the CPU; None leaves the choice to the library.
        """
        from litestereo.benchmarks.matchers import SgbmMatcher
        from litestereo.runtime.opencv import import_cv2

        self._matcher = SgbmMatcher()
        self._cv2 = import_cv2("StereoSGBM")
        if threads is not None:
            self._cv2.setNumThreads(threads)
        self._info: SubjectInfo | None = None

    def __call__(self, left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> Iteration:
        """Match a pair; all of it counts as inference.

        Args:
            left: (H, W, 3) uint8 RGB, rectified.
            right: same of the right camera.
        """
        start = time.perf_counter()
        match = self._matcher(left, right)
        total_ms = 1e3 * (time.perf_counter() - start)
        if self._info is None:
            self._info = SubjectInfo(
                model="sgbm",
                backend="opencv",
                device="cpu",
                precision="int16",
                inference_size=cast("tuple[int, int]", left.shape[:2]),
                details={
                    "opencv": self._cv2.__version__,
                    "threads": str(self._cv2.getNumThreads()),
                    "parameters": self._matcher.name,
                },
            )
        return Iteration({"inference": total_ms, "total": total_ms}, match.disparity_px)

    @property
    def info(self) -> SubjectInfo:
        """What ran."""
        return _known(self._info)

    def close(self) -> None:
        """Do nothing: OpenCV holds nothing."""


def open_subject(
    spec: SubjectSpec,
    *,
    device: str = "cpu",
    threads: int | None = None,
    settings: EngineSettings | None = None,
) -> Subject:
    """Load what was typed.

    Args:
        spec: of `SubjectSpec.parse`.
        device: of torch; its number is also the GPU of the engines.
        threads: CPU threads; None leaves it to the subject.
        settings: of the tensorrt subjects.

    Raises:
        LiteStereoError: it cannot be loaded here; nothing takes its place.
    """
    if spec.backend == "sgbm":
        return SgbmSubject(threads=threads)
    if spec.backend == "torch":
        from litestereo.benchmarks.latency.torch_subject import TorchSubject

        return TorchSubject(spec, device=device, threads=threads)
    if spec.backend == "tensorrt" and settings is not None and settings.python is not None:
        from litestereo.benchmarks.latency.elsewhere import ElsewhereSubject

        return ElsewhereSubject(spec, settings=settings, device=device, threads=threads)
    return EngineSubject(spec, device=device, threads=threads, settings=settings)


def require_subject(spec: SubjectSpec) -> None:
    """Raise where a package that a subject needs is not installed; torch is not loaded for it.

    Args:
        spec: of `SubjectSpec.parse`.

    Raises:
        MissingDependencyError: torch, onnx, ONNX Runtime or OpenCV is not installed.
    """
    from litestereo.packages import require_packages
    from litestereo.runtime.opencv import import_cv2

    purpose = f"timing {spec.label}"
    import_cv2(purpose)
    if spec.backend == "torch":
        # Its weights are an artefact's.
        require_packages("torch", "onnx", purpose=purpose, extra="export")
    elif spec.backend.startswith("onnxruntime"):
        extra = "cpu" if spec.backend == "onnxruntime-cpu" else "gpu"
        require_packages("onnxruntime", purpose=purpose, extra=extra)


def file_sha256(path: Path) -> str:
    """Return the hash of a file.

    Args:
        path: the file.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _options(
    spec: SubjectSpec, threads: int | None, device: str, settings: EngineSettings
) -> BackendOptions:
    """Return a backend's options; everything that the variant does not name is the default."""
    from litestereo.runtime.backends import BackendOptions
    from litestereo.runtime.tensorrt.options import BuildOptions, GpuOptions

    number = device.partition(":")[2]
    gpu = GpuOptions(
        device_index=int(number) if number.isdigit() else 0,
        cuda_graph="enqueue" not in spec.variant,
        cache_dir=settings.cache_dir,
        build=BuildOptions(
            tf32="tf32" in spec.variant,
            tactic_sources=settings.tactic_sources,
            optimization_level=settings.optimization_level,
            plugin=settings.plugin if "plugin" in spec.variant else None,
        ),
    )
    return BackendOptions(threads, gpu=gpu)


def device_stages(times: DeviceTimes) -> dict[str, float]:
    """Return stage -> milliseconds; `times` may be any object with those attributes.

    Args:
        times: milliseconds that the device took, by CUDA events.
    """
    return {name.removesuffix("_ms"): float(getattr(times, name)) for name in DeviceTimes._fields}


def _known(info: SubjectInfo | None) -> SubjectInfo:
    if info is None:
        raise InputError("a subject says what it is after its first pair; match one first")
    return info
