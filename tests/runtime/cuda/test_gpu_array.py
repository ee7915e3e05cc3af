import gc

import numpy as np
import pytest

from litestereo.errors import InputError
from litestereo.runtime.cuda.dlpack import CPU, CUDA, memory_from_capsule
from litestereo.runtime.cuda.gpu_array import GpuArray, gpu_array


def on_cpu(values):
    """Return the array as a GpuArray that says it is on the CPU, where NumPy can read it."""
    return GpuArray(values.ctypes.data, values.shape, values.dtype, (CPU, 0), values)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64, np.float16])
def test_dlpack_hands_the_same_memory_out(dtype):
    values = np.arange(24).astype(dtype).reshape(2, 3, 4)
    seen = np.from_dlpack(on_cpu(values))
    assert seen.ctypes.data == values.ctypes.data
    np.testing.assert_array_equal(seen, values)
    assert seen.dtype == dtype


def test_memory_that_is_handed_out_lives_as_long_as_it_is_read():
    from litestereo.runtime.cuda import dlpack

    seen = np.from_dlpack(on_cpu(np.full((100, 100), 7, np.float32)))
    gc.collect()
    assert len(dlpack._handed_out) == 1
    assert (seen == 7).all()
    del seen
    gc.collect()
    assert not dlpack._handed_out


def test_torch_reads_it():
    torch = pytest.importorskip("torch")
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(torch.from_dlpack(on_cpu(values)).numpy(), values)


def test_a_capsule_is_taken_over_once_and_given_back():
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    capsule = values.__dlpack__()
    address, shape, dtype, device, owner = memory_from_capsule(capsule)
    assert (address, shape, dtype, device) == (values.ctypes.data, (3, 4), np.uint8, (CPU, 0))
    with pytest.raises(InputError, match="consumed before"):
        memory_from_capsule(capsule)
    del owner  # calls NumPy's deleter; a crash here would end the test run


def test_strided_and_odd_tensors_are_refused():
    with pytest.raises(InputError, match=r"strides \(1, 3\); make it contiguous"):
        memory_from_capsule(np.zeros((4, 3), np.uint8).T.__dlpack__())
    with pytest.raises(InputError, match="need plain integers or floats"):
        memory_from_capsule(np.zeros(3, np.complex64).__dlpack__())


class Torchlike:
    def __init__(self, **changes):
        self.__cuda_array_interface__ = {
            "version": 2,
            "shape": (4, 5, 3),
            "typestr": "|u1",
            "data": (0x7F00, False),
            "strides": None,
            **changes,
        }


def test_the_cuda_array_interface_is_read():
    source = Torchlike(strides=(15, 3, 1))
    array = gpu_array(source, stream=0)
    assert (array.address, array.shape, array.dtype) == (0x7F00, (4, 5, 3), np.uint8)
    assert array.owner is source
    assert gpu_array(array, stream=0) is array


def test_the_cuda_array_interface_is_written():
    array = GpuArray(0x10, (2, 3), np.dtype(np.float32))
    interface = array.__cuda_array_interface__
    assert (interface["typestr"], interface["data"], interface["shape"]) == (
        "<f4",
        (0x10, False),
        (2, 3),
    )
    again = gpu_array(type("Other", (), {"__cuda_array_interface__": interface})(), stream=0)
    assert (again.address, again.shape, again.dtype) == (0x10, (2, 3), np.float32)
    assert array.__dlpack_device__() == (CUDA, 0)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Torchlike(strides=(3, 12, 1)), "make it contiguous"),
        (Torchlike(mask=object()), "has a mask"),
        (np.zeros((4, 5, 3), np.uint8), "device type 1, not on a CUDA GPU"),
        ([1, 2], "a list is no GPU array"),
    ],
)
def test_what_is_no_plain_gpu_array_is_refused(source, message):
    with pytest.raises(InputError, match=message):
        gpu_array(source, stream=0)


class OnGpu:
    """A DLPack exporter that says GPU and notes the stream it was asked for."""

    def __init__(self, values):
        self.values = values
        self.streams = []

    def __dlpack_device__(self):
        return (CUDA, 1)

    def __dlpack__(self, *, stream):
        self.streams.append(stream)
        return self.values.__dlpack__()


@pytest.mark.parametrize(("stream", "asked"), [(0, 1), (140, 140)])
def test_dlpack_is_asked_for_the_callers_stream(stream, asked):
    source = OnGpu(np.zeros((2, 2), np.uint8))
    assert gpu_array(source, stream=stream).shape == (2, 2)
    assert source.streams == [asked]
