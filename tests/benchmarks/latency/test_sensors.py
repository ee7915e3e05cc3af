"""tegrastats of several JetPacks, NVML by a stand-in, and a process that prints lines.

Samples marked "published" have the form, fields and figures of lines that users of these boards
published; those marked "constructed" were put together from the documented format, by nobody's
board.
"""

import sys
import time
from types import SimpleNamespace

import pytest

from litestereo.benchmarks.latency import sensors
from litestereo.benchmarks.latency.sensors import (
    NvmlSensor,
    Reading,
    TegrastatsSensor,
    gpu_index,
    open_sensor,
    throttle_reasons,
)
from litestereo.benchmarks.latency.tegrastats import parse_tegrastats

LINES = {
    # JetPack 4, Nano, constructed: power in mW without a unit, "EMC_FREQ" with and without clock
    "nano": "RAM 613/3964MB (lfb 634x4MB) SWAP 0/1982MB (cached 0MB) IRAM 0/252kB(lfb 252kB) "
    "CPU [2%@102,1%@102,0%@102,0%@102] EMC_FREQ 7%@1600 GR3D_FREQ 12%@921 PLL@39C CPU@40.5C "
    "PMIC@100C GPU@41C AO@46C thermal@41C POM_5V_IN 2900/2943 POM_5V_GPU 40/40 POM_5V_CPU 123/123",
    # JetPack 4, AGX Xavier, constructed: no rail for the module, the parts add up
    "xavier": "RAM 2245/31920MB (lfb 6908x4MB) SWAP 0/15960MB (cached 0MB) "
    "CPU [1%@1190,0%@1190,off,off] EMC_FREQ 1%@1600 GR3D_FREQ 30%@905 APE 150 MTS fg 0% bg 0% "
    "AO@36.5C GPU@38C Tdiode@40.75C PMIC@100C AUX@36.5C CPU@37C thermal@36.9C Tboard@38C "
    "GPU 1500/1400 CPU 311/311 SOC 1244/1244 CV 0/0 VDDRQ 155/155 SYS5V 1811/1811",
    # JetPack 5 and 6, Orin Nano and NX, constructed
    "orin_nx": "11-14-2024 22:50:33 RAM 3024/7620MB (lfb 1x4MB) SWAP 20/3810MB (cached 0MB) "
    "CPU [9%@1420,0%@729,off,off] EMC_FREQ 0%@2133 GR3D_FREQ 63%@[611] NVDEC off APE 200 "
    "cpu@50.312C soc2@48.2C soc0@49C gpu@49.5C tj@50.3C soc1@49C "
    "VDD_IN 4876mW/4900mW VDD_CPU_GPU_CV 1200mW/1100mW VDD_SOC 1478mW/1318mW",
    # JetPack 6, AGX Orin, published: idle, the GPU asleep, two GPCs
    "agx_orin": "04-11-2025 10:36:27 RAM 4321/62801MB (lfb 1759x4MB) SWAP 19/31400MB (cached 0MB) "
    "CPU [0%@729,0%@729] EMC_FREQ 0%@2133 GR3D_FREQ 0%@[0,0] VIC_FREQ 729 APE 174 CV0@-256C "
    "CPU@44.562C Tboard@32C GPU@-256C tj@44.343C VDD_GPU_SOC 2340mW/2340mW "
    "VDD_CPU_CV 390mW/390mW VIN_SYS_5V0 4025mW/4025mW NC 0mW/0mW VDDQ_VDD2_1V8AO 301mW/301mW",
    # JetPack 7, Thor, constructed: no GR3D_FREQ, a limit behind the temperature
    "thor": "07-02-2026 09:00:00 RAM 9000/125772MB (lfb 3x4MB) SWAP 0/0MB (cached 0MB) "
    "CPU [3%@1530,1%@972] cpu@48.1C/109C tj@50.2C/109C gpu@62.906C/109C "
    "VDD_GPU 5525mW/5600mW VDD_CPU_SOC_MSS 7900mW/7900mW VIN_SYS_5V0 4700mW/4700mW "
    "VIN 24123mW/24000mW",
}


@pytest.mark.parametrize(
    ("board", "power_w", "gpu_clock", "percent", "emc", "gpu_c", "cpu_c", "ram"),
    [
        ("nano", 2.9, 921, 12, 1600, 41, 40.5, (613, 3964)),
        ("xavier", 5.021, 905, 30, 1600, 38, 37, (2245, 31920)),
        ("orin_nx", 4.876, 611, 63, 2133, 49.5, 50.312, (3024, 7620)),
        ("agx_orin", 6.755, 0, 0, 2133, None, 44.562, (4321, 62801)),
        ("thor", 24.123, None, None, None, 62.906, 48.1, (9000, 125772)),
    ],
)
def test_lines_of_several_jetpacks(board, power_w, gpu_clock, percent, emc, gpu_c, cpu_c, ram):
    stats = parse_tegrastats(LINES[board])
    assert stats.power_w == pytest.approx(power_w)
    assert (stats.gpu_clock_mhz, stats.gpu_percent, stats.memory_clock_mhz) == (
        gpu_clock,
        percent,
        emc,
    )
    assert (stats.gpu_c, stats.cpu_c) == (gpu_c, cpu_c)
    assert (stats.ram_used_mib, stats.ram_total_mib) == ram


def test_memory_is_no_power_rail():
    assert set(parse_tegrastats(LINES["nano"]).rails_w) == {
        "POM_5V_IN",
        "POM_5V_GPU",
        "POM_5V_CPU",
    }


@pytest.mark.parametrize("line", ["", "no figures here", "RAM x/yMB GR3D_FREQ"])
def test_other_lines_hold_nothing(line):
    stats = parse_tegrastats(line)
    assert (stats.power_w, stats.gpu_c, stats.ram_used_mib, stats.gpu_clock_mhz) == (None,) * 4


def test_a_running_tegrastats_is_followed():
    line = LINES["orin_nx"]
    code = f"import time\nprint({line!r}, flush=True)\ntime.sleep(60)"
    sensor = TegrastatsSensor([sys.executable, "-c", code])
    deadline = time.monotonic() + 20
    while sensor.read() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sensor.read() == Reading(4.876, 611.0, 2133.0, 49.5, 50.312)
    sensor.close()
    assert not sensor._thread.is_alive()


class Nvml:
    """Answers like nvidia-ml-py for a GPU that tells all but its temperature."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        pass

    def __init__(self, *, mask=0x4 | 0x1):
        self.mask, self.open = mask, True

    def nvmlInit(self):
        pass

    def nvmlShutdown(self):
        self.open = False

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetPowerUsage(self, handle):
        return 123_456

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return {1: 1980, 2: 3201}[kind]

    def nvmlDeviceGetTemperature(self, handle, sensor):
        raise self.NVMLError("not supported")

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(used=3 * 2**30, total=8 * 2**30)

    def nvmlDeviceGetName(self, handle):
        return b"Stand-in GPU"

    def nvmlSystemGetDriverVersion(self):
        return "570.1"

    def nvmlSystemGetCudaDriverVersion(self):
        return 12080

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):
        return 700_000

    def nvmlDeviceGetPersistenceMode(self, handle):
        return 1

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):  # the name before driver 535
        return self.mask


def test_nvml_tells_what_it_can():
    sensor = NvmlSensor(Nvml())
    assert sensor.read() == Reading(123.456, 1980, 3201, None, None, ("software power cap",))
    assert sensor.used_mib() == 3072


def test_gpu_in_the_environment(monkeypatch):
    from litestereo.benchmarks.latency.environment import Gpu, read_environment

    monkeypatch.setitem(sys.modules, "pynvml", Nvml())
    gpu = read_environment().gpu
    assert gpu == Gpu("Stand-in GPU", "570.1", "12.8", 8192, 700.0, "persistence on")


def test_nvml_is_used_where_there_is_no_tegrastats(monkeypatch):
    nvml = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(sensors.shutil, "which", lambda name: None)
    with open_sensor() as sensor:
        assert sensor.name == "nvml"
    assert not nvml.open


def test_without_either_nothing_is_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(sensors.shutil, "which", lambda name: None)
    with open_sensor() as sensor:
        assert (sensor.name, sensor.read()) == ("none", None)


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        (0, ()),
        (0x1, ()),
        (0x60, ("software thermal slowdown", "hardware thermal slowdown")),
        (0x1000, ("reason 0x1000",)),
    ],
)
def test_throttle_reasons(mask, names):
    assert throttle_reasons(mask) == names


@pytest.mark.parametrize(
    ("device", "visible", "index"),
    [
        ("cuda", None, 0),
        ("cuda:1", None, 1),
        ("cuda", "3", 3),
        ("cuda:1", "3,5", 5),
        ("cpu", "2", 2),
        ("cuda", "GPU-1234", 0),
    ],
)
def test_gpu_index_is_nvmls(device, visible, index):
    assert gpu_index(device, visible=visible) == index
