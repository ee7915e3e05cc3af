"""The `tensorrt` backend: engines on one GPU behind the runtime's protocol."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import EngineError, InputError
from litestereo.runtime.backends import BackendOptions
from litestereo.runtime.cuda import open_device
from litestereo.runtime.cuda.api import Device
from litestereo.runtime.cuda.gpu_array import GpuArray, gpu_array
from litestereo.runtime.preprocess import frame_for
from litestereo.runtime.tensorrt.artifact import Artifact, read_artifact
from litestereo.runtime.tensorrt.attestation import Attestation
from litestereo.runtime.tensorrt.cache import CachedEngine
from litestereo.runtime.tensorrt.engines import (
    engine_from_artifact,
    engine_name,
    load_plan,
    settled,
)
from litestereo.runtime.tensorrt.library import import_tensorrt, own_words
from litestereo.runtime.tensorrt.options import GpuOptions, SizeRange
from litestereo.runtime.tensorrt.session import DeviceTimes, Session, SessionOptions

__all__ = ["TensorRt", "build_ahead", "load"]

# Sizes that are kept ready; a further one takes the place of the least recently used.
_MOST_SIZES = 4
_DEEP = 2  # pairs on the way at once in a pipeline


@dataclass(slots=True, eq=False)
class _Loaded:
    """A deserialised engine with the runtime that it needs, and the sizes that it takes."""

    runtime: Any
    engine: Any
    sizes: SizeRange

    def drop(self) -> None:
        """Drop the engine, then the runtime."""
        self.engine = None
        self.runtime = None


class TensorRt:
    """A GPU with the engines of one artefact: the backend "tensorrt"; `StereoEngine.load` makes it.

    Safe to call from several threads: calls wait for each other.

    Attributes:
        is_preparing: whether a call gets a size ready just now, as by building its engine.
    """

    name = "tensorrt"

    def __init__(
        self,
        trt: Any,  # noqa: ANN401 - the module
        artifact: Artifact,
        *,
        device: Device,
        options: GpuOptions,
    ) -> None:
        """Take over an open device; a fixed size, or a range, is loaded or built at once.

        Args:
            trt: the module `tensorrt`, or a sibling of it.
            artifact: the artefact, read.
            device: the GPU; `close` closes it too.
            options: how to build and run on the GPU.
        """
        self.manifest = artifact.manifest
        self._trt, self._artifact, self._options = trt, artifact, options
        self._device: Device | None = device
        self._lock = threading.RLock()
        self._engines: list[_Loaded] = []
        self._sessions: OrderedDict[tuple[int, int], tuple[_Loaded, Session]] = OrderedDict()
        self._pipelined: list[Session] = []
        self._lent: list[Session] = []  # closed, but somebody holds arrays of their memory
        self._attested: Attestation | None = None
        self.is_preparing = False
        self._words = _device_words(trt, device)
        try:
            if options.size_range is not None:
                with device.active():
                    self._load_engine(device, options.size_range)
            elif self.fixed_size is not None:
                with device.active():
                    self._session(device, self.fixed_size)
        except BaseException:
            self.close()
            raise

    @property
    def device(self) -> str:
        """The GPU, and what moves its data: the answer to "which path ran"."""
        return self._words

    @property
    def precision(self) -> str:
        """What the engine's layers really compute in; the graph's word before one is loaded."""
        return self._attested.precision if self._attested else self.manifest.precision

    @property
    def attestation(self) -> Attestation | None:
        """What the last loaded engine's layers compute in; None before one is loaded."""
        return self._attested

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The only size that the artefact takes; None: any, each built when it first comes."""
        return self.manifest.input.fixed_size

    def infer(
        self, left: NDArray[np.uint8], right: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return disparity and confidence in host buffers that the next call reuses.

        A call allocates nothing once its size has come before.

        Args:
            left: (H, W, 3) uint8 RGB, rectified and padded to a size that the engine serves.
            right: likewise of the right camera.
        """
        with self._lock:
            device = self._opened()
            with device.active():
                return self._session(device, (left.shape[0], left.shape[1])).infer(left, right)

    def input_buffers(self, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the page-locked memory that pairs of a size are copied to, as two arrays.

        `infer` of these very arrays copies nothing on the host. They stay while they are held.

        Args:
            size: (height, width) that the engine serves; it is built if need be.
        """
        with self._ready() as device:
            return self._session(device, size).inputs

    def device_times(self) -> DeviceTimes | None:
        """Return what the GPU's clock says about the last `infer`; None if that was none."""
        with self._lock:
            device = self._opened()
            if not self._sessions:
                return None
            _, session = next(reversed(self._sessions.values()))
            with device.active():
                return session.device_times()

    def infer_gpu(
        self,
        left: object,
        right: object,
        *,
        stream: int = 0,
        disparity: object | None = None,
        confidence: object | None = None,
    ) -> tuple[GpuArray, GpuArray]:
        """Queue a pair that is already on the GPU; nothing is copied, nothing waited for.

        Args:
            left: (H, W, 3) uint8 RGB on this GPU, C-contiguous, at a size the artefact takes: any
                array with `__cuda_array_interface__` or `__dlpack__`. It must live until the
                stream has passed.
            right: same.
            stream: handle of the caller's stream, e.g. torch.cuda.current_stream().cuda_stream;
                0 is the legacy default stream.
            disparity: (H, W) float32 on this GPU to fill; None: memory that the next call reuses
                and `close` frees.
            confidence: same.

        Returns:
            disparity and confidence, filled once the stream gets there; torch.from_dlpack and
            cupy.asarray read them in place.

        Raises:
            InputError: an array is not on a GPU, or of another shape or type.
            EngineError: TensorRT failed.
        """
        given = {"left": left, "right": right, "disparity": disparity, "confidence": confidence}
        arrays = {
            name: gpu_array(array, stream=stream)
            for name, array in given.items()
            if array is not None
        }
        size = _size_of(arrays["left"], arrays["right"])
        with self._ready() as device:
            return self._session(device, size).infer_gpu(arrays, stream=stream)

    def infer_many(
        self, pairs: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]]
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Yield disparity and confidence of each pair, in order, with two pairs on the way at once.

        While the GPU computes one pair, the next is copied to it and the last one's answer from it:
        more pairs a second, and each answer later. It takes two more contexts' memory until it
        ends. The arrays are valid until the next answer is asked for.

        Args:
            pairs: of one size, prepared as for `infer`.

        Raises:
            InputError: a pair has another size than the first.
            EngineError: the backend is closed, or TensorRT failed.
        """
        sessions: list[Session] = []
        turn, first = 0, None
        try:
            for left, right in pairs:
                size = left.shape[0], left.shape[1]
                first = first or size
                if size != first:
                    raise InputError(
                        f"a pair is {size[0]}x{size[1]} and the first was {first[0]}x{first[1]}; a "
                        "pipeline takes one size"
                    )
                if len(sessions) < _DEEP:
                    sessions.append(self._pipeline_session(size))
                else:
                    yield self._collected(sessions[turn])
                with self._ready():
                    sessions[turn].submit(left, right)
                turn = (turn + 1) % _DEEP
            for session in (*sessions[turn:], *sessions[:turn]):  # the oldest is next in turn
                yield self._collected(session)
        finally:
            self._end_pipeline(sessions)

    @contextmanager
    def _ready(self) -> Iterator[Device]:
        """Hold the lock, with the GPU's context current."""
        with self._lock:
            device = self._opened()
            with device.active():
                yield device

    def _pipeline_session(self, size: tuple[int, int]) -> Session:
        with self._ready() as device:
            self._session(device, size)  # which loads or builds the engine
            session = self._made_session(device, self._sessions[size][0], size)
            self._pipelined.append(session)
            return session

    def _collected(self, session: Session) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with self._ready():
            return session.collect()

    def _end_pipeline(self, sessions: list[Session]) -> None:
        """Free a pipeline's sessions, unless the backend's end has."""
        with self._lock:
            if self._device is None:
                return
            with self._device.active():
                for session in sessions:
                    self._pipelined.remove(session)
                    session.close()
                    self._release(session)

    def profile(self, profiler: Any) -> None:  # noqa: ANN401 - TensorRT's IProfiler
        """Let TensorRT tell `profiler` each layer's time in the calls that follow; needs no graph.

        Args:
            profiler: an IProfiler.

        Raises:
            EngineError: nothing was inferred yet, or a CUDA graph is replayed.
        """
        with self._ready():
            session = next(reversed(self._sessions.values()), (None, None))[1]
            if session is None or session.uses_graph:
                raise EngineError(
                    "layers can be timed after a first call, without a CUDA graph: load with "
                    "cuda_graph=False"
                )
            session.report_to(profiler)

    def close(self) -> None:
        """Drop contexts, then engines, runtimes, memory, and the GPU; closing twice is fine.

        Host memory that somebody still holds stays, and the GPU's context with it.
        """
        with self._lock:
            device, self._device = self._device, None
            if device is None:
                return
            with device.active():
                sessions = [session for _, session in self._sessions.values()]
                sessions += self._pipelined
                self._sessions.clear()
                self._pipelined.clear()
                for session in sessions:
                    session.close()
                for loaded in self._engines:
                    loaded.drop()
                self._engines.clear()
                self._release(*sessions)
            if self._lent:
                _held_for_ever.append((device, self._lent))
            else:
                device.close()

    def _opened(self) -> Device:
        if self._device is None:
            raise EngineError("the tensorrt backend is closed; load it again")
        return self._device

    def _session(self, device: Device, size: tuple[int, int]) -> Session:
        """Return the session of a size, made if need be; the context is current."""
        if size in self._sessions:
            self._sessions.move_to_end(size)
            return self._sessions[size][1]
        self.is_preparing = True
        try:
            return self._new_session(device, size)
        finally:
            self.is_preparing = False

    def _new_session(self, device: Device, size: tuple[int, int]) -> Session:
        self._require_served(size)
        loaded = next((one for one in self._engines if one.sizes.holds(size)), None)
        loaded = loaded or self._load_engine(device, SizeRange.fixed(size))
        try:
            session = self._made_session(device, loaded, size)
        except BaseException:
            # An engine that no session fits beside would only keep the GPU's memory full.
            if loaded.sizes.is_fixed:
                self._engines.remove(loaded)
                loaded.drop()
            raise
        self._sessions[size] = (loaded, session)
        self._words = _device_words(self._trt, device, session)
        if len(self._sessions) > _MOST_SIZES:
            self._forget_oldest()
        return session

    def _require_served(self, size: tuple[int, int]) -> None:
        """Refuse a size that the network does not take, before an engine is built for it."""
        multiple_of = self.manifest.input.multiple_of
        frame = frame_for(size, fixed_size=self.fixed_size, multiple_of=multiple_of)
        if not frame.is_whole:
            needed = f"{frame.padded_size[0]}x{frame.padded_size[1]}"
            takes = needed if self.fixed_size else f"multiples of {multiple_of}"
            raise InputError(
                f"the pair is {size[0]}x{size[1]} and the network takes {takes} only; pad to "
                f"{needed}"
            )

    def _made_session(self, device: Device, loaded: _Loaded, size: tuple[int, int]) -> Session:
        wanted = self._options.zero_copy
        options = SessionOptions(
            size,
            cuda_graph=self._options.cuda_graph,
            zero_copy=device.info.integrated if wanted is None else wanted,
            wait=self._options.wait,
            answer_size=self.manifest.answer_size,
        )
        _, words = own_words(self._trt)
        return Session(self._trt, loaded.engine, device=device, words=words, options=options)

    def _load_engine(self, device: Device, sizes: SizeRange) -> _Loaded:
        """Return the engine for these sizes, out of the cache or built; the context is current."""
        trt, artifact = self._trt, self._artifact
        options = settled(trt, artifact, info=device.info, options=self._options)
        cached = engine_from_artifact(trt, artifact, sizes=sizes, info=device.info, options=options)
        name = engine_name(artifact, sizes)
        foreign, plugin = options.build.version_compatible, options.build.plugin
        runtime, engine = load_plan(trt, cached.plan, name=name, foreign=foreign, plugin=plugin)
        self._attested = Attestation.from_json(cached.facts.get("attestation", {}))
        loaded = _Loaded(runtime, engine, sizes)
        self._engines.append(loaded)
        return loaded

    def _forget_oldest(self) -> None:
        """Free the least recently used size, and its engine if nothing else needs it."""
        size, (loaded, session) = self._sessions.popitem(last=False)
        session.close()
        piped = any(one.size == size for one in self._pipelined)
        if loaded.sizes.is_fixed and not piped:
            self._engines.remove(loaded)
            loaded.drop()
        self._release(session)

    def _release(self, *sessions: Session) -> None:
        """Free closed sessions, and earlier ones whose memory nobody holds any more."""
        self._lent = [one for one in (*self._lent, *sessions) if not one.free()]


# Their memory may still be read or written, so it lives as long as the process.
_held_for_ever: list[tuple[Device, list[Session]]] = []


def _size_of(left: GpuArray, right: GpuArray) -> tuple[int, int]:
    """Return a pair's (height, width); refuse what is no pair before an engine is built for it."""
    if len(left.shape) != 3 or left.shape[2] != 3 or left.dtype != np.uint8:
        raise InputError(
            f"left is {left.dtype} {left.shape}; need uint8 (H, W, 3): RGB, the channels last"
        )
    if right.shape != left.shape or right.dtype != left.dtype:
        raise InputError(
            f"left is {left.dtype} {left.shape} and right {right.dtype} {right.shape}; a pair has "
            "one size and type"
        )
    return left.shape[0], left.shape[1]


def _device_words(trt: Any, device: Device, session: Session | None = None) -> str:  # noqa: ANN401
    info = device.info
    ways = [f"TensorRT {trt.__version__}", device.binding]
    if session is not None:
        ways.append("CUDA graph" if session.uses_graph else "enqueued")
        ways.append("zero-copy" if session.zero_copy else "pinned copies")
        ways += ["asleep while waiting"] if session.waits_asleep else []
    return f"cuda:{info.index} {info.name} {info.sm} ({', '.join(ways)})"


def load(artifact: Path, options: BackendOptions) -> TensorRt:
    """Open `artifact` on a GPU with TensorRT.

    Args:
        artifact: file that `stereo-export` wrote.
        options: whose `gpu` part counts.

    Raises:
        MissingDependencyError: tensorrt, or a package for GPU memory, is not installed.
        EngineError: no GPU, a file that is no artefact, or an engine that cannot be built or run.
    """
    read = read_artifact(artifact)
    trt = import_tensorrt()
    device = open_device(options.gpu.device_index, binding=options.gpu.binding)
    return TensorRt(trt, read, device=device, options=options.gpu)


def build_ahead(artifact: Path, *, options: GpuOptions) -> CachedEngine:
    """Build the engine of a fixed-size artefact into the cache, or find it there.

    Args:
        artifact: file that `stereo-export` wrote.
        options: how to build and run on the GPU.

    Raises:
        InputError: the artefact's size is dynamic and `options` state no range.
        MissingDependencyError: tensorrt, or a package for GPU memory, is not installed.
        EngineError: no GPU, a file that is no artefact, or an engine that cannot be built.
    """
    read = read_artifact(artifact)
    size = read.manifest.input.fixed_size
    sizes = options.size_range or (SizeRange.fixed(size) if size else None)
    if sizes is None:
        raise InputError(
            f"{artifact} takes any size and an engine needs one; export it with --height and "
            "--width, or state a size range"
        )
    trt = import_tensorrt()
    device = open_device(options.device_index, binding=options.binding)
    try:
        with device.active():
            options = settled(trt, read, info=device.info, options=options)
            return engine_from_artifact(trt, read, sizes=sizes, info=device.info, options=options)
    finally:
        device.close()
