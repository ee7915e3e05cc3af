"""The CUDA layer on pycuda: the primary context is retained, `pycuda.autoinit` is never imported.

pycuda's own objects free themselves when the last reference goes; here they are freed by hand while
the context is current, because pycuda refuses to activate a context on a foreign thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pycuda.driver as cuda
from numpy.typing import DTypeLike

from litestereo.errors import EngineError
from litestereo.runtime.cuda import is_installed
from litestereo.runtime.cuda.api import (
    DeviceBuffer,
    Event,
    Graph,
    MappedBuffer,
    PinnedBuffer,
    Stream,
)
from litestereo.runtime.cuda.driver import DeviceInfo, Driver, hint_for

__all__ = ["PycudaDevice", "open_device"]

_OUT_OF_MEMORY = 2  # CUresult


class PycudaDevice:
    """A GPU through pycuda; made by `open_device`."""

    binding = "pycuda"

    def __init__(self, info: DeviceInfo, driver: Driver) -> None:
        """Retain the primary context of a GPU; it does not become current.

        Args:
            info: which GPU it is.
            driver: the loaded CUDA driver.
        """
        self.info = info
        self._driver = driver
        with _as_ours():
            cuda.init()
            self._context: Any = cuda.Device(info.index).retain_primary_context()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Push the primary context, and pop it again; pycuda's errors become ours.

        Raises:
            EngineError: the device is closed.
        """
        if self._context is None:
            raise EngineError("the GPU is closed; open it again")
        with _as_ours():
            self._context.push()
            try:
                yield
            finally:
                cuda.Context.pop()

    def stream(self) -> Stream:
        """Return a new non-blocking stream."""
        # pycuda names no flags for streams; 1 is the driver's CU_STREAM_NON_BLOCKING.
        stream = cuda.Stream(1)
        # pycuda destroys a stream with its object, and this is the only reference to it.
        made = Stream(None, int(stream.handle), stream)
        made.release = lambda: setattr(made, "native", None)
        return made

    def event(self, *, blocking: bool = False) -> Event:
        """Return a new event.

        Args:
            blocking: who waits for it sleeps, instead of spinning on the CPU.
        """
        # pycuda's own events have no handle, which a foreign stream needs.
        handle = self._driver.event(blocking=blocking)
        return Event(lambda: self._driver.destroy_event(handle), handle)

    def device_buffer(self, nbytes: int) -> DeviceBuffer:
        """Allocate GPU memory.

        Args:
            nbytes: how many bytes.
        """
        with _as_ours():
            memory = cuda.mem_alloc(nbytes)
        return DeviceBuffer(memory.free, int(memory), nbytes)

    def pinned_buffer(self, shape: tuple[int, ...], dtype: DTypeLike) -> PinnedBuffer:
        """Allocate page-locked host memory.

        Args:
            shape: of the array.
            dtype: of the array's numbers.
        """
        with _as_ours():
            array = cuda.pagelocked_empty(shape, dtype)
        return PinnedBuffer(array.base.free, array, int(array.ctypes.data))

    def mapped_buffer(self, shape: tuple[int, ...], dtype: DTypeLike) -> MappedBuffer:
        """Allocate page-locked host memory that the GPU sees.

        Args:
            shape: of the array.
            dtype: of the array's numbers.
        """
        array = cuda.pagelocked_empty(shape, dtype, mem_flags=cuda.host_alloc_flags.DEVICEMAP)
        seen_at = int(array.base.get_device_pointer())
        return MappedBuffer(array.base.free, array, int(array.ctypes.data), seen_at)

    def upload(self, target: DeviceBuffer, source: PinnedBuffer, stream: Stream) -> None:
        """Queue a copy to the GPU.

        Args:
            target: where to; as large as `source`.
            source: where from; unchanged until the stream has passed the copy.
            stream: the queue that it is put into.
        """
        cuda.memcpy_htod_async(target.address, source.array, stream.native)

    def download(self, target: PinnedBuffer, source: DeviceBuffer, stream: Stream) -> None:
        """Queue a copy from the GPU.

        Args:
            target: where to; as large as `source`.
            source: where from; unchanged until the stream has passed the copy.
            stream: the queue that it is put into.
        """
        cuda.memcpy_dtoh_async(target.array, source.address, stream.native)

    def record(self, event: Event, stream_handle: int, *, in_graph: bool = False) -> None:
        """Mark the present end of a stream.

        Args:
            event: one of this device's.
            stream_handle: a CUstream as a number; 0 is the default stream.
            in_graph: be a part of the graph that is being captured.
        """
        self._driver.record(event.handle, stream_handle, in_graph=in_graph)

    def wait(self, stream_handle: int, event: Event) -> None:
        """Make a stream wait for an event.

        Args:
            stream_handle: a CUstream as a number; 0 is the default stream.
            event: one of this device's.
        """
        self._driver.wait(stream_handle, event.handle)

    def synchronize(self, waited: Stream | Event) -> None:
        """Wait for a stream or an event.

        Args:
            waited: what to wait for.
        """
        if isinstance(waited, Stream):
            waited.native.synchronize()
        else:
            self._driver.synchronize_event(waited.handle)

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """Return the time between two events.

        Args:
            start: the earlier one, made without disabling timing.
            end: the later one.
        """
        return self._driver.elapsed_ms(start.handle, end.handle)

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph | None:
        """Capture through cuda-bindings, whose handles are the same; pycuda has no graphs.

        Args:
            stream: the queue that it is put into.
            enqueue: queues the work; it may not wait or allocate.
        """
        if not is_installed("cuda.bindings"):
            return None
        graphs = import_module("litestereo.runtime.cuda.bindings_device")
        graph: Graph = graphs.capture_graph(stream, enqueue)
        return graph

    def close(self) -> None:
        """Release the primary context; closing twice is fine."""
        context, self._context = self._context, None
        if context is not None:
            # pycuda releases it on the thread that retained it, and elsewhere leaves it to the
            # process's end: the context is the process's anyway.
            context.detach()


def open_device(info: DeviceInfo, driver: Driver) -> PycudaDevice:
    """Return the GPU that `info` describes.

    Args:
        info: which GPU it is.
        driver: the loaded CUDA driver.
    """
    return PycudaDevice(info, driver)


@contextmanager
def _as_ours() -> Iterator[None]:
    """Turn pycuda's errors into ours."""
    try:
        yield
    except cuda.MemoryError as error:
        raise EngineError(f"pycuda failed: {error}{hint_for(_OUT_OF_MEMORY)}") from error
    except cuda.Error as error:
        raise EngineError(f"pycuda failed: {error}") from error
