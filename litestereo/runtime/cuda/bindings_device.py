"""The CUDA layer on NVIDIA's cuda-bindings: needs no headers, and captures graphs."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from cuda.bindings import driver as cu
from numpy.typing import DTypeLike, NDArray

from litestereo.errors import EngineError
from litestereo.runtime.cuda.api import (
    DeviceBuffer,
    Event,
    Graph,
    MappedBuffer,
    PinnedBuffer,
    Stream,
)
from litestereo.runtime.cuda.driver import DeviceInfo, Driver, hint_for

__all__ = ["BindingsDevice", "capture_graph", "checked", "open_device"]


class BindingsDevice:
    """A GPU through cuda-bindings; made by `open_device`."""

    binding = "cuda-bindings"

    def __init__(self, info: DeviceInfo) -> None:
        """Retain the primary context of a GPU; the driver is initialised by then.

        Args:
            info: which GPU it is.
        """
        self.info = info
        checked(cu.cuInit(0))
        self._device = checked(cu.cuDeviceGet(info.index))
        self._context = checked(cu.cuDevicePrimaryCtxRetain(self._device))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Push the primary context, and pop it again.

        Raises:
            EngineError: the device is closed.
        """
        if self._context is None:
            raise EngineError("the GPU is closed; open it again")
        checked(cu.cuCtxPushCurrent(self._context))
        try:
            yield
        finally:
            checked(cu.cuCtxPopCurrent())

    def stream(self) -> Stream:
        """Return a new non-blocking stream."""
        stream = checked(cu.cuStreamCreate(cu.CUstream_flags.CU_STREAM_NON_BLOCKING))
        return Stream(lambda: checked(cu.cuStreamDestroy(stream)), int(stream), stream)

    def event(self, *, blocking: bool = False) -> Event:
        """Return a new event.

        Args:
            blocking: who waits for it sleeps, instead of spinning on the CPU.
        """
        kinds = cu.CUevent_flags
        flags = kinds.CU_EVENT_BLOCKING_SYNC if blocking else kinds.CU_EVENT_DEFAULT
        event = checked(cu.cuEventCreate(flags))
        return Event(lambda: checked(cu.cuEventDestroy(event)), int(event), event)

    def device_buffer(self, nbytes: int) -> DeviceBuffer:
        """Allocate GPU memory.

        Args:
            nbytes: how many bytes.
        """
        address = checked(cu.cuMemAlloc(nbytes))
        return DeviceBuffer(lambda: checked(cu.cuMemFree(address)), int(address), nbytes)

    def pinned_buffer(self, shape: tuple[int, ...], dtype: DTypeLike) -> PinnedBuffer:
        """Allocate page-locked host memory.

        Args:
            shape: of the array.
            dtype: of the array's numbers.
        """
        array, address, free = _host_memory(shape, dtype, flags=0)
        return PinnedBuffer(free, array, address)

    def mapped_buffer(self, shape: tuple[int, ...], dtype: DTypeLike) -> MappedBuffer:
        """Allocate page-locked host memory that the GPU sees.

        Args:
            shape: of the array.
            dtype: of the array's numbers.
        """
        array, address, free = _host_memory(shape, dtype, flags=cu.CU_MEMHOSTALLOC_DEVICEMAP)
        seen_at = checked(cu.cuMemHostGetDevicePointer(address, 0))
        return MappedBuffer(free, array, address, int(seen_at))

    def upload(self, target: DeviceBuffer, source: PinnedBuffer, stream: Stream) -> None:
        """Queue a copy to the GPU.

        Args:
            target: where to; as large as `source`.
            source: where from; unchanged until the stream has passed the copy.
            stream: the queue that it is put into.
        """
        size = source.array.nbytes
        checked(cu.cuMemcpyHtoDAsync(target.address, source.host_address, size, stream.native))

    def download(self, target: PinnedBuffer, source: DeviceBuffer, stream: Stream) -> None:
        """Queue a copy from the GPU.

        Args:
            target: where to; as large as `source`.
            source: where from; unchanged until the stream has passed the copy.
            stream: the queue that it is put into.
        """
        size = target.array.nbytes
        checked(cu.cuMemcpyDtoHAsync(target.host_address, source.address, size, stream.native))

    def record(self, event: Event, stream_handle: int, *, in_graph: bool = False) -> None:
        """Mark the present end of a stream.

        Args:
            event: one of this device's.
            stream_handle: a CUstream as a number; 0 is the default stream.
            in_graph: be a part of the graph that is being captured.
        """
        kinds = cu.CUevent_record_flags
        flags = kinds.CU_EVENT_RECORD_EXTERNAL if in_graph else kinds.CU_EVENT_RECORD_DEFAULT
        checked(cu.cuEventRecordWithFlags(event.native, stream_handle, flags))

    def wait(self, stream_handle: int, event: Event) -> None:
        """Make a stream wait for an event.

        Args:
            stream_handle: a CUstream as a number; 0 is the default stream.
            event: one of this device's.
        """
        checked(cu.cuStreamWaitEvent(stream_handle, event.native, 0))

    def synchronize(self, waited: Stream | Event) -> None:
        """Wait for a stream or an event.

        Args:
            waited: what to wait for.
        """
        if isinstance(waited, Stream):
            checked(cu.cuStreamSynchronize(waited.native))
        else:
            checked(cu.cuEventSynchronize(waited.native))

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """Return the time between two events.

        Args:
            start: the earlier one, made without disabling timing.
            end: the later one.
        """
        return float(checked(cu.cuEventElapsedTime(start.native, end.native)))

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph | None:
        """Capture `enqueue` into a graph.

        Args:
            stream: the queue that it is put into.
            enqueue: queues the work; it may not wait or allocate.
        """
        return capture_graph(stream, enqueue)

    def close(self) -> None:
        """Release the primary context; closing twice is fine."""
        context, self._context = self._context, None
        if context is not None:
            checked(cu.cuDevicePrimaryCtxRelease(self._device))


def open_device(info: DeviceInfo, driver: Driver) -> BindingsDevice:
    """Return the GPU that `info` describes; `driver` has found it and is not needed further.

    Args:
        info: which GPU it is.
        driver: the loaded CUDA driver.
    """
    del driver
    return BindingsDevice(info)


def capture_graph(stream: Stream, enqueue: Callable[[], None]) -> Graph:
    """Return what `enqueue` puts into `stream` as a graph; works with any package's streams.

    Args:
        stream: the queue that it is put into.
        enqueue: queues the work; it may not wait or allocate.

    Raises:
        EngineError: what is enqueued cannot be captured; the stream is usable again.
    """
    # Thread-local: what other threads (torch's allocator) do meanwhile does not spoil the capture.
    mode = cu.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    checked(cu.cuStreamBeginCapture(stream.handle, mode))
    try:
        enqueue()
    except BaseException:
        status, graph = cu.cuStreamEndCapture(stream.handle)
        if int(status) == 0 and graph is not None and int(graph) != 0:
            checked(cu.cuGraphDestroy(graph))
        raise
    graph = checked(cu.cuStreamEndCapture(stream.handle))
    try:
        executable = checked(cu.cuGraphInstantiate(graph, 0))
    finally:
        checked(cu.cuGraphDestroy(graph))
    return Graph(
        lambda: checked(cu.cuGraphExecDestroy(executable)),
        int(executable),
        lambda launched: checked(cu.cuGraphLaunch(executable, launched.handle)),
    )


def checked(returned: tuple[Any, ...]) -> Any:  # noqa: ANN401 - whatever the function gives
    """Return what a cuda-bindings call gave besides its status: nothing, a value or a tuple.

    Args:
        returned: the status and what follows it.

    Raises:
        EngineError: the status is an error.
    """
    status, *values = returned
    if status != cu.CUresult.CUDA_SUCCESS:
        _, text = cu.cuGetErrorString(status)
        words = text.decode() if isinstance(text, bytes) else "unknown to this driver"
        hint = hint_for(int(status))
        raise EngineError(
            f"the CUDA driver failed with {status.name} ({int(status)}): {words}{hint}"
        )
    if not values:
        return None
    return values[0] if len(values) == 1 else tuple(values)


def _host_memory(
    shape: tuple[int, ...], dtype: DTypeLike, *, flags: int
) -> tuple[NDArray[Any], int, Callable[[], None]]:
    """Return page-locked memory as an array, its address, and how to free it."""
    empty = np.empty(0, dtype)
    nbytes = int(np.prod(shape)) * empty.itemsize
    address = int(checked(cu.cuMemHostAlloc(nbytes, flags)))
    memory = (ctypes.c_uint8 * nbytes).from_address(address)
    array: NDArray[Any] = np.ndarray(shape, empty.dtype, memoryview(memory))
    return array, address, lambda: checked(cu.cuMemFreeHost(address))
