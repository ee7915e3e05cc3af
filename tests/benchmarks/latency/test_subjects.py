"""What can be timed: names, stages of engines with and without a device's clock, torch, SGBM."""

import re
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from stand_in import expected, write_stand_in

from litestereo.benchmarks.latency import torch_subject
from litestereo.benchmarks.latency.subjects import (
    DeviceTimes,
    EngineSubject,
    SgbmSubject,
    SubjectSpec,
    open_subject,
)
from litestereo.errors import InputError, LiteStereoError
from litestereo.runtime import backends

SIZE = (40, 70)


@pytest.fixture
def pair(rng):
    return tuple(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8) for _ in range(2))


@pytest.fixture
def artefact(tmp_path):
    return write_stand_in(tmp_path / "tiny.onnx")


@pytest.mark.parametrize(
    ("text", "label", "model", "backend", "variant"),
    [
        ("las1@onnxruntime-cpu", "las1@onnxruntime-cpu", "las1", "onnxruntime-cpu", ""),
        ("las1@torch", "las1@torch", "las1", "torch", "eager"),
        ("las1@torch:compile", "las1@torch:compile", "las1", "torch", "compile"),
        ("out/a@b.onnx@torch", "a@b@torch", "out/a@b.onnx", "torch", "eager"),
        ("sgbm", "sgbm", "sgbm", "sgbm", ""),
    ],
)
def test_names(text, label, model, backend, variant):
    assert SubjectSpec.parse(text) == SubjectSpec(label, model, backend, variant)


@pytest.mark.parametrize(
    "text", ["las1", "@torch", "las1@", "las1@magic", "las1@torch:", "las1@torch:fast", "sgbm@x"]
)
def test_other_names_are_refused(text):
    with pytest.raises(InputError, match=re.escape(repr(text))):
        SubjectSpec.parse(text)


@pytest.mark.parametrize("backend", ["onnxruntime-cpu:fp16", "onnxruntime-cpu:"])
def test_precision_is_the_artefacts(backend):
    with pytest.raises(InputError, match="no variant"):
        SubjectSpec.parse(f"las1@{backend}")


def test_engine_on_the_cpu(artefact, pair):
    subject = EngineSubject(SubjectSpec.parse(f"{artefact}@onnxruntime-cpu"), threads=1)
    iteration = subject(*pair)
    np.testing.assert_allclose(iteration.disparity_px, expected(*pair)[0], rtol=1e-5)
    stages = iteration.stages_ms
    assert set(stages) == {"preprocess", "inference", "postprocess", "total"}
    parts = stages["preprocess"] + stages["inference"] + stages["postprocess"]
    assert 0 < parts <= stages["total"]
    info = subject.info
    assert (info.model, info.backend, info.inference_size) == (
        "stand-in",
        "onnxruntime-cpu",
        (64, 96),
    )
    assert len(info.artifact_sha256) == 64
    subject.close()
    with pytest.raises(LiteStereoError):
        subject(*pair)


def test_engine_on_a_device_tells_its_stages(artefact, pair, monkeypatch):
    """A backend that keeps its device's times, as TensorRT's does on a GPU."""
    opened = backends.open_backend("onnxruntime-cpu", artefact, options=backends.BackendOptions())
    opened.device_times = lambda: DeviceTimes(0.1, 0.2, 3.0, 0.4)
    monkeypatch.setattr(backends, "open_backend", lambda *_, **__: opened)
    stages = EngineSubject(SubjectSpec.parse(f"{artefact}@onnxruntime-cpu"))(*pair).stages_ms
    assert stages["host_to_device"] == 0.1
    assert (stages["enqueue"], stages["compute"], stages["device_to_host"]) == (0.2, 3.0, 0.4)


def test_a_subject_has_no_info_before_its_first_pair(artefact):
    with pytest.raises(InputError, match="match one first"):
        _ = EngineSubject(SubjectSpec.parse(f"{artefact}@onnxruntime-cpu")).info


def test_missing_artefact():
    with pytest.raises(InputError, match="is no such file"):
        open_subject(SubjectSpec.parse("none.onnx@onnxruntime-cpu"))


def test_sgbm(pair):
    subject = SgbmSubject(threads=1)
    iteration = subject(*pair)
    assert iteration.disparity_px.shape == SIZE
    assert iteration.stages_ms["inference"] == iteration.stages_ms["total"] > 0
    assert subject.info.backend == "opencv"


class Network(torch.nn.Module):
    """Answers the mean of the left picture, in a hundredth of the real network's time."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, left, right):
        mean = left.mean(dim=1, keepdim=True) * self.gain
        return mean, torch.ones_like(mean)


@pytest.fixture
def network(monkeypatch, artefact):
    """Put a small network in the place of LAS1."""
    monkeypatch.setattr(torch_subject, "artifact_path", lambda model: artefact)
    monkeypatch.setattr(torch_subject.models, "create", lambda name: Network())
    monkeypatch.setattr(torch_subject.models, "load_weights", lambda model, path: None)
    return "las1"


def test_torch_eager(network, pair):
    subject = open_subject(SubjectSpec.parse(f"{network}@torch"))
    iteration = subject(*pair)
    np.testing.assert_allclose(iteration.disparity_px, expected(*pair)[0], rtol=1e-5)
    assert set(iteration.stages_ms) == {"preprocess", "inference", "postprocess", "total"}
    assert (subject.info.precision, subject.info.inference_size) == ("fp32", (64, 96))
    larger = np.zeros((70, 70, 3), np.uint8)
    assert subject(larger, larger).disparity_px.shape == (70, 70)
    subject.close()


def test_torch_autocast_computes_in_half(network, pair, monkeypatch):
    seen = []
    forward = Network.forward

    def look(self, left, right):
        seen.append(torch.is_autocast_enabled("cpu"))
        return forward(self, left, right)

    monkeypatch.setattr(Network, "forward", look)
    subject = open_subject(SubjectSpec.parse(f"{network}@torch:autocast"))
    subject(*pair)
    assert seen == [True]
    assert subject.info.precision == "autocast bfloat16"


@pytest.mark.parametrize("variant", ["compile", "compile-autocast"])
def test_torch_compile_asks_for_reduced_overhead(network, pair, monkeypatch, variant):
    asked = []
    monkeypatch.setattr(
        torch_subject.torch, "compile", lambda model, **options: asked.append(options) or model
    )
    open_subject(SubjectSpec.parse(f"{network}@torch:{variant}"))(*pair)
    assert asked == [{"mode": "reduce-overhead"}]


def test_torch_device_that_is_not_there(network):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match="cannot use device 'cuda'"):
        open_subject(SubjectSpec.parse(f"{network}@torch"), device="cuda")


def test_model_name_is_the_artefacts(artefact):
    assert torch_subject._model_name(artefact) == "stand-in"


class Event:
    """A CUDA event of a device that is as fast as the host."""

    def __init__(self, *, enable_timing):
        assert enable_timing

    def record(self):
        self.at = time.perf_counter()

    def elapsed_time(self, other):
        return 1e3 * (other.at - self.at)


def test_events_tell_the_stages_between_the_marks(monkeypatch):
    monkeypatch.setattr(torch_subject.torch, "cuda", SimpleNamespace(Event=Event))
    clock = torch_subject._EventClock()
    for index, seconds in enumerate((0.01, 0.03, 0.02, 0)):
        clock.mark(index)
        time.sleep(seconds)
    stages = clock.stages_ms(1.5)
    assert stages["enqueue"] == 1.5
    assert stages["host_to_device"] >= 10
    assert stages["compute"] >= 30
    assert stages["device_to_host"] >= 20


@pytest.mark.gpu
def test_torch_on_a_gpu(network, pair):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    subject = open_subject(SubjectSpec.parse(f"{network}@torch"), device="cuda")
    stages = subject(*pair).stages_ms
    assert {"host_to_device", "enqueue", "compute", "device_to_host"} <= set(stages)
    np.testing.assert_allclose(subject(*pair).disparity_px, expected(*pair)[0], rtol=1e-4)


@pytest.mark.parametrize(
    ("text", "device", "index", "graph", "tf32"),
    [
        ("las1@tensorrt", "cuda", 0, True, False),
        ("las1@tensorrt:enqueue", "cuda:1", 1, False, False),
        ("las1@tensorrt:enqueue-tf32", "cuda", 0, False, True),
        ("las1@onnxruntime-cuda:tf32", "cpu", 0, True, True),
    ],
)
def test_variants_of_engines_are_the_backends_options(
    artefact, monkeypatch, text, device, index, graph, tf32
):
    asked = []

    def opened(name, path, *, options):
        asked.append((name, options.gpu))
        raise LiteStereoError("no GPU here")

    monkeypatch.setattr(backends, "open_backend", opened)
    spec = SubjectSpec.parse(text.replace("las1", str(artefact)))
    with pytest.raises(LiteStereoError, match="no GPU here"):
        open_subject(spec, device=device, threads=3)
    ((name, gpu),) = asked
    assert name == spec.backend
    assert (gpu.device_index, gpu.cuda_graph, gpu.build.tf32) == (index, graph, tf32)
