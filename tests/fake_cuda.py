"""A GPU made of NumPy memory, which is as strict about contexts and freeing as a real one.

Work runs when its stream is synchronised, not before, so that a missing wait shows; a capture
records work, and its graph replays it.
"""

from __future__ import annotations

import ctypes
import threading
from contextlib import contextmanager

import numpy as np

from litestereo.runtime.cuda.api import (
    DeviceBuffer,
    Event,
    Graph,
    MappedBuffer,
    PinnedBuffer,
    Stream,
)
from litestereo.runtime.cuda.driver import DeviceInfo

__all__ = ["FakeDevice", "fake_info", "memory_at"]


def fake_info(**changes):
    known = {
        "index": 0,
        "name": "Fake GPU",
        "compute_capability": (8, 7),
        "integrated": False,
        "multiprocessors": 16,
        "memory_bytes": 60 << 30,
        "driver_version": (12, 6),
    }
    return DeviceInfo(**{**known, **changes})


def memory_at(address, shape, dtype):
    """Return an array over memory at an address, as a kernel would see it."""
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.ndarray(shape, dtype, (ctypes.c_uint8 * nbytes).from_address(address))


class FakeDevice:
    binding = "fake"

    def __init__(self, *, graphs=True, **info):
        self.info = fake_info(**info)
        self.graphs = graphs
        self.log = []  # what happened to objects, in order
        self.launches = self.graph_marks = 0
        self.blocking = {}  # event -> whether who waits for it sleeps
        self.waited = []  # what was waited for, in order: "stream", or whether the event blocks
        self.live = {}  # handle or address -> kind, of everything not freed
        self.closed = 0
        self._here = threading.local()
        self._handles = iter(range(1, 1 << 30))
        self._queues = {0: []}
        self._marks = {}
        self._capturing = None
        self._memory = {}

    @contextmanager
    def active(self):
        assert not self.closed, "the device is closed"
        self._here.depth = getattr(self._here, "depth", 0) + 1
        try:
            yield
        finally:
            self._here.depth -= 1

    def require_context(self):
        assert getattr(self._here, "depth", 0) > 0, "no context is current on this thread"

    def foreign_stream(self):
        """Return the handle of a stream that another library made."""
        handle = next(self._handles)
        self._queues[handle] = []
        return handle

    def submit(self, stream_handle, work):
        """Queue a function, as a kernel launch does."""
        self.require_context()
        if self._capturing is not None and self._capturing[0] == stream_handle:
            self._capturing[1].append(work)
        else:
            self._queues[stream_handle].append(work)

    def run_stream(self, stream_handle):
        """Let the GPU work through a stream."""
        queue = self._queues[stream_handle]
        while queue:
            queue.pop(0)()

    def stream(self):
        self.require_context()
        handle = self._make("stream")
        self._queues[handle] = []
        return Stream(lambda: self._free(handle), handle)

    def event(self, *, blocking=False):
        self.require_context()
        handle = self._make("event")
        self.blocking[handle] = blocking
        return Event(lambda: self._free(handle), handle)

    def device_buffer(self, nbytes):
        self.require_context()
        memory = np.full(nbytes, 0xCD, np.uint8)
        address = self._keep(memory, "device")
        return DeviceBuffer(lambda: self._free(address), address, nbytes)

    def pinned_buffer(self, shape, dtype):
        self.require_context()
        array, address = self._host_memory(shape, dtype, "pinned")
        return PinnedBuffer(lambda: self._free(address), array, address)

    def mapped_buffer(self, shape, dtype):
        self.require_context()
        array, address = self._host_memory(shape, dtype, "mapped")
        return MappedBuffer(lambda: self._free(address), array, address, address)

    def _host_memory(self, shape, dtype, kind):
        """Return an array over memory that is not its own, as page-locked memory is, and where."""
        memory = (ctypes.c_uint8 * (int(np.prod(shape)) * np.dtype(dtype).itemsize))()
        address = ctypes.addressof(memory)
        self._memory[address], self.live[address] = memory, kind
        return np.ndarray(shape, dtype, memoryview(memory)), address

    def upload(self, target, source, stream):
        assert target.nbytes == source.array.nbytes
        into = memory_at(target.address, source.array.shape, source.array.dtype)
        self.submit(stream.handle, lambda: np.copyto(into, source.array))

    def download(self, target, source, stream):
        assert source.nbytes == target.array.nbytes
        come = memory_at(source.address, target.array.shape, target.array.dtype)
        self.submit(stream.handle, lambda: np.copyto(target.array, come))

    def record(self, event, stream_handle, *, in_graph=False):
        self.require_context()
        capturing = self._capturing is not None and self._capturing[0] == stream_handle
        assert in_graph == capturing, "a mark for a graph needs a capture, and a capture such marks"
        self._marks[event.handle] = stream_handle
        if in_graph:
            self.graph_marks += 1

    def wait(self, stream_handle, event):
        self.require_context()
        if event.handle in self._marks:
            before = self._marks[event.handle]
            self.submit(stream_handle, lambda: self.run_stream(before))

    def synchronize(self, waited):
        self.require_context()
        self.waited.append(self.blocking.get(waited.handle, "stream"))
        if isinstance(waited, Stream):
            self.run_stream(waited.handle)
        elif waited.handle in self._marks:
            self.run_stream(self._marks[waited.handle])

    def elapsed_ms(self, start, end):
        return 1.0

    def capture(self, stream, enqueue):
        self.require_context()
        if not self.graphs:
            return None
        work = []
        self._capturing = (stream.handle, work)
        try:
            enqueue()
        finally:
            self._capturing = None
        handle = self._make("graph")

        def launch(launched):
            self.launches += 1
            for step in work:
                self.submit(launched.handle, step)

        return Graph(lambda: self._free(handle), handle, launch)

    def close(self):
        self.closed += 1
        self.log.append("close device")

    def _make(self, kind):
        handle = next(self._handles)
        self.live[handle] = kind
        return handle

    def _keep(self, memory, kind):
        address = memory.ctypes.data
        self._memory[address] = memory
        self.live[address] = kind
        return address

    def _free(self, handle):
        self.require_context()
        self.log.append(f"free {self.live.pop(handle)}")
        self._memory.pop(handle, None)
