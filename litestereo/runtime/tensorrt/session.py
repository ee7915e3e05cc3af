"""One engine at one size, ready to run: its buffers, its stream and its graph, all made once."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import EngineError, InputError
from litestereo.runtime.cuda.api import (
    Device,
    DeviceBuffer,
    Graph,
    MappedBuffer,
    PinnedBuffer,
)
from litestereo.runtime.cuda.dlpack import CUDA
from litestereo.runtime.cuda.gpu_array import ANY_GPU, GpuArray
from litestereo.runtime.tensorrt.library import WordsLog
from litestereo.runtime.tensorrt.options import Wait

__all__ = ["TENSORS", "DeviceTimes", "Session", "SessionOptions", "sized_context"]

# Name, whether it is an input, NumPy's type, TensorRT's type.
TENSORS = (
    ("left", True, np.uint8, "UINT8"),
    ("right", True, np.uint8, "UINT8"),
    ("disparity", False, np.float32, "FLOAT"),
    ("confidence", False, np.float32, "FLOAT"),
)


# To the array of a buffer that nobody else holds: the buffer's, and that of the one who counts.
_OWN_REFERENCES = 2

_ALIGNMENT = 256  # bytes; what cuMemAlloc aligns to, and so what TensorRT is used to


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a session runs.

    Attributes:
        size: (height, width) of the pictures.
        cuda_graph: capture and replay a graph, where the device can.
        zero_copy: let the GPU work in the host's memory.
        wait: how the host waits for an answer: "spin" as the driver does by itself, "block" asleep.
        answer_size: of the answers; None: the pictures'.
    """

    size: tuple[int, int]
    cuda_graph: bool
    zero_copy: bool
    wait: Wait = "spin"
    answer_size: tuple[int, int] | None = None


class DeviceTimes(NamedTuple):
    """What the GPU's own clock says about a call, in milliseconds.

    Attributes:
        host_to_device_ms: copying the pictures; 0 where memory is shared.
        enqueue_ms: the host's time to submit everything; the pictures are copied meanwhile.
        compute_ms: the network.
        device_to_host_ms: copying the answer; about 0 where memory is shared.
    """

    host_to_device_ms: float
    enqueue_ms: float
    compute_ms: float
    device_to_host_ms: float


@dataclass(slots=True, eq=False)
class _Block:
    """Memory of both inputs or both outputs; `gpu` is None where the GPU works in the host's."""

    host: PinnedBuffer
    gpu: DeviceBuffer | None

    @property
    def address(self) -> int:
        """Where the GPU sees it."""
        if self.gpu is not None:
            return self.gpu.address
        assert isinstance(self.host, MappedBuffer)
        return self.host.address


class _Part(NamedTuple):
    """One input or output inside its block: as the host sees it, and where the GPU does."""

    array: NDArray[Any]
    address: int


class Session:
    """An execution context with all that it needs; the device's context is current when it is made.

    Not thread-safe: one call at a time, from any thread.
    """

    def __init__(
        self,
        trt: Any,  # noqa: ANN401 - the module
        engine: Any,  # noqa: ANN401 - its ICudaEngine
        *,
        device: Device,
        words: WordsLog,
        options: SessionOptions,
    ) -> None:
        """Make the buffers, and run once: TensorRT and the driver do their late work here.

        Args:
            trt: the module `tensorrt`, or a sibling of it.
            engine: an ICudaEngine.
            device: the GPU, its context current.
            words: what TensorRT logs.
            options: size, graph and how to wait.
        """
        self.size, self._shapes = options.size, _shapes(options)
        self.zero_copy = options.zero_copy
        self.waits_asleep = options.wait == "block"
        self._device, self._words = device, words
        # Memory, stream and events, in order, so that they are freed in the opposite order.
        self._owned: list[Callable[[], None]] = []
        self._hosts: list[PinnedBuffer] = []  # memory that pictures and answers lie in
        self._parts: dict[str, _Part] = {}
        self._context: Any = None
        self._graph: Graph | None = None
        self._enqueue_ms: float | None = None
        self._submitted = False  # and not collected yet
        self._elsewhere = False  # the last work was queued on a caller's stream
        try:
            self._make(trt, engine, options)
        except BaseException:
            self.close()
            self.free()
            raise

    @property
    def inputs(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The host buffers of left and right; `infer` of these very arrays copies nothing."""
        return self._parts["left"].array, self._parts["right"].array

    @property
    def uses_graph(self) -> bool:
        """Whether a CUDA graph is replayed."""
        return self._graph is not None

    def infer(
        self, left: NDArray[np.uint8], right: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the disparity and confidence of a pair, in buffers that the next call reuses.

        The device's context must be current.

        Args:
            left: (H, W, 3) uint8 RGB, rectified and padded to a size that the engine serves.
            right: likewise of the right camera.
        """
        self.submit(left, right)
        return self.collect()

    def submit(self, left: NDArray[np.uint8], right: NDArray[np.uint8]) -> None:
        """Send a pair to the GPU and return at once; the answer before it must be collected.

        The device's context must be current.

        Args:
            left: (H, W, 3) uint8 RGB, rectified and padded to a size that the engine serves.
            right: likewise of the right camera.
        """
        if self._elsewhere:
            # Before the buffers are touched: the last caller's work may still read them.
            self._device.synchronize(self._done)
            self._elsewhere = False
        for buffer, picture in zip(self.inputs, (left, right), strict=True):
            if picture is not buffer:
                np.copyto(buffer, picture)
        start = time.perf_counter()
        # Not in the graph: the copy runs while the host launches what follows it.
        self._upload()
        if self._graph is not None:
            self._graph.launch(self._stream)
        else:
            self._queue()
        if self.waits_asleep:
            self._device.record(self._answered, self._stream.handle)
        self._submitted = True
        self._enqueue_ms = 1e3 * (time.perf_counter() - start)

    def collect(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Wait for what was submitted; the buffers are those of `infer`.

        The device's context must be current.
        """
        self._device.synchronize(self._answered if self.waits_asleep else self._stream)
        self._submitted = False
        return self._parts["disparity"].array, self._parts["confidence"].array

    def report_to(self, profiler: Any) -> None:  # noqa: ANN401 - its IProfiler
        """Let TensorRT tell `profiler` the time of each layer; only without a graph.

        Args:
            profiler: an IProfiler.
        """
        self._context.profiler = profiler

    def device_times(self) -> DeviceTimes | None:
        """Return the times of the last `infer`; None before the first, and after `infer_gpu`.

        The device's context must be current.
        """
        if self._elsewhere or self._enqueue_ms is None:
            return None
        elapsed_ms, (started, computed, answered) = self._device.elapsed_ms, self._marks
        return DeviceTimes(
            0.0 if self.zero_copy else elapsed_ms(*self._upload_marks),
            self._enqueue_ms,
            elapsed_ms(started, computed),
            elapsed_ms(computed, answered),
        )

    def infer_gpu(
        self,
        arrays: dict[str, GpuArray],
        *,
        stream: int,
    ) -> tuple[GpuArray, GpuArray]:
        """Queue a pair that is on the GPU on the caller's stream, and return at once.

        Args:
            arrays: "left" and "right", and "disparity" and "confidence" where the caller gives
                memory for the answers; without, the session's own is used and reused.
            stream: handle of the caller's stream.

        Returns:
            disparity and confidence, filled once the stream gets there.
        """
        bound = {**self._own_arrays(), **arrays}
        for name, array in bound.items():
            bound[name] = self._checked(name, array)
        if self._elsewhere:
            # All calls share the context's memory, so they follow each other on the GPU, too.
            self._device.wait(stream, self._done)
        try:
            for name, array in bound.items():
                self._bind(name, array.address)
            self._execute(stream)
        finally:
            self._bind_own()
        self._device.record(self._done, stream)
        self._elsewhere = True
        return bound["disparity"], bound["confidence"]

    def close(self) -> None:
        """Wait for what is queued, and drop graph and context; closing twice is fine.

        The device's context must be current, and the engine still there. After a failure of the GPU
        there is nothing to wait for, and what it refuses to free goes with the process.
        """
        with suppress(EngineError):
            if self._elsewhere:
                self._device.synchronize(self._done)
            if self._submitted:
                self.collect()
        self._elsewhere = self._submitted = False
        graph, self._graph = self._graph, None
        if graph is not None:
            with suppress(EngineError):
                graph.free()
        self._context = None

    def free(self) -> bool:
        """Free the memory of a closed session; TensorRT no longer knows its addresses by then.

        Returns:
            Whether all went. Host memory stays while somebody holds an array of it.
        """
        self._parts.clear()
        _free_all(self._owned)
        held = [host for host in self._hosts if sys.getrefcount(host.array) > _OWN_REFERENCES]
        _free_all([host.free for host in self._hosts if host not in held])
        self._hosts = held
        return not held

    def _make(self, trt: Any, engine: Any, options: SessionOptions) -> None:  # noqa: ANN401
        _require_tensors(trt, engine)
        self._context = sized_context(engine, self.size, words=self._words)
        self._stream = self._device.stream()
        self._done = self._device.event()
        self._upload_marks = self._device.event(), self._device.event()
        self._marks = [self._device.event() for _ in range(3)]
        self._answered = self._device.event(blocking=True)
        events = self._done, *self._upload_marks, *self._marks, self._answered
        self._owned += [made.free for made in (self._stream, *events)]
        self._pictures = self._block("left", "right")
        self._answers = self._block("disparity", "confidence")
        self._bind_own()
        self._upload()
        self._queue()
        self._device.synchronize(self._stream)
        if options.cuda_graph:
            self._graph = self._device.capture(self._stream, lambda: self._queue(in_graph=True))

    def _block(self, *names: str) -> _Block:
        """Make memory for some tensors in one piece, so that one copy moves them, and part it."""
        starts, end = {}, 0
        for name in names:
            starts[name] = end
            nbytes = math.prod(self._shapes[name]) * np.dtype(_dtype(name)).itemsize
            end += -(-nbytes // _ALIGNMENT) * _ALIGNMENT
        block = self._memory(end)
        for name, start in starts.items():
            array = np.ndarray(self._shapes[name], _dtype(name), block.host.array, start)
            self._parts[name] = _Part(array, block.address + start)
        return block

    def _memory(self, nbytes: int) -> _Block:
        device, shape = self._device, (nbytes,)
        make = device.mapped_buffer if self.zero_copy else device.pinned_buffer
        host = make(shape, np.uint8)
        self._hosts.append(host)
        host.array[...] = 0
        if self.zero_copy:
            return _Block(host, None)
        gpu = device.device_buffer(nbytes)
        self._owned.append(gpu.free)
        return _Block(host, gpu)

    def _upload(self) -> None:
        """Queue the copy of both pictures on the session's own stream, between its marks."""
        device, pictures = self._device, self._pictures
        if pictures.gpu is None:
            return
        begin, end = self._upload_marks
        device.record(begin, self._stream.handle)
        device.upload(pictures.gpu, pictures.host, self._stream)
        device.record(end, self._stream.handle)

    def _queue(self, *, in_graph: bool = False) -> None:
        """Queue the network and the copy of its answers, with marks between."""
        device, handle, answers = self._device, self._stream.handle, self._answers
        started, computed, answered = self._marks
        device.record(started, handle, in_graph=in_graph)
        self._execute(handle)
        device.record(computed, handle, in_graph=in_graph)
        if answers.gpu is not None:
            device.download(answers.host, answers.gpu, self._stream)
        device.record(answered, handle, in_graph=in_graph)

    def _execute(self, stream: int) -> None:
        context = self._context
        if not context.execute_async_v3(stream):
            raise EngineError(f"TensorRT failed to run the engine: {self._words.words()}")

    def _bind(self, name: str, address: int) -> None:
        context = self._context
        if not context.set_tensor_address(name, address):
            raise EngineError(f"TensorRT refuses the memory of {name}: {self._words.words()}")

    def _bind_own(self) -> None:
        for name, part in self._parts.items():
            self._bind(name, part.address)

    def _own_arrays(self) -> dict[str, GpuArray]:
        """Return the session's own memory for the answers."""
        return {
            name: GpuArray(
                self._parts[name].address,
                self._shapes[name],
                np.dtype(_dtype(name)),
                (CUDA, self._device.info.index),
                owner=self,
            )
            for name in ("disparity", "confidence")
        }

    def _checked(self, name: str, array: GpuArray) -> GpuArray:
        """Return an array with its GPU, which not every owner tells; refuse one that is no fit."""
        here = self._device.info.index
        if array.device[1] not in (here, ANY_GPU):
            raise InputError(
                f"{name} is on GPU {array.device[1]}, the engine on GPU {here}; move it there"
            )
        wanted, dtype = self._shapes[name], np.dtype(_dtype(name))
        if array.shape != wanted or array.dtype != dtype:
            raise InputError(
                f"{name} is {array.dtype} {array.shape}; the engine takes {dtype} {wanted}. "
                "Pad it to the engine's size first: GPU arrays are used in place"
            )
        return replace(array, device=(CUDA, here)) if array.device[1] == ANY_GPU else array


def _free_all(owned: list[Callable[[], None]]) -> None:
    """Free from the last to the first; what a failed GPU refuses to free goes with the process."""
    while owned:
        with suppress(EngineError):
            owned.pop()()


def _shapes(options: SessionOptions) -> dict[str, tuple[int, ...]]:
    answers = options.answer_size or options.size
    return {name: (*options.size, 3) if is_input else answers for name, is_input, *_ in TENSORS}


def sized_context(engine: Any, size: tuple[int, int], *, words: WordsLog) -> Any:  # noqa: ANN401
    """Return an execution context for pictures of one size.

    Args:
        engine: an ICudaEngine.
        size: (height, width).
        words: what TensorRT logs.

    Raises:
        EngineError: there is no memory for it, or the engine does not take the size.
    """
    context = engine.create_execution_context()
    if context is None:
        raise EngineError(f"TensorRT gives no execution context: {words.words()}")
    shape = (*size, 3)
    for name, is_input, *_ in TENSORS:
        if is_input and not context.set_input_shape(name, shape):
            del context  # now: the error's traceback would let it outlive its engine
            raise EngineError(f"the engine refuses {name} {shape}: {words.words()}")
    return context


def _dtype(name: str) -> type[np.uint8] | type[np.float32]:
    return next(dtype for known, _, dtype, _ in TENSORS if known == name)


def _require_tensors(trt: Any, engine: Any) -> None:  # noqa: ANN401
    """Refuse an engine whose inputs and outputs are not an artefact's."""
    found = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        found[name] = (is_input, engine.get_tensor_dtype(name))
    wanted = {name: (is_input, getattr(trt.DataType, kind)) for name, is_input, _, kind in TENSORS}
    if found != wanted:
        raise EngineError(
            f"the engine's tensors are {found}; an artefact's are left and right (uint8), "
            "disparity and confidence (float32): build the engine from an artefact"
        )
