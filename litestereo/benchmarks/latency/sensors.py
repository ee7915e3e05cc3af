"""Power, clocks and temperatures, read between turns: from NVML, or from tegrastats on a Jetson."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from litestereo.benchmarks.latency.tegrastats import parse_tegrastats

__all__ = [
    "NoSensor",
    "NvmlSensor",
    "Reading",
    "Sensor",
    "TegrastatsSensor",
    "gpu_index",
    "open_nvml",
    "open_sensor",
    "throttle_reasons",
]

# nvmlClocksEventReasons / nvmlClocksThrottleReasons: the bits' meanings, the same in every driver.
_REASONS = {
    0x1: "gpu idle",
    0x2: "application clocks",
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clocks",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What the sensors said once; None is what they do not tell.

    Attributes:
        power_w: of the GPU (NVML) or of the whole module (tegrastats).
        gpu_clock_mhz: of the GPU's cores.
        memory_clock_mhz: of the GPU's memory, or the EMC.
        gpu_c: temperature of the GPU, Celsius.
        cpu_c: temperature of the CPU.
        throttled: reasons for which clocks are held down, as NVML names them.
    """

    power_w: float | None = None
    gpu_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    gpu_c: float | None = None
    cpu_c: float | None = None
    throttled: tuple[str, ...] = ()


class Sensor(Protocol):
    """Something that can be read."""

    @property
    def name(self) -> str:
        """What is read: "nvml", "tegrastats" or "none"."""

    def read(self) -> Reading | None:
        """Return the state now; None if there is nothing to say (yet)."""

    def close(self) -> None:
        """Free what it holds."""


class NoSensor:
    """Where neither NVML nor tegrastats is."""

    name = "none"

    def read(self) -> Reading | None:
        """Return None."""
        return None

    def close(self) -> None:
        """Do nothing."""


class NvmlSensor:
    """One GPU through nvidia-ml-py."""

    name = "nvml"

    def __init__(self, nvml: Any, *, index: int = 0) -> None:  # noqa: ANN401 - untyped package
        """Take the pynvml module, initialised, and a GPU's index.

        Args:
            nvml: the module `pynvml`, initialised.
            index: of the GPU, as NVML counts.
        """
        self._nvml = nvml
        self._handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def read(self) -> Reading:
        """Return the state now; what this GPU does not tell is None."""
        nvml = self._nvml
        power_mw = self._ask("nvmlDeviceGetPowerUsage")
        return Reading(
            power_w=None if power_mw is None else power_mw / 1e3,
            gpu_clock_mhz=self._ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
            memory_clock_mhz=self._ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM),
            gpu_c=self._ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
            throttled=throttle_reasons(self._reasons()),
        )

    def used_mib(self) -> float:
        """Return the GPU's used memory, of all processes."""
        return float(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used / 2**20)

    def close(self) -> None:
        """Shut NVML down."""
        self._nvml.nvmlShutdown()

    def _reasons(self) -> int:
        # Renamed in driver 535; old drivers know only the second name.
        for name in ("ClocksEventReasons", "ClocksThrottleReasons"):
            mask = self._ask(f"nvmlDeviceGetCurrent{name}")
            if mask is not None:
                return int(mask)
        return 0

    def _ask(self, function: str, *arguments: object) -> float | None:
        """Return an answer of NVML; None where the GPU or the driver does not support it."""
        asked = getattr(self._nvml, function, None)
        if asked is None:
            return None
        try:
            return float(asked(self._handle, *arguments))
        except self._nvml.NVMLError:
            return None


class TegrastatsSensor:
    """The last line that a running `tegrastats` printed."""

    name = "tegrastats"

    def __init__(self, command: list[str]) -> None:
        """Start the command, which prints a line at an interval of its own.

        Args:
            command: the program and its options.
        """
        self._last: Reading | None = None
        # What is no text is replaced: an error would end the thread that reads.
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, errors="replace"
        )
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def read(self) -> Reading | None:
        """Return the last line's figures; None before the first line."""
        return self._last

    def close(self) -> None:
        """End the command."""
        self._process.terminate()
        self._process.wait()
        self._thread.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _follow(self) -> None:
        for line in self._process.stdout or ():
            stats = parse_tegrastats(line)
            self._last = Reading(
                power_w=stats.power_w,
                gpu_clock_mhz=stats.gpu_clock_mhz,
                memory_clock_mhz=stats.memory_clock_mhz,
                gpu_c=stats.gpu_c,
                cpu_c=stats.cpu_c,
            )


def throttle_reasons(mask: int) -> tuple[str, ...]:
    """Return the names of the bits in NVML's mask; unknown ones by number, idleness left out.

    Args:
        mask: NVML's clocks event reasons.
    """
    bits = [1 << shift for shift in range(mask.bit_length()) if mask >> shift & 1]
    return tuple(_REASONS.get(bit, f"reason {bit:#x}") for bit in bits if bit != 0x1)


@contextmanager
def open_sensor(*, gpu: int = 0) -> Iterator[Sensor]:
    """Open tegrastats where it is installed, else NVML where a GPU answers, else nothing.

    Args:
        gpu: index of the GPU, for NVML.
    """
    sensor = _sensor(gpu)
    try:
        yield sensor
    finally:
        sensor.close()


def gpu_index(device: str, *, visible: str | None = None) -> int:
    """Return NVML's index of a torch device: NVML counts the GPUs that CUDA is told not to see.

    Args:
        device: such as "cuda" or "cuda:1"; of another one it is the first GPU's.
        visible: CUDA_VISIBLE_DEVICES; GPUs named there by UUID are not looked up.
    """
    number = device.partition(":")[2]
    index = int(number) if number.isdigit() else 0
    listed = (visible or "").split(",")
    return int(listed[index]) if index < len(listed) and listed[index].isdigit() else index


def open_nvml(*, gpu: int = 0) -> NvmlSensor | None:
    """Return a GPU through nvidia-ml-py; None where the package, driver or GPU is absent.

    Args:
        gpu: index of the GPU.
    """
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return NvmlSensor(pynvml, index=gpu)
    except pynvml.NVMLError:
        return None


def _sensor(gpu: int) -> Sensor:
    tegrastats = shutil.which("tegrastats")
    if tegrastats is not None:
        return TegrastatsSensor([tegrastats, "--interval", "200"])
    return open_nvml(gpu=gpu) or NoSensor()
