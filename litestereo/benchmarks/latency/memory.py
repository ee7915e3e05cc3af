"""The memory of a subject, measured in a process that has nothing else to do.

In the process that times several subjects side by side, nobody can tell whose memory it is.
`python -m litestereo.benchmarks.latency.memory SUBJECT HEIGHT WIDTH` is that other process; it
reads a line of JSON with the rest, and prints one with the memory.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from litestereo.benchmarks.envelope import decode
from litestereo.benchmarks.latency.pictures import bench_pair
from litestereo.benchmarks.latency.sensors import gpu_index, open_nvml
from litestereo.benchmarks.latency.subjects import EngineSettings, SubjectSpec, open_subject
from litestereo.errors import EngineError

__all__ = ["Memory", "measure_memory"]

_PAIRS = 3
_LIMIT_S = 900.0  # compiling, or building an engine, takes minutes


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of a process that only loads a subject and matches a few pairs.

    Attributes:
        host_mib: largest resident memory, Python and libraries included; None where the kernel
            does not tell.
        device_mib: by which the GPU's used memory grew, CUDA context included; None without NVML,
            and on a Jetson, where host and GPU share one memory.
    """

    host_mib: float | None
    device_mib: float | None


def measure_memory(
    subject: str,
    *,
    size: tuple[int, int],
    device: str,
    threads: int | None,
    settings: EngineSettings | None = None,
) -> Memory:
    """Return the memory of a subject.

    Args:
        subject: as `SubjectSpec.parse` takes it.
        size: (height, width) of the pictures.
        device: of torch.
        threads: CPU threads; None leaves it to the subject.
        settings: of the tensorrt subjects.

    Raises:
        EngineError: the process failed.
    """
    command = [sys.executable, "-m", __spec__.name, subject, *map(str, size)]
    settings = settings or EngineSettings()
    rest = {"device": device, "threads": threads, "settings": settings.to_json()}
    try:
        ran = subprocess.run(
            command,
            input=json.dumps(rest),
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(
            f"measuring the memory of {subject} took over {_LIMIT_S:g} s; leave it out with "
            "--no-memory"
        ) from error
    if ran.returncode != 0:
        reason = (ran.stderr.strip().splitlines() or ["no words"])[-1]
        raise EngineError(
            f"measuring the memory of {subject} failed: {reason}; --no-memory leaves it out"
        )
    return decode(Memory, json.loads(ran.stdout.splitlines()[-1]), where="memory")


def _own_memory(
    spec: SubjectSpec,
    *,
    size: tuple[int, int],
    device: str,
    threads: int | None,
    settings: EngineSettings,
) -> Memory:
    """Load, match and look, in the process that does nothing else."""
    nvml = open_nvml(gpu=gpu_index(device, visible=os.environ.get("CUDA_VISIBLE_DEVICES")))
    before = None if nvml is None else nvml.used_mib()
    pair = bench_pair(size)
    subject = open_subject(spec, device=device, threads=threads, settings=settings)
    for _ in range(_PAIRS):
        subject(*pair)
    grown = None
    if nvml is not None and before is not None:
        grown = round(nvml.used_mib() - before, 1)
        nvml.close()
    peak_mib = _peak_mib(Path(f"/proc/{getattr(subject, 'process_id', 'self')}/status"))
    subject.close()
    return Memory(peak_mib, grown)


def _peak_mib(status: Path = Path("/proc/self/status")) -> float | None:
    """Return VmHWM; unlike getrusage's figure it starts anew with each program."""
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE)
    except OSError:
        return None
    return round(int(found[1]) / 1024, 1) if found else None


if __name__ == "__main__":
    text, height, width = sys.argv[1:]
    rest = json.load(sys.stdin)
    memory = _own_memory(
        SubjectSpec.parse(text),
        size=(int(height), int(width)),
        device=rest["device"],
        threads=rest["threads"],
        settings=EngineSettings.from_json(rest["settings"]),
    )
    print(json.dumps(asdict(memory)))
