"""The CUDA backend's refusals: on a machine without a GPU it can only be seen to refuse."""

import json
import platform
import sys

import onnxruntime
import pytest
from fake_cuda import fake_info
from stand_in import write_stand_in

from litestereo.errors import EngineError, MissingDependencyError
from litestereo.runtime.backends import BackendOptions, onnxruntime_cuda, open_backend
from litestereo.runtime.backends.onnxruntime_cuda import _node_places

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that there is an Orin, and an ONNX Runtime that was compiled with CUDA."""

    class Driver:
        @classmethod
        def open(cls):
            return cls()

        def device_info(self, index):
            return fake_info(index=index, name="Orin")

    monkeypatch.setattr(onnxruntime_cuda, "Driver", Driver)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)


@pytest.fixture
def started(monkeypatch):
    """Pretend that ONNX Runtime says that CUDA has started; it computes on the CPU all the same."""
    session = onnxruntime.InferenceSession
    opened = []

    def pretend(content, options, providers):
        opened.append(providers)
        made = session(content, options, providers=[CPU])
        made.get_providers = lambda: [CUDA, CPU]
        return made

    monkeypatch.setattr(onnxruntime, "InferenceSession", pretend)
    return opened


def load(path):
    return open_backend("onnxruntime-cuda", path, options=BackendOptions())


def test_a_cpu_build_is_refused(gpu, monkeypatch, tmp_path):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(EngineError, match="overwrite each other") as caught:
        load(write_stand_in(tmp_path / "a.onnx"))
    assert "sm_87" not in str(caught.value)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(EngineError, match=r"aarch64 is built for server GPUs.*Orin is sm_87"):
        load(write_stand_in(tmp_path / "a.onnx"))


def test_a_provider_that_does_not_start_is_refused(gpu, tmp_path):
    """What really happens here: the wheel has no CUDA, takes the CPU and only warns."""
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(EngineError, match=r"could not start its CUDA provider for Orin"),
    ):
        load(write_stand_in(tmp_path / "a.onnx"))


def test_a_run_on_the_cpu_is_never_taken_for_a_gpus(gpu, started, tmp_path):
    with pytest.raises(EngineError, match=r"CPUExecutionProvider.*never taken for a GPU's"):
        load(write_stand_in(tmp_path / "a.onnx", size=(64, 96)))
    ((name, settings),) = started[0]
    assert (name, settings["device_id"], settings["use_tf32"]) == (CUDA, "0", "0")


def test_kernels_that_are_not_there_are_explained(gpu, started, monkeypatch, tmp_path):
    def no_kernel(*_):
        raise EngineError("cudaErrorNoKernelImageForDevice")

    monkeypatch.setattr(onnxruntime_cuda, "run", no_kernel)
    with pytest.raises(EngineError, match=r"do not run on Orin \(sm_87\).*use --backend tensorrt"):
        load(write_stand_in(tmp_path / "a.onnx"))


def test_without_a_driver_nothing_is_tried(tmp_path):
    try:
        onnxruntime_cuda.Driver.open()
    except EngineError:
        with pytest.raises(EngineError, match="no CUDA driver"):
            load(write_stand_in(tmp_path / "a.onnx"))
    else:
        pytest.skip("there is a GPU")


def test_without_onnxruntime_the_extra_is_named(gpu, monkeypatch, tmp_path):
    path = write_stand_in(tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'litestereo\[gpu\]'"):
        load(path)


def event(op, provider, cat="Node"):
    return {"cat": cat, "args": {"op_name": op, "provider": provider}}


def test_the_profile_says_where_each_node_ran(tmp_path):
    profile = tmp_path / "p.json"
    events = [
        event("Conv", CUDA),
        event("Shape", CPU),
        event("MatMul", CPU),
        event("Conv", CUDA, cat="Session"),
        {"cat": "Node", "args": {}},
    ]
    profile.write_text(json.dumps(events))
    places, elsewhere = _node_places(profile)
    assert places == {CUDA: 1, CPU: 2}
    assert elsewhere == {"MatMul"}
