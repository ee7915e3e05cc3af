"""What the runtime needs of CUDA: one protocol, and the small objects that travel through it.

Every operation needs the device's context to be current: it is called inside `with
device.active()`. Handles and addresses are plain integers, as the CUDA driver and TensorRT take
them. Objects are freed by hand: a garbage collector may run on a thread that has no context.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from litestereo.runtime.cuda.driver import DeviceInfo

__all__ = ["Device", "DeviceBuffer", "Event", "Graph", "MappedBuffer", "PinnedBuffer", "Stream"]

_NOTHING = np.empty(0, np.uint8)


@dataclass(slots=True, eq=False)
class _Owned:
    """Something that is freed once, however often it is asked for."""

    release: Callable[[], None] | None

    def free(self) -> None:
        """Give it back; freeing twice is fine."""
        release, self.release = self.release, None
        if release is not None:
            release()


@dataclass(slots=True, eq=False)
class Stream(_Owned):
    """A queue of GPU work; `native` is the binding's own object, which keeps it alive.

    Attributes:
        handle: the CUDA object as a number.
        native: the binding's own object, which keeps it alive; None where there is none.
    """

    handle: int
    native: Any = None


@dataclass(slots=True, eq=False)
class Event(_Owned):
    """A mark in a stream.

    Attributes:
        handle: the CUDA object as a number.
        native: the binding's own object, which keeps it alive; None where there is none.
    """

    handle: int
    native: Any = None


@dataclass(slots=True, eq=False)
class Graph(_Owned):
    """Work that was captured once and is launched as a whole.

    Attributes:
        handle: the CUDA object as a number.
        launch: queues the work into a stream.
    """

    handle: int
    launch: Callable[[Stream], None]


@dataclass(slots=True, eq=False)
class DeviceBuffer(_Owned):
    """GPU memory.

    Attributes:
        address: on the GPU.
        nbytes: its length.
    """

    address: int
    nbytes: int


@dataclass(slots=True, eq=False)
class PinnedBuffer(_Owned):
    """Page-locked host memory: copies from and to it run beside the GPU's work.

    Attributes:
        array: the memory as the host sees it; empty once it is freed.
        host_address: where it is.
    """

    array: NDArray[Any]
    host_address: int

    def free(self) -> None:
        """Give it back; the array must not be used any more, so it is taken away."""
        self.array = _NOTHING
        _Owned.free(self)


@dataclass(slots=True, eq=False)
class MappedBuffer(PinnedBuffer):
    """Page-locked host memory that the GPU reads and writes in place.

    On a GPU that shares the host's memory (Jetson) nothing is copied at all.

    Attributes:
        address: the same memory as the GPU sees it.
    """

    address: int


class Device(Protocol):
    """A GPU through one Python package; its primary context is shared with torch and cudart."""

    @property
    def binding(self) -> str:
        """Name of the package: "pycuda" or "cuda-bindings"."""

    @property
    def info(self) -> DeviceInfo:
        """What the GPU is."""

    def active(self) -> AbstractContextManager[None]:
        """Make the context current on this thread for a `with` block, and give back what was."""

    def stream(self) -> Stream:
        """Return a new stream that does not wait for the default one."""

    def event(self, *, blocking: bool = False) -> Event:
        """Return a new event that can be timed; who waits for a `blocking` one sleeps meanwhile.

        Args:
            blocking: who waits for it sleeps, instead of spinning on the CPU.
        """

    def device_buffer(self, nbytes: int) -> DeviceBuffer:
        """Return GPU memory of `nbytes`, not cleared.

        Args:
            nbytes: how many bytes.
        """

    def pinned_buffer(self, shape: tuple[int, ...], dtype: DTypeLike) -> PinnedBuffer:
        """Return page-locked host memory as an array.

        Args:
            shape: of the array.
            dtype: of the array's numbers.
        """

    def mapped_buffer(self, shape: tuple[int, ...], dtype: DTypeLike) -> MappedBuffer:
        """Return page-locked host memory that the GPU sees, too.

        Args:
            shape: of the array.
            dtype: of the array's numbers.
        """

    def upload(self, target: DeviceBuffer, source: PinnedBuffer, stream: Stream) -> None:
        """Queue a copy of all of `source` to the GPU.

        Args:
            target: where to; as large as `source`.
            source: where from; unchanged until the stream has passed the copy.
            stream: the queue that it is put into.
        """

    def download(self, target: PinnedBuffer, source: DeviceBuffer, stream: Stream) -> None:
        """Queue a copy that fills `target` from the GPU.

        Args:
            target: where to; as large as `source`.
            source: where from; unchanged until the stream has passed the copy.
            stream: the queue that it is put into.
        """

    def record(self, event: Event, stream_handle: int, *, in_graph: bool = False) -> None:
        """Mark the present end of a stream, which may be another library's.

        With `in_graph` the mark becomes a part of the graph that is being captured: each launch
        sets it anew. Without, it would only order the capture.

        Args:
            event: one of this device's.
            stream_handle: a CUstream as a number; 0 is the default stream.
            in_graph: be a part of the graph that is being captured.
        """

    def wait(self, stream_handle: int, event: Event) -> None:
        """Make a stream, which may be another library's, wait for an event.

        Args:
            stream_handle: a CUstream as a number; 0 is the default stream.
            event: one of this device's.
        """

    def synchronize(self, waited: Stream | Event) -> None:
        """Wait until a stream is empty, or an event has passed.

        Args:
            waited: what to wait for.
        """

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """Return the GPU's time between two events that have passed.

        Args:
            start: the earlier one, made without disabling timing.
            end: the later one.
        """

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph | None:
        """Return what `enqueue` puts into `stream` as a graph; None where graphs are not there.

        Args:
            stream: the queue that it is put into.
            enqueue: queues the work; it may not wait or allocate.

        Raises:
            EngineError: what is enqueued cannot be captured.
        """

    def close(self) -> None:
        """Release the primary context."""
