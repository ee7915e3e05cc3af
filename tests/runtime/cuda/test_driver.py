import ctypes

import pytest

from litestereo.errors import EngineError, InputError, MissingDependencyError
from litestereo.runtime import cuda
from litestereo.runtime.cuda.driver import Driver


class Library:
    """A libcuda of one Orin; `fail` maps a function to the status it returns."""

    def __init__(self, *, devices=1, fail=None, memory_bytes=32_000_000_000):
        self.devices, self.memory_bytes = devices, memory_bytes
        self.fail = fail or {}
        self.calls = []

    def __getattr__(self, name):
        if not name.startswith("cu"):
            raise AttributeError(name)

        def function(*arguments):
            self.calls.append(name)
            if name in self.fail:
                return self.fail[name]
            getattr(self, f"_{name}", lambda *_: None)(*arguments)
            return 0

        return function

    def _cuDeviceGetCount(self, out):
        out._obj.value = self.devices

    def _cuDeviceGet(self, out, index):
        out._obj.value = index.value

    def _cuDeviceGetName(self, buffer, size, device):
        buffer.value = b"Orin"

    def _cuDeviceGetAttribute(self, out, number, device):
        out._obj.value = {16: 14, 18: 1, 75: 8, 76: 7}[number.value]

    def _cuDeviceTotalMem_v2(self, out, device):
        out._obj.value = self.memory_bytes

    def _cuDriverGetVersion(self, out):
        out._obj.value = 12060

    def _cuGetErrorName(self, status, out):
        out._obj.value = b"CUDA_ERROR_NO_DEVICE"


def test_a_gpu_is_described():
    info = Driver.open(load=lambda _: Library()).device_info(0)
    assert (info.name, info.sm, info.compute_capability) == ("Orin", "sm_87", (8, 7))
    assert info.integrated
    assert info.driver_version == (12, 6)
    assert (info.multiprocessors, info.memory_bytes, info.memory_gb) == (14, 32_000_000_000, 32)


@pytest.mark.parametrize(
    ("gib", "memory_gb"), [(0, 1), (3.3, 4), (7.2, 8), (15.2, 16), (29.8, 32), (61.4, 64)]
)
def test_memory_is_told_as_boards_are_sold(gib, memory_gb):
    library = Library(memory_bytes=int(gib * 2**30))
    assert Driver.open(load=lambda _: library).device_info(0).memory_gb == memory_gb


def test_a_missing_driver_says_what_to_do():
    def load(name):
        raise OSError(f"{name}: cannot open shared object file")

    with pytest.raises(EngineError, match=r"no CUDA driver here \(libcuda.so.1.*onnxruntime-cpu"):
        Driver.open(load=load)


def test_a_driver_that_does_not_start_is_named():
    library = Library(fail={"cuInit": 100})
    with pytest.raises(
        EngineError, match=r"cuInit failed with CUDA_ERROR_NO_DEVICE \(100\): no GPU"
    ):
        Driver.open(load=lambda _: library)
    library = Library(fail={"cuInit": 42, "cuGetErrorName": 1})
    with pytest.raises(EngineError, match="CUDA error 42"):
        Driver.open(load=lambda _: library)


def test_no_gpu_and_no_such_gpu():
    with pytest.raises(EngineError, match="sees no GPU"):
        Driver.open(load=lambda _: Library(devices=0))
    with pytest.raises(EngineError, match="GPU 2 is asked for; the driver sees 2"):
        Driver.open(load=lambda _: Library(devices=2)).device_info(2)


def test_this_machines_answer_is_ours():
    """With a driver it opens, without one it says so; it never crashes."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        with pytest.raises(EngineError, match="no CUDA driver"):
            cuda.open_device()
    else:
        assert Driver.open().device_count() >= 1


def test_events_go_by_handle():
    library = Library()
    driver = Driver.open(load=lambda _: library)
    event = driver.event()
    driver.record(event, 7)
    driver.wait(7, event)
    driver.destroy_event(event)
    assert library.calls[-4:] == [
        "cuEventCreate",
        "cuEventRecordWithFlags",
        "cuStreamWaitEvent",
        "cuEventDestroy_v2",
    ]


def installed(*names):
    return lambda module: module in names


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("pycuda", "cuda.bindings"), "pycuda"),
        (("cuda.bindings",), "cuda-bindings"),
    ],
)
def test_auto_takes_what_is_there(monkeypatch, names, chosen):
    monkeypatch.setattr(cuda, "is_installed", installed(*names))
    assert cuda.choose_binding() == chosen


def test_a_binding_that_is_not_there_is_never_replaced(monkeypatch):
    monkeypatch.setattr(cuda, "is_installed", installed("cuda.bindings"))
    with pytest.raises(MissingDependencyError, match=r"pycuda is not installed.*\[tensorrt\]"):
        cuda.choose_binding("pycuda")
    monkeypatch.setattr(cuda, "is_installed", installed())
    with pytest.raises(MissingDependencyError, match="pycuda or cuda-bindings"):
        cuda.choose_binding()
    with pytest.raises(InputError, match="must be one of auto, pycuda, cuda-bindings"):
        cuda.choose_binding("cupy")


def test_a_child_of_a_missing_package_is_missing():
    assert not cuda.is_installed("no_such_package.child")
    assert cuda.is_installed("numpy.linalg")
