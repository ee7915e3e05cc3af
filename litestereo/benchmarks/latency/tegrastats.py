"""One line of NVIDIA's `tegrastats`, whose form has changed with every JetPack.

    JetPack 4, 5.0   EMC_FREQ 2%@1600 GR3D_FREQ 0%@114 ... CPU@33C ... POM_5V_IN 2532/2532
    JetPack 5.1, 6   GR3D_FREQ 0%@[305] ... cpu@46.4C ... gpu@45.9C ... VDD_IN 4876mW/4876mW
    JetPack 7        gpu@48.281C ... VDD_GPU 5525mW/5525mW ... VIN 24123mW/24123mW; no GR3D_FREQ

Fields come and go with the board and with root rights, so that each is looked for by itself.
Source: "tegrastats Utility" in the Jetson Linux developer guides of R32, R35, R36 and R38.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Tegrastats", "parse_tegrastats"]

# The rail that feeds the whole module, by board: TX1, TX2, Xavier NX, Orin Nano and NX; Thor; Nano.
_TOTAL_RAILS = ("VDD_IN", "VIN", "POM_5V_IN")
# AGX boards have no such rail: the module's power is the sum of these. The memory's own rail of AGX
# Orin (VDDQ_VDD2_1V8AO) is fed from VIN_SYS_5V0, and would count twice.
_PARTIAL_RAILS = (
    *("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # AGX Orin
    *("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier
)


@dataclass(frozen=True, slots=True)
class Tegrastats:
    """What a line says; None is what it does not hold.

    Attributes:
        ram_used_mib: of the memory that CPU and GPU share.
        ram_total_mib: of the same.
        gpu_percent: load of the GPU.
        gpu_clock_mhz: of the GPU; the largest where it has several.
        memory_clock_mhz: of the memory controller (EMC).
        gpu_c: temperature, Celsius.
        cpu_c: temperature.
        power_w: of the whole module: its input rail, or the sum of the rails that a board has.
        rails_w: every rail by name.
    """

    ram_used_mib: int | None
    ram_total_mib: int | None
    gpu_percent: int | None
    gpu_clock_mhz: float | None
    memory_clock_mhz: float | None
    gpu_c: float | None
    cpu_c: float | None
    power_w: float | None
    rails_w: dict[str, float]


def parse_tegrastats(line: str) -> Tegrastats:
    """Return what a line holds; a line of something else holds nothing.

    Args:
        line: as `tegrastats` prints it.
    """
    ram = re.search(r"\bRAM (\d{1,9})/(\d{1,9})MB", line)
    gpu_percent, gpu_clock = _load(line, "GR3D_FREQ")
    rails = _rails_w(line)
    return Tegrastats(
        ram_used_mib=int(ram[1]) if ram else None,
        ram_total_mib=int(ram[2]) if ram else None,
        gpu_percent=gpu_percent,
        gpu_clock_mhz=gpu_clock,
        memory_clock_mhz=_load(line, "EMC_FREQ")[1],
        gpu_c=_temperature(line, "gpu"),
        cpu_c=_temperature(line, "cpu"),
        power_w=_total_w(rails),
        rails_w=rails,
    )


def _load(line: str, name: str) -> tuple[int | None, float | None]:
    """Return (percent, MHz) of "NAME 12%@[305,0]", "NAME 12%@305", "NAME 12%" or "NAME @305"."""
    percent, clocks_mhz = r"(?:(\d{1,3})%)?", r"(?:@\[?(\d{1,6}(?:,\d{0,6}){0,63})\]?)?"
    found = re.search(rf"\b{name} {percent}{clocks_mhz}", line)
    if found is None:
        return None, None
    clocks = [float(clock) for clock in (found[2] or "").split(",") if clock]
    return int(found[1]) if found[1] else None, max(clocks) if clocks else None


def _temperature(line: str, sensor: str) -> float | None:
    """Return degrees of "GPU@39C" or "gpu@45.9C"; -256 is how a sleeping GPU is shown."""
    found = re.search(rf"\b{sensor}@(-?\d{{1,4}}(?:\.\d{{1,6}})?)C", line, re.IGNORECASE)
    degrees = float(found[1]) if found else None
    return None if degrees is None or degrees <= -200 else degrees


def _rails_w(line: str) -> dict[str, float]:
    """Return the rails' present power of "NAME 4876mW/4900mW" and, before JetPack 5, "NAME 1/2"."""
    rails = re.findall(r"\b([A-Z][A-Z0-9_]{0,63}) (\d{1,9})(?:mW)?/(\d{1,9})(?:mW)?(?=\s|$)", line)
    return {name: int(now) / 1e3 for name, now, _ in rails}


def _total_w(rails: dict[str, float]) -> float | None:
    for name in _TOTAL_RAILS:
        if name in rails:
            return rails[name]
    parts = [rails[name] for name in _PARTIAL_RAILS if name in rails]
    return sum(parts) if parts else None
