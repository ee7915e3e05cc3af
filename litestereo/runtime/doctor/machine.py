"""What a machine has: system, memory, GPU and driver, packages, power mode, providers that run."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from litestereo._version import __version__
from litestereo.runtime.doctor.findings import Finding
from litestereo.runtime.doctor.providers import ProviderReport, examine_providers

__all__ = ["MachineReport", "examine_machine"]

Command = Callable[[Sequence[str]], str | None]

_PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "pycuda",
    "cuda-bindings",
)
# Packages that are there but do not load are the commonest trouble, so these are imported.
_IMPORTS = {"tensorrt": "tensorrt", "pycuda": "pycuda.driver", "cuda-bindings": "cuda.bindings"}
_LOW_MEMORY_MB = 1024
_GPU_FIELDS = ("name", "driver_version", "memory.total", "memory.free")
_FULL_POWER = re.compile(r"MAXN", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MachineReport:
    """A machine.

    Attributes:
        facts: versions, sizes and states, ready for JSON.
        findings: what is wrong with it.
    """

    facts: dict[str, Any]
    findings: tuple[Finding, ...]


def examine_machine(
    *,
    command: Command | None = None,
    root: Path = Path("/"),
    providers: Callable[[], list[ProviderReport]] = examine_providers,
) -> MachineReport:
    """Return what this machine has and what is wrong with it.

    Args:
        command: runs a program and returns its output, None where it is not there.
        root: where /proc and /etc are; another folder for tests.
        providers: which ONNX Runtime providers run.
    """
    command = command or _output_of
    facts: dict[str, Any] = {
        "litestereo": __version__,
        "system": platform.platform(),
        "python": platform.python_version(),
        "cores": _cores(),
        "memory_mb": _memory(root),
        "gpus": _gpus(command),
        "jetson": _jetson(command, root),
        "packages": _packages(),
        "imports": {name: _import_trouble(module) for name, module in _IMPORTS.items()},
        "providers": {report.name: report.why or "runs" for report in providers()},
    }
    findings = (
        *_package_findings(facts),
        *_gpu_findings(facts),
        *_provider_findings(facts["providers"]),
        *_memory_findings(facts),
        *_power_findings(facts["jetson"]),
    )
    return MachineReport(facts, tuple(sorted(findings, key=lambda finding: finding.level)))


def _output_of(arguments: Sequence[str]) -> str | None:
    program = shutil.which(arguments[0])
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *arguments[1:]], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory(root: Path) -> dict[str, int]:
    """Return total and available memory in MB; empty where the system does not say."""
    try:
        text = (root / "proc/meminfo").read_text()
    except OSError:
        return {}
    found = dict(re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB", text, flags=re.MULTILINE))
    names = {"MemTotal": "total", "MemAvailable": "available"}
    return {ours: int(found[name]) // 1024 for name, ours in names.items() if name in found}


def _gpus(command: Command) -> list[dict[str, Any]]:
    fields = ",".join(_GPU_FIELDS)
    text = command(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"])
    gpus = []
    for line in (text or "").splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == len(_GPU_FIELDS):
            # A Jetson's GPU shares the memory of the CPU and answers [N/A].
            total, free = (int(part) if part.isdigit() else None for part in parts[2:])
            gpus.append({"name": parts[0], "driver": parts[1], "total_mb": total, "free_mb": free})
    return gpus


def _jetson(command: Command, root: Path) -> dict[str, Any] | None:
    """Return release and power mode of a Jetson, None elsewhere."""
    try:
        release = (root / "etc/nv_tegra_release").read_text().strip()
    except OSError:
        return None
    text = command(["nvpmodel", "-q"]) or ""
    mode = re.search(r"NV Power Mode:\s*(\S+)", text)
    return {"release": release.splitlines()[0], "power_mode": mode[1] if mode else None}


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _import_trouble(module: str) -> str:
    """Return "imports", "not installed", or why a package does not load."""
    try:
        import_module(module)
    except ModuleNotFoundError:
        return "not installed"
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return " ".join(str(error).split())[:200] or type(error).__name__
    return "imports"


def _fault(check: str, what: str, fix: str, value: float = 0.0, unit: str = "") -> Finding:
    return Finding(check, "fault", value, unit, None, what, fix)


def _note(check: str, what: str, fix: str) -> Finding:
    return Finding(check, "note", 0.0, "", None, what, fix)


def _package_findings(facts: dict[str, Any]) -> Iterator[Finding]:
    packages: dict[str, str] = facts["packages"]
    for family in (("onnxruntime", "onnxruntime-gpu"), ("opencv-python", "opencv-python-headless")):
        there = [name for name in family if name in packages]
        if len(there) > 1:
            yield _fault(
                "packages",
                f"{' and '.join(there)} are both installed and overwrite each other's files",
                f"pip uninstall -y {' '.join(family)}, then install the one you need",
                float(len(there)),
            )
    for name, state in facts["imports"].items():
        if state not in ("imports", "not installed"):
            yield _fault(
                "packages",
                f"{name} is installed and does not load: {state}",
                "install the build for this CUDA and driver; on a Jetson use the system's package",
            )
    if not facts["providers"] and facts["imports"]["tensorrt"] != "imports":
        yield _fault(
            "backends",
            "neither ONNX Runtime nor TensorRT is there: nothing can run a model",
            "pip install 'litestereo[cpu]', or see the extras gpu and tensorrt",
        )


def _gpu_findings(facts: dict[str, Any]) -> Iterator[Finding]:
    if not facts["gpus"] and facts["jetson"] is None:
        yield _note(
            "gpu",
            "no NVIDIA GPU or driver answers (nvidia-smi)",
            "nothing, if the CPU is meant; else install the driver, or give the container the GPU",
        )
        return
    missing = [
        name
        for name in ("tensorrt", "pycuda", "cuda-bindings")
        if facts["imports"][name] == "not installed"
    ]
    if "tensorrt" in missing or {"pycuda", "cuda-bindings"} <= set(missing):
        yield _note(
            "gpu",
            f"there is a GPU and no {', no '.join(missing)}: TensorRT engines cannot run",
            "pip install 'litestereo[tensorrt]'; on a Jetson take JetPack's TensorRT",
        )


def _provider_findings(providers: dict[str, str]) -> Iterator[Finding]:
    for name, state in providers.items():
        if state != "runs":
            yield _fault(
                "onnxruntime provider",
                f"{name} is listed and does not run: {state}",
                "install the CUDA, cuDNN or TensorRT that this onnxruntime was built for",
            )


def _memory_findings(facts: dict[str, Any]) -> Iterator[Finding]:
    places = {"memory": facts["memory_mb"].get("available")}
    places |= {f"memory of {gpu['name']}": gpu["free_mb"] for gpu in facts["gpus"]}
    for place, free_mb in places.items():
        if free_mb is not None and free_mb < _LOW_MEMORY_MB:
            yield _fault(
                "memory",
                f"{free_mb} MB of {place} are free; need {_LOW_MEMORY_MB} MB",
                "end other programs; building an engine needs the most, so do that alone",
                float(free_mb),
                "MB",
            )


def _power_findings(jetson: dict[str, Any] | None) -> Iterator[Finding]:
    mode = jetson and jetson["power_mode"]
    if mode and not _FULL_POWER.search(mode):
        yield _note(
            "power mode",
            f"the Jetson runs in power mode {mode}",
            "sudo nvpmodel -m 0 and sudo jetson_clocks for full speed",
        )
