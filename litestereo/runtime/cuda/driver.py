"""The CUDA driver by ctypes: is it there, what GPU is it, and events on any library's streams.

TensorRT's runtime kills the process on a machine without a driver (8.6: at once; 10 and 11: when
the interpreter leaves), so this is asked before TensorRT is touched.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from litestereo.errors import EngineError

__all__ = ["DeviceInfo", "Driver", "hint_for"]

_LIBRARY = "libcuda.so.1"
# CUdevice_attribute, from the driver's cuda.h; these numbers are its ABI.
_MULTIPROCESSORS = 16
_INTEGRATED = 18
_MAJOR = 75
_MINOR = 76
_HINTS = {
    2: "the GPU's memory is full: end other programs on it, or run at a smaller size (--scale)",
    100: "no GPU is visible: is one there, and is CUDA_VISIBLE_DEVICES not empty?",
    803: "the driver's library and kernel module are of different versions: reboot",
    804: "this CUDA compatibility library does not support this GPU: use the driver's own",
    999: "the driver failed without a reason: see dmesg; after an update, reboot",
}


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What a GPU is.

    Attributes:
        index: as the driver counts.
        name: e.g. "Orin".
        compute_capability: (major, minor), e.g. (8, 7).
        integrated: whether it shares the host's memory.
        multiprocessors: how many it has; boards of one name and architecture differ, as Orins do.
        memory_bytes: what it can use of its memory.
        driver_version: highest CUDA version of the driver, (major, minor).
    """

    index: int
    name: str
    compute_capability: tuple[int, int]
    integrated: bool
    multiprocessors: int
    memory_bytes: int
    driver_version: tuple[int, int]

    @property
    def sm(self) -> str:
        """The architecture's short name, e.g. "sm_87"."""
        major, minor = self.compute_capability
        return f"sm_{major}{minor}"

    @property
    def memory_gb(self) -> int:
        """Its memory as the nearest power of two: what the system keeps varies by version."""
        return 1 << max(0, round(math.log2(max(1, self.memory_bytes) / 2**30)))


class Driver:
    """The loaded driver library; made by `Driver.open`."""

    def __init__(self, library: Any) -> None:  # noqa: ANN401 - a ctypes library, or a test's
        """Take over a library whose `cuInit` has succeeded.

        Args:
            library: libcuda, loaded.
        """
        self._library = library

    @classmethod
    def open(cls, *, load: Callable[[str], Any] = ctypes.CDLL) -> Driver:
        """Load the driver and make sure that it sees a GPU.

        Args:
            load: gives a library by its name.

        Raises:
            EngineError: there is no driver, it does not start, or it sees no GPU.
        """
        try:
            driver = cls(load(_LIBRARY))
        except OSError as error:
            raise EngineError(
                f"there is no CUDA driver here ({_LIBRARY}: {error}); a GPU backend needs an "
                "NVIDIA GPU and its driver, and a container must be given the GPU "
                "(--gpus all, --runtime nvidia); without one there is the backend onnxruntime-cpu"
            ) from error
        driver.call("cuInit", ctypes.c_uint(0))
        if driver.device_count() == 0:
            raise EngineError(f"the CUDA driver sees no GPU: {_HINTS[100]}")
        return driver

    def device_count(self) -> int:
        """Return how many GPUs the driver sees."""
        return self._integer("cuDeviceGetCount")

    def device_info(self, index: int) -> DeviceInfo:
        """Return what GPU `index` is.

        Args:
            index: counted from 0, as CUDA counts.

        Raises:
            EngineError: there is no such GPU.
        """
        count = self.device_count()
        if not 0 <= index < count:
            raise EngineError(f"GPU {index} is asked for; the driver sees {count}, counted from 0")
        device = ctypes.c_int(self._integer("cuDeviceGet", ctypes.c_int(index)))
        name = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", name, ctypes.c_int(len(name)), device)

        def attribute(number: int) -> int:
            return self._integer("cuDeviceGetAttribute", ctypes.c_int(number), device)

        memory = ctypes.c_size_t()
        self.call("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
        version = self._integer("cuDriverGetVersion")
        return DeviceInfo(
            index=index,
            name=name.value.decode(errors="replace"),
            compute_capability=(attribute(_MAJOR), attribute(_MINOR)),
            integrated=bool(attribute(_INTEGRATED)),
            multiprocessors=attribute(_MULTIPROCESSORS),
            memory_bytes=memory.value,
            driver_version=(version // 1000, version % 1000 // 10),
        )

    def event(self, *, blocking: bool = False) -> int:
        """Return the handle of a new event that can be timed.

        Args:
            blocking: who waits for it sleeps, instead of spinning on the CPU.
        """
        handle = ctypes.c_void_p()
        self.call("cuEventCreate", ctypes.byref(handle), ctypes.c_uint(blocking))
        return int(handle.value or 0)

    def destroy_event(self, event: int) -> None:
        """Destroy an event.

        Args:
            event: handle of an event.
        """
        self.call("cuEventDestroy_v2", ctypes.c_void_p(event))

    def synchronize_event(self, event: int) -> None:
        """Wait until an event has passed; other Python threads run meanwhile.

        Args:
            event: handle of an event.
        """
        self.call("cuEventSynchronize", ctypes.c_void_p(event))

    def elapsed_ms(self, start: int, end: int) -> float:
        """Return the GPU's time between two events that have passed.

        Args:
            start: the earlier one, made without disabling timing.
            end: the later one.
        """
        value = ctypes.c_float()
        handles = ctypes.c_void_p(start), ctypes.c_void_p(end)
        self.call("cuEventElapsedTime", ctypes.byref(value), *handles)
        return value.value

    def record(self, event: int, stream: int, *, in_graph: bool = False) -> None:
        """Record an event in a stream; both are handles.

        With `in_graph`, as a node of the graph that is being captured (CU_EVENT_RECORD_EXTERNAL).

        Args:
            event: handle of an event.
            stream: handle of a stream; 0 is the default one.
            in_graph: be a part of the graph that is being captured.
        """
        handles = ctypes.c_void_p(event), ctypes.c_void_p(stream)
        self.call("cuEventRecordWithFlags", *handles, ctypes.c_uint(in_graph))

    def wait(self, stream: int, event: int) -> None:
        """Make a stream wait for an event; both are handles.

        Args:
            stream: handle of a stream; 0 is the default one.
            event: handle of an event.
        """
        arguments = ctypes.c_void_p(stream), ctypes.c_void_p(event), ctypes.c_uint(0)
        self.call("cuStreamWaitEvent", *arguments)

    def call(self, function: str, *arguments: Any) -> None:  # noqa: ANN401 - ctypes values
        """Call a driver function.

        Args:
            function: its name.
            arguments: as ctypes passes them.

        Raises:
            EngineError: it returned an error.
        """
        status = int(getattr(self._library, function)(*arguments))
        if status != 0:
            raise EngineError(
                f"{function} failed with {self._error_name(status)}{hint_for(status)}"
            )

    def _integer(self, function: str, *arguments: Any) -> int:  # noqa: ANN401 - ctypes values
        """Return the int that a driver function writes to its first argument."""
        value = ctypes.c_int()
        self.call(function, ctypes.byref(value), *arguments)
        return value.value

    def _error_name(self, status: int) -> str:
        text = ctypes.c_char_p()
        if self._library.cuGetErrorName(ctypes.c_int(status), ctypes.byref(text)) != 0:
            return f"CUDA error {status}"
        return f"{(text.value or b'?').decode()} ({status})"


def hint_for(status: int) -> str:
    """Return ": " and what to do about a CUresult, or nothing where nothing is known.

    Args:
        status: a CUresult.
    """
    return f": {_HINTS[status]}" if status in _HINTS else ""
