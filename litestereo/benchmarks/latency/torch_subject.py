"""A network in torch: eager, under autocast, compiled; on a GPU timed by its own events."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from litestereo import models
from litestereo.assets import artifact_path
from litestereo.benchmarks.latency.subjects import (
    DeviceTimes,
    Iteration,
    SubjectInfo,
    SubjectSpec,
    device_stages,
    file_sha256,
)
from litestereo.benchmarks.torch_device import usable_device
from litestereo.runtime.preprocess import (
    Frame,
    disparity_from_padded,
    map_from_padded,
    padded_pair,
    rgb_pair,
)
from litestereo.runtime.tensorrt.artifact import read_artifact

__all__ = ["TorchSubject"]


class TorchSubject:
    """A network of `litestereo.models` with the weights of an artefact."""

    def __init__(
        self, spec: SubjectSpec, *, device: str = "cpu", threads: int | None = None
    ) -> None:
        """Load the weights; compiling waits for the first pair.

        Args:
            spec: what to time.
            device: such as "cpu" or "cuda:1".
            threads: of the CPU; None leaves the choice to the library.

        Raises:
            LiteStereoError: no such weights or device.
        """
        path = artifact_path(spec.model)
        name = spec.model if spec.model in models.MODEL_NAMES else _model_name(path)
        self._device = usable_device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        network = models.create(name)
        models.load_weights(network, path)
        self._name, self._spec, self._sha256 = name, spec, file_sha256(path)
        self._network = network.eval().to(self._device)
        if "compile" in spec.variant:
            self._network = torch.compile(self._network, mode="reduce-overhead")  # type: ignore[assignment]
        self._half = torch.float16 if self._device.type == "cuda" else torch.bfloat16
        self._clock = _EventClock() if self._device.type == "cuda" else _WallClock()
        self._staging: _Staging | None = None
        self._size = (0, 0)

    def __call__(self, left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> Iteration:
        """Match a pair.

        Args:
            left: (H, W, 3) uint8 RGB, rectified.
            right: same of the right camera.
        """
        start = time.perf_counter()
        padded_left, padded_right, frame = padded_pair(*rgb_pair(left, right))
        prepared = time.perf_counter()
        disparity, confidence, stages_ms = self._infer(padded_left, padded_right, frame)
        inferred = time.perf_counter()
        disparity_px = disparity_from_padded(disparity, frame)
        map_from_padded(confidence, frame)
        end = time.perf_counter()
        stages_ms.update(
            preprocess=1e3 * (prepared - start),
            inference=1e3 * (inferred - prepared),
            postprocess=1e3 * (end - inferred),
            total=1e3 * (end - start),
        )
        return Iteration(stages_ms, disparity_px)

    @property
    def info(self) -> SubjectInfo:
        """What runs; TF32 is said, because "float32" on a GPU often is not."""
        autocast = "autocast" in self._spec.variant
        tf32 = self._device.type == "cuda" and torch.backends.cudnn.allow_tf32
        full = "fp32, tf32 convolutions" if tf32 else "fp32"
        precision = f"autocast {str(self._half).removeprefix('torch.')}" if autocast else full
        details = {"variant": self._spec.variant, "threads": str(torch.get_num_threads())}
        if self._device.type == "cuda":
            details |= {
                "tf32 convolutions": str(torch.backends.cudnn.allow_tf32),
                "tf32 matmul": str(torch.backends.cuda.matmul.allow_tf32),
                "cudnn benchmark": str(torch.backends.cudnn.benchmark),
                "cuda": str(torch.version.cuda),
                "cudnn": str(_cudnn_version()),
            }
        name = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "cpu"
        return SubjectInfo(
            model=self._name,
            backend="torch",
            device=name,
            precision=precision,
            inference_size=self._size,
            artifact_sha256=self._sha256,
            details=details,
        )

    def close(self) -> None:
        """Drop the network and give the GPU's memory back."""
        del self._network
        self._staging = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _infer(
        self, left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8], frame: Frame
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], dict[str, float]]:
        """Run the network; the mark between any two steps is the device's event or the time."""
        if self._staging is None or self._size != frame.padded_size:
            self._size = frame.padded_size
            self._staging = _Staging(frame.padded_size, self._device)
        staging, clock = self._staging, self._clock
        staging.fill(left, right)
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, self._half, enabled="autocast" in self._spec.variant),
        ):
            clock.mark(0)
            pictures = staging.to_device()
            clock.mark(1)
            submitted = time.perf_counter()
            disparity, confidence = self._network(*(picture.float() for picture in pictures))
            enqueue_ms = 1e3 * (time.perf_counter() - submitted)
            clock.mark(2)
            staging.to_host(disparity, confidence)
            clock.mark(3)
        return *staging.answer(), clock.stages_ms(enqueue_ms)


class _Staging:
    """Buffers of one size, pinned for a GPU, so that copies are what a robot's would be."""

    def __init__(self, size: tuple[int, int], device: torch.device) -> None:
        self._device = device
        pinned = device.type == "cuda"
        self._pictures = [
            torch.empty(*size, 3, dtype=torch.uint8, pin_memory=pinned) for _ in range(2)
        ]
        self._maps = [torch.empty(size, pin_memory=pinned) for _ in range(2)]

    def fill(self, left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> None:
        for buffer, picture in zip(self._pictures, (left, right), strict=True):
            np.copyto(buffer.numpy(), picture)

    def to_device(self) -> list[torch.Tensor]:
        """Return (1, 3, H, W) uint8 on the device."""
        return [
            picture.to(self._device, non_blocking=True).permute(2, 0, 1)[None]
            for picture in self._pictures
        ]

    def to_host(self, *outputs: torch.Tensor) -> None:
        for buffer, output in zip(self._maps, outputs, strict=True):
            buffer.copy_(output[0, 0], non_blocking=True)

    def answer(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return the maps; valid once the device is through."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        disparity, confidence = (buffer.numpy() for buffer in self._maps)
        return disparity, confidence


class _WallClock:
    """Without a device there is one clock, the host's, and nothing to tell besides."""

    def mark(self, index: int) -> None:
        pass

    def stages_ms(self, enqueue_ms: float) -> dict[str, float]:
        return {}


class _EventClock:
    """CUDA events on the current stream: what the device did between the marks."""

    def __init__(self) -> None:
        self._events = [
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(4)
        ]

    def mark(self, index: int) -> None:
        self._events[index].record()

    def stages_ms(self, enqueue_ms: float) -> dict[str, float]:
        """Return the stages; the device is through by now."""
        start, copied, computed, end = self._events
        return device_stages(
            DeviceTimes(
                host_to_device_ms=start.elapsed_time(copied),
                enqueue_ms=enqueue_ms,
                compute_ms=copied.elapsed_time(computed),
                device_to_host_ms=computed.elapsed_time(end),
            )
        )


def _model_name(path: Path) -> str:
    """Return the network that an artefact says it is of.

    Raises:
        EngineError: the file has no manifest.
    """
    return read_artifact(path).manifest.model


def _cudnn_version() -> int | None:
    version: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return version
