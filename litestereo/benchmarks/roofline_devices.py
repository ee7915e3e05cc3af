"""Peaks of the devices that the roofline knows: half-precision arithmetic and memory bandwidth."""

from __future__ import annotations

from dataclasses import dataclass

from litestereo.errors import InputError

__all__ = ["DEVICES", "RooflineDevice", "devices_called"]


@dataclass(frozen=True, slots=True)
class RooflineDevice:
    """What a device can do at most.

    Attributes:
        name: what users type.
        title: what it is.
        half_flops: dense FP16 operations a second on its tensor cores; a multiply-add is two.
        bytes_per_s: of its memory.
        measured: whether both were measured, or come from the maker's figures.
        source: where they come from.
    """

    name: str
    title: str
    half_flops: float
    bytes_per_s: float
    measured: bool
    source: str

    def floor_ms(self, *, operations: float, traffic_bytes: float) -> float:
        """Return the least time for so much work: the slower of arithmetic and memory.

        Args:
            operations: floating-point, in FP16.
            traffic_bytes: between chip and memory.
        """
        seconds = max(operations / self.half_flops, traffic_bytes / self.bytes_per_s)
        return 1e3 * seconds


# Of a Jetson, NVIDIA's data sheets state "TOPS" of sparse 8-bit arithmetic (Thor: sparse 4-bit),
# with the DLAs' share where there are some. A tensor core of an Orin makes 512 dense FP16
# operations a cycle: a quarter of the sparse 8-bit figure. Both ways agree on every module below.
_ORIN_FLOPS_PER_CORE_CYCLE = 512


def _orin(
    name: str, title: str, cores: int, mhz: float, gb_per_s: float, source: str
) -> RooflineDevice:
    flops = cores * mhz * 1e6 * _ORIN_FLOPS_PER_CORE_CYCLE
    return RooflineDevice(name, title, flops, gb_per_s * 1e9, measured=False, source=source)


_NANO = (
    "NVIDIA Jetson Orin Nano data sheet: 32 tensor cores, 40 sparse INT8 TOPS at 625 MHz, 68 GB/s"
)
_SUPER = "NVIDIA, Jetson Orin Nano Super: 67 sparse INT8 TOPS at 1020 MHz, 102 GB/s"
_NX = "NVIDIA Jetson Orin NX data sheet: 32 tensor cores at 918 MHz, 102.4 GB/s; without its DLAs"
_AGX = (
    "NVIDIA Jetson AGX Orin data sheet: 64 tensor cores at 1300 MHz (170 sparse INT8 TOPS without "
    "the DLAs), 204.8 GB/s"
)
_THOR = (
    "NVIDIA Jetson T5000 data sheet: 2070 sparse FP4 TFLOPS, of which dense FP16 is an eighth; "
    "273 GB/s"
)
_H200 = "measured on one H200: large matrix products, large copies"

DEVICES = {
    device.name: device
    for device in (
        RooflineDevice("h200", "H200", 790e12, 4.3e12, True, _H200),
        _orin("orin-nano", "Jetson Orin Nano 8 GB", 32, 625, 68, _NANO),
        _orin("orin-nano-super", "Jetson Orin Nano 8 GB, Super", 32, 1020, 102, _SUPER),
        _orin("orin-nx", "Jetson Orin NX 16 GB", 32, 918, 102.4, _NX),
        _orin("agx-orin", "Jetson AGX Orin 64 GB", 64, 1300, 204.8, _AGX),
        RooflineDevice(
            "thor", "Jetson Thor T5000", 2070e12 / 8, 273e9, measured=False, source=_THOR
        ),
    )
}
"""Every device by its name."""


def devices_called(names: tuple[str, ...]) -> tuple[RooflineDevice, ...]:
    """Return the devices of these names, all of them for none.

    Args:
        names: as in `DEVICES`.

    Raises:
        InputError: one is unknown.
    """
    for name in names:
        if name not in DEVICES:
            raise InputError(f"no device is called {name!r}; choose from {', '.join(DEVICES)}")
    return tuple(DEVICES[name] for name in names or DEVICES)
