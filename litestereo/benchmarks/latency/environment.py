"""The machine and the software that a run ran on."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = [
    "Cpu",
    "Environment",
    "Gpu",
    "Jetson",
    "clocks_locked",
    "l4t_release",
    "nvpmodel_mode",
    "read_environment",
    "read_jetson",
]

_PACKAGES = (
    *("numpy", "opencv-python-headless", "opencv-python", "torch", "triton", "onnx"),
    *("onnxruntime", "onnxruntime-gpu", "tensorrt", "pycuda", "cuda-bindings", "nvidia-ml-py"),
)
_COMMAND_S = 10.0


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processor.

    Attributes:
        name: as it calls itself.
        cores: that this process may use.
        governor: of the clock of the first core; None where the kernel does not tell.
        load: runnable tasks, mean of the minute before the run; None where unknown.
    """

    name: str
    cores: int
    governor: str | None
    load: float | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that NVML knows.

    Attributes:
        name: as NVML calls it.
        driver: version of the kernel driver.
        cuda: highest CUDA version of that driver, e.g. "12.8".
        memory_mib: in all.
        power_limit_w: that is enforced; None where it is not told.
        power_mode: "persistence on" or "persistence off"; None where it is not told.
    """

    name: str
    driver: str
    cuda: str
    memory_mib: int
    power_limit_w: float | None
    power_mode: str | None


@dataclass(frozen=True, slots=True)
class Jetson:
    """A Jetson's own settings; None is what is not told without root rights.

    Attributes:
        board: of the device tree.
        l4t: release of Jetson Linux, e.g. "R36.4.3".
        power_mode: of `nvpmodel -q`, e.g. "MAXN (0)".
        clocks_locked: whether `jetson_clocks` holds every clock at its maximum.
    """

    board: str
    l4t: str | None
    power_mode: str | None
    clocks_locked: bool | None


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything around a run.

    Attributes:
        system: operating system, kernel and architecture.
        python: version.
        packages: name -> version of what is installed of the packages that matter.
        commit: of litestereo's checkout, "-dirty" when files differ; None for an installed package.
        cpu: the processor.
        gpu: None without NVML.
        jetson: None elsewhere.
    """

    system: str
    python: str
    packages: dict[str, str]
    commit: str | None
    cpu: Cpu
    gpu: Gpu | None
    jetson: Jetson | None


def read_environment(*, gpu: int = 0) -> Environment:
    """Return what can be found out here; nothing is changed, and nothing needs root rights.

    Args:
        gpu: NVML's index of the GPU that runs.
    """
    return Environment(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        packages=_packages(),
        commit=_commit(Path(__file__).resolve().parent),
        cpu=_cpu(),
        gpu=_gpu(gpu),
        jetson=read_jetson(),
    )


def read_jetson(root: Path = Path("/")) -> Jetson | None:
    """Return a Jetson's settings; None on another machine.

    Args:
        root: of the file system, for tests.
    """
    release = _text(root / "etc/nv_tegra_release")
    board = _text(root / "proc/device-tree/model")
    if release is None and (board is None or "NVIDIA" not in board):
        return None
    return Jetson(
        board=(board or "unknown").strip("\0 \n"),
        l4t=None if release is None else l4t_release(release),
        power_mode=nvpmodel_mode(_output("nvpmodel", "-q")),
        clocks_locked=clocks_locked(_output("jetson_clocks", "--show")),
    )


def l4t_release(text: str) -> str | None:
    """Return "R36.4.3" of "# R36 (release), REVISION: 4.3, GCID: ...".

    Args:
        text: content of /etc/nv_tegra_release.
    """
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return f"R{found[1]}.{found[2]}" if found else None


def nvpmodel_mode(text: str | None) -> str | None:
    """Return "MAXN (0)" of nvpmodel's "NV Power Mode: MAXN" and the number in the next line.

    Args:
        text: output of `nvpmodel -q`; None where it does not run.
    """
    found = re.search(r"Power Mode: *(\S+)\s+(\d+)", text or "")
    return f"{found[1]} ({found[2]})" if found else None


def clocks_locked(text: str | None) -> bool | None:
    """Return whether in the output of `jetson_clocks --show` every CPU and GPU runs at its top.

    That is what `jetson_clocks` does: it raises each minimum frequency to the maximum.

    Args:
        text: that output; None where it does not run.
    """
    pairs = re.findall(r"\b(?:cpu\d+|GPU)\b.*?MinFreq=(\d+) MaxFreq=(\d+)", text or "")
    return all(low == high for low, high in pairs) if pairs else None


def _packages() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _commit(folder: Path) -> str | None:
    """Return the commit of litestereo's checkout; None where it is installed, not checked out."""
    git = ("git", "-C", str(folder))
    if not _output(*git, "ls-files", "--", Path(__file__).name):
        return None
    commit = _output(*git, "rev-parse", "HEAD")
    changed = _output(*git, "status", "--porcelain", "--untracked-files=no")
    return None if commit is None else commit.strip() + ("-dirty" if changed else "")


def _cpu() -> Cpu:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    governor = _text(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))
    return Cpu(
        name=_cpu_name(_text(Path("/proc/cpuinfo")) or ""),
        cores=cores or 1,
        governor=governor.strip() if governor else None,
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    )


def _cpu_name(cpuinfo: str) -> str:
    """Return the name in /proc/cpuinfo; ARM kernels give none, there the architecture has to do."""
    found = re.search(r"^(?:model name|Model)\s*: *(.+)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _gpu(index: int) -> Gpu | None:
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return _described(pynvml, pynvml.nvmlDeviceGetHandleByIndex(index))
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def _described(nvml: Any, handle: Any) -> Gpu:  # noqa: ANN401 - untyped package
    version = int(nvml.nvmlSystemGetCudaDriverVersion())
    return Gpu(
        name=_string(nvml.nvmlDeviceGetName(handle)),
        driver=_string(nvml.nvmlSystemGetDriverVersion()),
        cuda=f"{version // 1000}.{version % 1000 // 10}",
        memory_mib=int(nvml.nvmlDeviceGetMemoryInfo(handle).total) // 2**20,
        power_limit_w=_asked(nvml, "nvmlDeviceGetEnforcedPowerLimit", handle, scale=1e-3),
        power_mode={0.0: "persistence off", 1.0: "persistence on"}.get(
            _asked(nvml, "nvmlDeviceGetPersistenceMode", handle)  # type: ignore[arg-type]
        ),
    )


def _asked(nvml: Any, function: str, handle: Any, *, scale: float = 1.0) -> float | None:  # noqa: ANN401
    try:
        return float(getattr(nvml, function)(handle)) * scale
    except nvml.NVMLError:
        return None


def _string(value: str | bytes) -> str:
    """Return text: old versions of nvidia-ml-py give bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return None


def _output(command: str, *arguments: str) -> str | None:
    """Return what a command prints; None where it is not installed, fails or hangs."""
    found = shutil.which(command)
    if found is None:
        return None
    try:
        ran = subprocess.run(
            [found, *arguments], capture_output=True, text=True, timeout=_COMMAND_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ran.stdout if ran.returncode == 0 else None
